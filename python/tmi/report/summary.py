"""The first lines of the report: what leaked and how sure that is, for readers who have never seen a ROC curve."""

from __future__ import annotations

from tmi.metrics.estimate import Estimate
from tmi.report.claims import LEAST_TARGETS_FOR_POINTS, caution, smallest_effect, speaks_for_others
from tmi.report.results import REPRESENTATIVE_RATE, Results
from tmi.report.wording import CHANCE_AUC, CONTRAST, GIVEN_MODEL_ATTACK, WITHOUT_MODEL

# Counts below this many of a hundred are told of a thousand: "1 of 100" would hide too much.
_FEWEST_OF_HUNDRED = 9.5


def plain_words(results: Results) -> list[str]:
    """The finding as sentences without technical terms: what leaked, how many are found, how sure that is.

    They speak of the attack of the verdict and agree with it. Where a target of unknown membership was attacked, they
    speak of what is known to work on the shadow models, which is what to expect of that attack.

    Args:
        results: the content of results.json.
    """
    name = results.headline
    if name == GIVEN_MODEL_ATTACK and WITHOUT_MODEL in results.attacks:
        return [_on_given_model(results)]
    sentences = [_finding(results, name)]
    found = _found(results, name)
    if found:
        sentences.append(found)
    return [*sentences, _basis(results), *_exposed(results)]


def natural_frequency(fraction: float, rate: float) -> tuple[str, str, str]:
    """A true and a false positive rate as counts of the same round number: ``("13", "1", "100")``.

    Args:
        fraction: of the members that are found.
        rate: of the non-members that are accused.

    Returns:
        Members found and non-members accused, both of the last; of 100 where that is exact enough, or else of 1,000 or
        the power of ten of which the rate is a whole number.
    """
    bases = [1000, 10**4, 10**5, 10**6] if 100 * fraction < _FEWEST_OF_HUNDRED else [100, 1000, 10**4, 10**5, 10**6]
    base = next((base for base in bases if _is_whole(base * rate)), bases[-1])
    return f"{round(base * fraction):,}", f"{base * rate:,.6g}", f"{base:,}"


def _finding(results: Results, name: str) -> str:
    auc = results.attacks[name].auc
    answers = (
        "from the answers of the pretrained models themselves"
        if name in results.upper_bounds
        else "from the answers of a finetuned model alone"
    )
    of_a_point = "whether a given point was in its pretraining data"
    if auc.low > CHANCE_AUC:
        given = f"given one point that was in it and one that was not, the attack tells which is which in {_tries(auc)}"
        leaks = "Something leaks" if speaks_for_others(results) else "Something seems to leak"
        if results.models.targets == 1:
            leaks = "Something leaks from this model"
        return (
            f"{leaks}: {answers}, one can tell better than by guessing {of_a_point}. For instance, {given}."
            f"{caution(results)}"
        )
    if auc.high < CHANCE_AUC:
        return "The attack is wrong more often than a coin, so its scores or the membership are probably reversed."
    return (
        f"No leak was shown: {answers}, this attack does not tell better than by guessing {of_a_point}. Given one "
        f"point that was in it and one that was not, it tells which is which in {_tries(auc)}. A better attack may "
        f"find more, and small leaks may be missed: {smallest_effect(results)}."
    )


def _on_given_model(results: Results) -> str:
    attacks, added = results.attacks, results.comparisons.others[WITHOUT_MODEL].auc
    both, alone = (attacks[name].auc for name in (GIVEN_MODEL_ATTACK, WITHOUT_MODEL))
    conclusion = (
        "That may be memory, or what members and non-members differ in by themselves, which any model's answers may "
        f"show better than a simple look at the points. {CONTRAST}"
        if added.low > 0
        else "So it was not shown that the answers give anything away; a better attack may find more."
    )
    return (
        "Given one point that was in the pretraining data and one that was not, one tells which is which in "
        f"{_tries(both)} with the finetuned model's answers, and in {_tries(alone)} from the points themselves, "
        f"without any model. {conclusion}"
    )


