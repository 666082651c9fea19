"""What was found about a target whose membership nobody knows. No AUC is told of it: nobody could know that."""

from __future__ import annotations

from tmi.metrics.set_test import SetTest, ShuffledSetTest
from tmi.report.blocks import Block, Cell, Column, Material, Paragraph, Section, Table
from tmi.report.results import Results
from tmi.report.sections.points import point_columns
from tmi.report.tables import Calls, Target
from tmi.report.wording import NOT_RESOLVABLE, p_text, percent_interval, rate_percent, signed, tpr

# p-values up to this are called unlikely to be luck.
CLEAR = 0.05


def section(material: Material) -> Section | None:
    """How many points each attack calls members, and the most suspected ones.

    Raises:
        ValueError: there are exhibits, but not one for each suspected point.
    """
    target = material.results.target
    if target is None:
        return None
    introduction = (
        f"How many of {target.points:,} points each attack calls members, at several false positive rates, and the "
        "test of all points together."
    )
    blocks: list[Block] = [Paragraph(introduction), _table(target)]
    if target.most_suspected:
        text = (
            f"The points with the highest scores of {target.attack}, best first. The p-value of each is its own: of "
            f"{target.points:,} points that were never members, about {target.fpr * target.points:.3g} would have one "
            f"below {target.fpr:g}."
        )
        points = target.most_suspected
        columns = [
            *point_columns(points, material.target_exhibits),
            Column("Score", ["∞" if point.score is None else signed(point.score) for point in points]),
            Column("p-value", [p_text(point.p_value) for point in points]),
            Column("Called", ["member" if point.called else NOT_RESOLVABLE for point in points]),
        ]
        heading = Paragraph("The most suspected points", "heading")
        blocks += [heading, Paragraph(text), Table(columns, is_long=True)]
    return Section(f"The target: {target.name}", blocks)


def _table(target: Target) -> Table:
    attacks = target.attacks.values()
    columns = [Column("Attack", list(target.attacks))]
    for rate in target.rates:
        calls = [_calls(found.calls[rate], rate) for found in attacks]
        columns.append(Column(f"Called at {rate_percent(rate)}FPR", calls))
    columns.append(Column("All points together", [_together(found.set_test) for found in attacks]))
    note = (
        f"By chance: how many would be called if none of the {target.points:,} points were in the pretraining data of "
        "the target. Finds: what share of the members is called, judged by the shadow models. No AUC is given for the "
        f"target: nobody knows its members. The attack that counts, {target.attack}, was fixed beforehand; the others "
        "are shown beside it, and nothing is corrected for their number."
    )
    return Table(columns, main=target.attack, notes=[Paragraph(note)])


def _calls(call: Calls, rate: str) -> Cell:
    finds = f"finds {tpr(call.tpr, rate)}" if call.resolvable else "not resolvable"
    return Cell(f"{call.called:,}", [f"{call.expected_false:.3g} by chance", finds])


def _together(test: SetTest | None) -> Cell | str:
    if test is None:
        return NOT_RESOLVABLE
    return Cell(
        p_equals(test), [f"mean excess {signed(test.mean_excess)}", f"[{signed(test.low)}, {signed(test.high)}]"]
    )


def target_sentences(results: Results) -> list[str]:
    """The calls at the false positive rate of the audit, what chance would call, the test of the whole set.

    Returns:
        Sentences; none where no target of unknown membership was attacked.
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
    return all_points(
        test, f"All {points:,} points taken together, against {test.shadows:,} shadow models", "target and shadows"
    )


def all_points(test: SetTest | ShuffledSetTest, which: str, both: str) -> str:
    """What the test of all points says.

    Args:
        test: of them.
        which: points, and against what.
        both: what should differ in nothing but membership.
    """
    whole = (
        "Chance alone would rarely do this, which speaks for its having been pretrained on at least some of them, "
        f"if {both} differ in nothing else."
        if test.p_value <= CLEAR
        else "That is what chance alone would often do: the set as a whole shows no sign of having been in its "
        "pretraining data, which is no proof that it was not."
    )
    return f"{which}: {p_equals(test)} for a target that was pretrained on none of them. {whole}"


def p_equals(test: SetTest | ShuffledSetTest) -> str:
    """``p = 0.032``."""
    return f"p = {p_text(test.p_value)}".replace("= <", "<")


def expected_note(results: Results) -> str:
    """Why the table of attacks is not about the target; empty where there is no such target."""
    if results.target is None:
        return ""
    return (
        "These figures are those of the shadow models, each played as the target: what to expect of the attacks on "
        "a target like them. The target itself has no AUC, because nobody knows its members."
    )
