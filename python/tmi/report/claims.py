"""What the figures carry: which of the sentences of a report may be said."""

from __future__ import annotations

from dataclasses import dataclass

from tmi.metrics.estimate import detectable, holm
from tmi.report.results import Results
from tmi.report.wording import CHANCE_AUC

# With fewer the spread between models is hardly seen, and simulated intervals cover less often than they say.
LEAST_TARGETS = 5
# With fewer no point can stand out from chance by itself, however well it is found.
LEAST_TARGETS_FOR_POINTS = 10
# An AUC that may be below this is hardly better than guessing, certain or not.
NEXT_TO_NOTHING = 0.51


@dataclass(frozen=True)
class Hint:
    """A figure that suggests a leak where the AUC of the attack of the verdict does not.

    Attributes:
        attack: whose figure it is.
        rate: the key of a true positive rate of that attack; None for its AUC.
        looked_at: how many figures could have given a hint.
    """

    attack: str
    rate: str | None
    looked_at: int


def hint(results: Results) -> Hint | None:
    """The clearest of the other figures, if it is clear although many were looked at (Holm's correction).

    They are the AUCs of the other attacks and the true positive rates of the attack of the verdict.
    """
    figures: dict[tuple[str, str | None], float | None] = {
        (name, None): results.attacks[name].auc.p_value for name in results.ranked if name != results.headline
    }
    for rate, found in results.main.tpr_at_fpr.items():
        if found.resolvable:
            figures[results.headline, rate] = found.p_value
    # Results of earlier versions have no p-values.
    known = {key: p for key, p in figures.items() if p is not None}
    if not known:
        return None
    adjusted = holm(list(known.values()))
    clearest = int(adjusted.argmin())
    if adjusted[clearest] > (1 - results.evaluation.confidence) / 2:
        return None
    return Hint(*list(known)[clearest], len(known))


def speaks_for_others(results: Results) -> bool:
    """Whether there are enough targets to say something about models like them."""
    return results.models.targets >= LEAST_TARGETS


def caution(results: Results, *, plain: bool = False) -> str:
    """What a shown leak does not say, in a sentence or two with a space before each; mostly empty.

    Args:
        results: of a leak.
        plain: without technical terms.
    """
    targets, auc = results.models.targets, results.main.auc
    text = ""
    if targets == 1:
        text = " This is about one model only; how much others like it leak was not measured."
    elif not speaks_for_others(results):
        text = (
            f" {targets} targets are too few for a verdict on models like them, which takes {LEAST_TARGETS} at least."
        )
    if CHANCE_AUC < auc.low < NEXT_TO_NOTHING:
        least = f"{100 * auc.low:.1f} of 100 tries" if plain else f"AUC {auc.low:.3f}"
        text += f" The leak may be next to nothing: as low as {least}."
    return text


def smallest_effect(results: Results, *, plain: bool = False) -> str:
    """What an audit that shows nothing would mostly have shown, as a clause.

    Args:
        results: of no leak.
        plain: without technical terms.
    """
    least = min(CHANCE_AUC + detectable(results.main.auc, results.evaluation.confidence), 1.0)
    effect = f"an attack that is right in {100 * least:.0f} of 100 tries" if plain else f"a true AUC of {least:.3f}"
    return f"{effect} would have been seen in four of five such audits, a smaller effect more rarely"