def _tries(auc: Estimate) -> str:
    """An AUC as a frequency: ``73 of 100 tries (71 to 75; guessing: 50)``."""
    estimate, low, high = (round(100 * figure) for figure in (auc.estimate, auc.low, auc.high))
    return f"{estimate} of 100 tries ({low} to {high}; guessing: 50)"


def _found(results: Results, name: str) -> str:
    """How many members are found where few non-members may be accused; empty where no such rate is resolvable."""
    rates = results.attacks[name].tpr_at_fpr
    for rate in results.rates:
        if float(rate) >= REPRESENTATIVE_RATE and rates[rate].resolvable:
            return _found_at(rates[rate], float(rate), results.confidence)
    return ""


def _found_at(found: Estimate, rate: float, confidence: str) -> str:
    estimate, accused, base = natural_frequency(found.estimate, rate)
    of_base = int(base.replace(",", ""))
    low, high = (f"{round(of_base * min(1.0, max(0.0, end))):,}" for end in (found.low, found.high))
    text = (
        f"Of {base} points that were in the pretraining data, about {estimate} are found ({confidence} interval: "
        f"{low} to {high}) if {accused} of {base} points that were not may be accused wrongly; guessing would find "
        f"{accused}."
    )
    if found.low <= rate:
        return f"{text} That is no clear difference."
    even, rare = (_precision(found, rate, share) for share in (0.5, 0.1))
    return (
        f"{text} Of 100 accusations, about {even} are then right where half of the points asked about were in the "
        f"pretraining data, and about {rare} where only one in ten was."
    )


def _precision(found: Estimate, rate: float, members: float) -> str:
    """Right accusations of 100 where so large a share are members, with the interval of the rate: ``73 (64 to 80)``."""
    right, low, high = (
        round(100 * members * share / (members * share + (1 - members) * rate))
        for share in (found.estimate, found.low, found.high)
    )
    return f"{right} ({low} to {high})"


def _basis(results: Results) -> str:
    data, models = results.data, results.models
    return (
        f"How sure is this? It was measured on {models.targets:,} models and {data.challenge_points:,} points of "
        f"which it is known which model was pretrained on which: {data.members + data.non_members:,} decisions. "
        f"{_coverage(results)}"
    )


def _coverage(results: Results) -> str:
    """What the intervals promise; only what simulations have shown."""
    targets, confidence = results.models.targets, results.confidence
    if targets == 1:
        return (
            f"The ranges are {confidence} intervals for this one model and points of this kind. They say nothing about "
            "other models."
        )
    if not speaks_for_others(results):
        return (
            f"The ranges are {confidence} intervals for models and points of this kind, but {targets} models show "
            "little of how much models differ: they hold the true figure somewhat less often than they say."
        )
    return (
        f"The ranges are {confidence} intervals: they hold the true figure in about {confidence.removesuffix('%')} of "
        "100 such measurements, for models and points of this kind."
    )


def _exposed(results: Results) -> list[str]:
    """One sentence on how many single points are exposed beyond chance; none where no point was tested."""
    sentence = exposed_sentence(results)
    return [sentence] if sentence else []


def exposed_sentence(results: Results) -> str:
    """How many points are exposed one by one; empty where no point was tested."""
    exposed = results.points.exposed
    tested, count = exposed.tested, exposed.count
    if not tested:
        return ""
    if not count and results.models.targets < LEAST_TARGETS_FOR_POINTS:
        return f"Whether single points are exposed cannot be told from {results.models.targets:,} targets."
    if not count:
        return f"Of {tested:,} points, none is exposed beyond chance when it is looked at by itself."
    verb = "is" if count == 1 else "are"
    return (
        f"Of {tested:,} points, {count:,} {verb} exposed beyond chance when looked at one by one (false discovery "
        f"rate {100 * exposed.fdr:g}%: up to about {100 * exposed.fdr:g} of 100 points named in this way would "
        "be so by luck)."
    )


def _is_whole(number: float) -> bool:
    return abs(number - round(number)) < 1e-6 and number >= 1 - 1e-6
