"""The head of the report: what leaked and how sure that is, for readers who have never seen a ROC curve."""

from __future__ import annotations

from tmi.metrics.estimate import Estimate
from tmi.report.blocks import Block, Figure, Material, Media, Note, Paragraph, Section
from tmi.report.claims import caution, hint, smallest_effect, speaks_for_others
from tmi.report.results import REPRESENTATIVE_RATE, Results
from tmi.report.sections.methods import class_warnings
from tmi.report.sections.models import training_warnings
from tmi.report.sections.points import exposed_sentence
from tmi.report.sections.target import target_sentences
from tmi.report.sections.together import together_sentence
from tmi.report.wording import (
    CHANCE_AUC,
    CONTRAST,
    GIVEN_MODEL_ATTACK,
    WITHOUT_MODEL,
    counted,
    difference,
    difference_interval,
    rate_percent,
    tpr,
    tpr_interval,
    with_interval,
)

# What an attack on a given model may have found.
SHIFT = (
    "That may be memory, or what members and non-members differ in by themselves, which any model's answers may show "
    "better than a simple look at the points."
)
# Counts below this many of a hundred are told of a thousand: "1 of 100" would hide too much.
FEWEST_OF_HUNDRED = 9.5


def section(material: Material) -> Section:
    """What was found, in plain words and in technical terms, and what to read with care."""
    results = material.results
    found, said = target_sentences(results), plain_words(results)
    trust = "How far such an attack can be trusted, from shadow models of which everything is known:"
    return Section(
        "In plain words",
        [
            *([Paragraph(results.description, "muted", media=Media.DOCUMENTS)] if results.description else []),
            *(Note(note.level, [note.text]) for note in results.notes),
            *([Note("finding", found), Paragraph(trust, media=Media.DOCUMENTS)] if found else []),
            Note("finding", said[:2], media=Media.DOCUMENTS),
            *_picture(results),
            *(Paragraph(text, media=Media.DOCUMENTS) for text in said[2:]),
            Paragraph(verdict(results), media=Media.TERMINAL | Media.NOTEBOOK),
            *(Note("warning", [sentence]) for sentence in (*training_warnings(results), *class_warnings(results))),
        ],
        Media.EVERYWHERE,
    )


def _picture(results: Results) -> list[Block]:
    """100 members; nothing where known members prove nothing, or where no whole number of a hundred is accused."""
    rate = _clear_rate(results)
    if rate is None or results.models.given is not None or abs(100 * float(rate) - round(100 * float(rate))) > 1e-9:
        return []
    from tmi.report.figures.members import members_figure

    label = (
        "100 members, of whom those are filled that are found, beside 100 non-members; the text below has the figures"
    )
    return [Figure("members", lambda: members_figure(results, rate), label)]


def plain_words(results: Results) -> list[str]:
    """The finding in texts without technical terms: what leaked, how sure that is, how many and who are found.

    They speak of the attack of the verdict and agree with it. Where a target of unknown membership was attacked, they
    speak of what is known to work on the shadow models, which is what to expect of that attack.
    """
    if (compared := _on_given_model(results)) is not None:
        both, alone, added = compared
        conclusion = (
            f"{SHIFT} {CONTRAST}"
            if added.low > 0
            else "So it was not shown that the answers give anything away; a better attack may find more."
        )
        return [
            "Given one point that was in the pretraining data and one that was not, one tells which is which in "
            f"{_tries(both)} with the finetuned model's answers, and in {_tries(alone)} from the points themselves, "
            f"without any model. {conclusion}"
        ]
    if results.models.given is not None:
        return [
            "Given one point that was in the pretraining data and one that was not, one tells which is which in "
            f"{_tries(results.main.auc)} with the finetuned model's answers. {SHIFT} {CONTRAST}"
        ]
    data = results.data
    basis = (
        f"How sure is this? It was measured on {counted(results.models.targets, 'model', 'models')} and "
        f"{data.challenge_points:,} points of which it is known which model was pretrained on which. "
        f"{_coverage(results)}"
    )
    exposed = exposed_sentence(results)
    sentences = [_finding(results), basis, _members_found(results), exposed and f"Who is exposed? {exposed}"]
    return [sentence for sentence in sentences if sentence]


