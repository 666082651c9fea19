"""What was found about a target whose membership nobody knows, in words, for the terminal, the page and Markdown.

No AUC is told of such a target: nobody could know it.
"""

from __future__ import annotations

from tmi.metrics.set_test import SetTest
from tmi.report.results import Calls, Results, Target
from tmi.report.wording import percent_interval, rate_percent, tpr

CLEAR = 0.05
"""p-values up to this are called unlikely to be luck."""


def target_summary(results: Results) -> str:
    """What was found about the target, as sentences for the terminal; empty where there is no such target.

    Args:
        results: the content of results.json.
    """
    return " ".join(target_sentences(results))


def target_sentences(results: Results) -> list[str]:
    """The calls at the false positive rate of the audit, what chance would call, the test of the whole set.

    Args:
        results: the content of results.json.

    Returns:
        The sentences; none where no target of unknown membership was attacked.
    """
    if results.target is None:
        return []
    target = results.target
    attack = target.attacks[target.attack]
    rate = min(attack.calls, key=lambda rate: abs(float(rate) - target.fpr))
    return [
        f"{target.name}: {_called(target, attack.calls[rate], rate)}",
        *([_set_test(attack.set_test, target.points)] if attack.set_test else []),
    ]


def p_text(p_value: float) -> str:
    """A p-value to two digits: ``0.032``, ``0.0004``; tiny ones as ``< 0.0001``."""
    return "< 0.0001" if p_value < 1e-4 else f"{p_value:.2g}"


def _called(target: Target, call: Calls, rate: str) -> str:
    points, called = target.points, call.called
    verb = "is called a member" if called == 1 else "are called members"
    text = (
        f"of {points:,} points, {called:,} {verb} of its pretraining data. The rule behind this wrongly calls "
        f"{rate_percent(rate)} of the points that were not in it: if none of them were, about "
        f"{call.expected_false:.3g} would be called by chance alone"
    )
    if not call.resolvable:
        return f"{text}. No score would be enough at this rate: it takes more shadow models or points to resolve it."
    return (
        f"{text}. Of points that were, it finds about {tpr(call.tpr, rate)} {percent_interval(call.tpr)}, on "
        f"average over the {target.shadows:,} shadow models; one model may differ. Any single call may be wrong."
    )


def _set_test(test: SetTest, points: int) -> str:
    share = f"p = {p_text(test.p_value)}".replace("= <", "<")
    whole = (
        "Chance alone would rarely do this, which speaks for its having been pretrained on at least some of them, "
        "if target and shadows differ in nothing else."
        if test.p_value <= CLEAR
        else "That is what chance alone would often do: the set as a whole shows no sign of having been in its "
        "pretraining data, which is no proof that it was not."
    )
    return (
        f"All {points:,} points taken together, against {test.shadows:,} shadow models: {share} for a target that "
        f"was pretrained on none of them. {whole}"
    )


def expected_note(results: Results) -> str:
    """Why the table of attacks is not about the target; empty where there is no such target."""
    if results.target is None:
        return ""
    return (
        "These figures are those of the shadow models, each played as the target: what to expect of the attacks on "
        "a target like them. The target itself has no AUC, because nobody knows its members."
    )
