"""The finetunings of a run, its own and its variants, in the order and words in which they are shown.

The terminal, the figure and the page all read from here, as they do from `wording`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tmi.metrics.estimate import Estimate
from tmi.report.results import Private, Results, Variants
from tmi.report.wording import BASELINE_ATTACK

PRIVACY_NOTE = (
    "Differentially private finetuning bounds what leaks about the finetuning data; it promises nothing for the "
    "pretraining data."
)
COMPARISON_NOTE = (
    "Compare a private finetuning with the one without noise (ε = ∞): the same clipping and sampling, so that only the "
    "noise differs."
)
NOT_PRIVATE = "–"


@dataclass(frozen=True)
class Finetuning:
    """One way in which the pretrained models were finetuned, and what it leaks.

    Attributes:
        name: that of the run itself or of a variant.
        transfer: as in the configuration.
        epsilon: of the finetuning points; infinite without noise, None where it is not private.
        delta: the probability that epsilon does not cover; None where there is no epsilon.
        task: source and number of classes of the downstream task.
        points: on which each model is finetuned.
        accuracy: mean downstream test accuracy of the models, a fraction.
        auc: of the attack by which the finetunings are compared.
        tpr: of the same attack at the representative false positive rate.
        baseline: AUC of the paper's baseline; None where it was not run or is itself that attack.
        difference: paired difference of the AUC to ``against``; None for the run itself.
        against: the finetuning that it is compared with.
    """

    name: str
    transfer: str
    epsilon: float | None
    delta: float | None
    task: tuple[str, int]
    points: int
    accuracy: float
    auc: Estimate
    tpr: Estimate
    baseline: Estimate | None
    difference: Estimate | None
    against: str | None

    @property
    def noisy(self) -> bool:
        """Whether it has a finite epsilon."""
        return self.epsilon is not None and math.isfinite(self.epsilon)


def finetunings(results: Results) -> list[Finetuning]:
    """The run itself, then what is not private, then what is, every control before those that it is the control of.

    Args:
        results: the content of results.json, with ``variants``.
    """
    assert results.variants is not None
    own, *others = (_finetuning(results.variants, name, results.representative_rate) for name in results.variants.rows)
    controls = [each.against if each.noisy else each.name for each in others]
    rank = {control: place for place, control in reversed(list(enumerate(controls)))}

    def place(each: Finetuning) -> tuple[float, ...]:
        if each.epsilon is None:
            return (0,)
        return (1, rank[each.against if each.noisy else each.name], -each.epsilon)

    return [own, *sorted(others, key=place)]


def any_private(results: Results) -> bool:
    """Whether one of the finetunings is private, with noise or as a control without."""
    if results.data.downstream is not None and results.data.downstream.private is not None:
        return True
    return results.variants is not None and any(row.private is not None for row in results.variants.rows.values())


def epsilon_of(private: Private | None) -> float | None:
    """Epsilon of an entry ``private`` of results.json, where it is missing without noise."""
    return None if private is None else math.inf if private.epsilon is None else private.epsilon


def epsilon_text(epsilon: float | None) -> str:
    """``8``, ``0.5``, ``∞`` without noise, a dash where it is not private.

    A bound is rounded up, to two digits, whole numbers from ten.
    """
    if epsilon is None:
        return NOT_PRIVATE
    if math.isinf(epsilon):
        return "∞"
    decimals = max(0, 1 - math.floor(math.log10(epsilon)))
    # Without a hair of tolerance, 0.35 * 100 = 35.00000000000001 would become 0.36.
    return f"{math.ceil(epsilon * 10**decimals - 1e-9) / 10**decimals:g}"


def trained(transfer: str) -> str:
    """What a transfer setting trains, in words; a new head is always among it."""
    if transfer.startswith("last-"):
        blocks = transfer.removeprefix("last-")
        return "last block" if blocks == "1" else f"last {blocks} blocks"
    # The function of the user's own recipe stands for itself.
    return {"head": "head only", "full": "everything", "lora": "LoRA adapters"}.get(transfer, transfer)


def details(row: Finetuning, own: Finetuning) -> list[str]:
    """What a finetuning trains, and on what where that differs from the run itself, ``own``."""
    (source, classes), parts = row.task, [trained(row.transfer)]
    if row.points != own.points:
        parts.append(f"{row.points:,} points")
    if row.task != own.task:
        parts.append(f"{classes} classes of {source}")
    return parts


def _finetuning(variants: Variants, name: str, rate: str) -> Finetuning:
    row, attack = variants.rows[name], variants.rows[name].attacks[variants.attack]
    baseline = row.attacks.get(BASELINE_ATTACK) if variants.attack != BASELINE_ATTACK else None
    difference = variants.differences.get(name)
    return Finetuning(
        name=name,
        transfer=row.transfer,
        epsilon=epsilon_of(row.private),
        delta=row.private.delta if row.private and row.private.epsilon is not None else None,
        task=(row.source, row.classes),
        points=row.points_per_model,
        accuracy=row.downstream_test_accuracy.mean,
        auc=attack.auc,
        tpr=attack.tpr_at_fpr[rate],
        baseline=baseline.auc if baseline else None,
        difference=difference.auc if difference else None,
        against=difference.against if difference else None,
    )