def verdict(results: Results) -> str:
    """What the results say, in plain sentences: of one finetuning, and of several together where they are seen."""
    return f"{_verdict(results)}{together_sentence(results)}"


def _verdict(results: Results) -> str:
    """What they say of the main adversary.

    It speaks of the headline attack whatever the others found, because the best of many attacks is partly luck. Where
    that attack shows nothing but another figure does, a second sentence says so.
    """
    name, auc = results.headline, results.main.auc
    figure = f"AUC {with_interval(auc)} ({results.confidence} interval; {CHANCE_AUC} = coin flip)"
    if (compared := _on_given_model(results)) is not None:
        return _verdict_on_given_model(*compared)
    if results.models.given is not None:
        return f"No verdict: {name} has {figure}. {SHIFT} {CONTRAST}"
    if results.main.direct_access:
        return f"Only a reference was measured, with direct access to the pretrained models themselves: {figure}."
    if auc.low > CHANCE_AUC:
        rate = _clear_rate(results)
        finds = (
            ""
            if rate is None
            else f" and finds {tpr(results.main.tpr_at_fpr[rate], rate)} of the members at {rate_percent(rate)} false "
            "positives"
        )
        return f"{_leaking(results)}: {name} tells members from non-members with {figure}{finds}.{caution(results)}"
    if auc.high < CHANCE_AUC:
        return (
            f"No leak was shown: {name} scores members below non-members, with {figure}. Being wrong more "
            "often than a coin usually means that the membership or the scores are reversed."
        )
    return (
        f"No leak was shown: {name} has {figure}; this is not proof of its absence: {smallest_effect(results)}."
        f"{_hint(results)}"
    )


def _leaking(results: Results) -> str:
    """Who leaks: nothing is known of a target of unknown membership, only of the shadow models that stand for it."""
    who = "The finetuned models" if results.target is None else "Shadow models played as the target"
    if speaks_for_others(results):
        return f"{who} leak their pretraining data"
    if results.models.targets == 1:
        return "The model that played the target leaks its pretraining data"
    return f"{who} seem to leak their pretraining data"


def natural_frequency(fraction: float, rate: float) -> tuple[str, str, str]:
    """A true and a false positive rate as counts of the same round number: ``("13", "1", "100")``.

    Args:
        fraction: of the members that are found.
        rate: of the non-members that are accused.

    Returns:
        Members found and non-members accused, both of the last; of 100 where that is exact enough, or else of 1,000 or
        the power of ten of which the rate is a whole number.
    """
    bases = [1000, 10**4, 10**5, 10**6] if 100 * fraction < FEWEST_OF_HUNDRED else [100, 1000, 10**4, 10**5, 10**6]

    def is_whole(number: float) -> bool:
        return abs(number - round(number)) < 1e-6 and number >= 1 - 1e-6

    base = next((base for base in bases if is_whole(base * rate)), bases[-1])
    return f"{round(base * fraction):,}", f"{base * rate:,.6g}", f"{base:,}"


def _on_given_model(results: Results) -> tuple[Estimate, Estimate, Estimate] | None:
    """The AUC with a given model's answers, that of the points alone, and what the answers add."""
    compared = results.comparisons.others
    if results.headline != GIVEN_MODEL_ATTACK or WITHOUT_MODEL not in compared:
        return None
    return results.main.auc, results.attacks[WITHOUT_MODEL].auc, compared[WITHOUT_MODEL].auc


def _verdict_on_given_model(both: Estimate, alone: Estimate, added: Estimate) -> str:
    """Only what the answers add to the points themselves is the model's doing."""
    figures = (
        f"AUC {with_interval(both)} with the model's answers and {with_interval(alone)} from the points alone, "
        f"a difference of {difference(added)} {difference_interval(added)}"
    )
    if added.low <= 0:
        return f"No leak was shown: {figures}; this is not proof of its absence."
    return (
        f"No verdict: {figures}. The answers tell more than a simple look at the points, but so may those of a model "
        f"that has not seen them, where members and non-members differ by themselves. {CONTRAST}"
    )


def _clear_rate(results: Results) -> str | None:
    """The lowest false positive rate from the representative one on that the data resolve."""
    found = results.main.tpr_at_fpr
    clear = (rate for rate in results.rates if float(rate) >= REPRESENTATIVE_RATE and found[rate].resolvable)
    return next(clear, None)


def _hint(results: Results) -> str:
    """A sentence on a figure that suggests a leak although the AUC of the headline attack does not."""
    if (found := hint(results)) is None:
        return ""
    attack = results.attacks[found.attack]
    looked = f"also for one of {found.looked_at} figures looked at" if found.looked_at > 1 else "the only other figure"
    if found.rate is None:
        return f" But {found.attack}, another attack, suggests a leak: AUC {with_interval(attack.auc)}, clear {looked}."
    estimate = attack.tpr_at_fpr[found.rate]
    return (
        f" But at {rate_percent(found.rate)} false positives {found.attack} finds {tpr(estimate, found.rate)} "
        f"{tpr_interval(estimate, found.rate)} of the members, which suggests a leak of a few, clear {looked}."
    )


def _finding(results: Results) -> str:
    auc = results.main.auc
    answers = (
        "from the answers of the pretrained models themselves"
        if results.main.direct_access
        else "from the answers of a finetuned model alone"
    )
    of_a_point = "whether a point was in its pretraining data"
    if auc.low > CHANCE_AUC:
        given = f"Of two points, one of which was, the attack names the right one in {_tries(auc)}"
        leaks = "Something leaks" if speaks_for_others(results) else "Something seems to leak"
        if results.models.targets == 1:
            leaks = "Something leaks from this model"
        return (
            f"{leaks}: {answers}, one can tell better than by guessing {of_a_point}. {given}."
            f"{caution(results, plain=True)}"
        )
    if auc.high < CHANCE_AUC:
        return "The attack is wrong more often than a coin, so its scores or the membership are probably reversed."
    return (
        f"No leak was shown: {answers}, this attack does not tell better than by guessing {of_a_point}. Of two points, "
        f"one of which was, it names the right one in {_tries(auc)}. A better attack may find more, and small leaks "
        f"may be missed: {smallest_effect(results, plain=True)}."
    )


def _tries(auc: Estimate) -> str:
    """An AUC as a frequency: ``73 of 100 tries (71 to 75; guessing: 50)``."""
    estimate, low, high = (round(100 * figure) for figure in (auc.estimate, auc.low, auc.high))
    return f"{estimate} of 100 tries ({low} to {high}; guessing: 50)"


def _members_found(results: Results) -> str:
    """How many members are found where few non-members may be accused; empty where no such rate is resolvable."""
    if (key := _clear_rate(results)) is None:
        return ""
    found, rate = results.main.tpr_at_fpr[key], float(key)
    estimate, accused, base = natural_frequency(found.estimate, rate)
    of_base = int(base.replace(",", ""))
    low, high = (f"{round(of_base * min(1.0, max(0.0, end))):,}" for end in (found.low, found.high))
    text = (
        f"Of {base} points that were in the pretraining data (members), about {estimate} are found "
        f"({results.confidence} interval: {low} to {high}) if {accused} of {base} others may be accused wrongly; "
        f"guessing would find {accused}."
    )
    if found.low <= rate:
        return f"{text} That is no clear difference."
    even, rare = (_precision(found, rate, share) for share in (0.5, 0.1))
    return (
        f"{text} Of 100 accusations, about {even} are then right where half of the points asked about are members, and "
        f"about {rare} where only one in ten is."
    )


def _precision(found: Estimate, rate: float, members: float) -> str:
    """Right accusations of 100 where so large a share are members, with the interval of the rate: ``73 (64 to 80)``."""
    right, low, high = (
        round(100 * members * share / (members * share + (1 - members) * rate))
        for share in (found.estimate, found.low, found.high)
    )
    return f"{right} ({low} to {high})"


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
            "little of how much models differ: take them with care."
        )
    return (
        f"The ranges are {confidence} intervals: they hold the true figure in about {confidence.removesuffix('%')} of "
        "100 such measurements, for models and points of this kind."
    )
