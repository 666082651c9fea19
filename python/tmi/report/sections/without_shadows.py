"""What is said about a model that there are no shadow models of: sections in place of those about attacks."""

from __future__ import annotations

import math

from tmi.predictions.views import View
from tmi.report.blocks import (
    Block,
    Column,
    Items,
    Material,
    Media,
    Note,
    Paragraph,
    Section,
    Table,
    Text,
)
from tmi.report.results import Results
from tmi.report.sections.target import all_points
from tmi.report.tables import WithoutShadows
from tmi.report.wording import NOT_RESOLVABLE, counted, p_text, rate_percent, signed

# What all of it rests on, wherever a figure is told.
ASSUMPTION = (
    "All of this is exact as far as the candidates that were not in the pretraining data and the known non-members are "
    "alike: drawn from the same source, at the same time, labelled by the same rule, asked in the same way. If the two "
    "differ by themselves, that difference looks like memory, and nothing here can tell it from memory."
)
NOTHING_KNOWN = (
    "No point is known not to be in the pretraining data, so there is nothing to compare the scores with: the points "
    "are ranked, the likeliest members first, and that is all. Nobody can say from this whether any of them was in the "
    "pretraining data. Known non-members (--non-members) give p-values."
)


def head(material: Material) -> Section:
    """What was found, and what it rests on."""
    results = material.results
    return Section(
        "In plain words",
        [
            *(Note(note.level, [note.text]) for note in results.notes),
            Note("finding", sentences(results)),
        ],
        Media.EVERYWHERE,
    )


def sentences(results: Results) -> list[str]:
    """The calls, the points that stand out, the test of all points, and what they rest on."""
    found = _found(results)
    if found.exposed is None:
        return [f"{found.name}: {found.points:,} points were scored by {results.headline}. {NOTHING_KNOWN}"]
    name, fdr = results.headline, rate_percent(found.exposed.fdr)
    stand_out = counted(found.exposed.count, "point stands", "points stand")
    said = [
        f"{found.name}: {_called(found)}",
        f"{stand_out} out among all: of so many, at most about {fdr} should be no members."
        if found.exposed.count
        else f"No point stands out among all at a false discovery rate of {fdr}.",
    ]
    if found.set_test is not None:
        which = f"All {found.points:,} points taken together, against {found.non_members:,} known non-members"
        said.append(all_points(found.set_test, which, "points and non-members"))
    return [*said, ASSUMPTION, f"How many of the members {name} finds, only models of known members can tell."]


def _called(found: WithoutShadows) -> str:
    rate = min(found.rates, key=lambda rate: abs(float(rate) - found.fpr))
    calls = found.calls[rate]
    verb = "is called a member" if calls.called == 1 else "are called members"
    text = (
        f"of {found.points:,} points, {calls.called:,} {verb} of its pretraining data. The rule behind this wrongly "
        f"calls {rate_percent(rate)} of the points that were not in it: if none of them were, about "
        f"{calls.expected_false:.3g} would be called by chance alone."
    )
    if calls.resolvable:
        return text
    needed = math.ceil(1 / float(rate) - 1e-9) - 1
    return (
        f"{text} No score would be enough at this rate: it takes {needed:,} known non-members, and there are "
        f"{found.non_members:,}."
    )


def section(material: Material) -> Section:
    """How many points are called members at each rate, and the most suspected ones."""
    results = material.results
    found, judged = _found(results), _found(results).exposed is not None
    blocks: list[Block] = [_table(found)] if judged else []
    text = (
        f"The points that {results.headline} scores as the likeliest members, best first: how much better the answers "
        "tell a point's pretraining label than is usual for that label."
    )
    if judged:
        text += (
            f" The p-value of each is its own: of {found.points:,} points that were never members, about "
            f"{found.fpr * found.points:.3g} would have one below {found.fpr:g}. Of the points with at most some "
            "q-value, about that share are no members."
        )
    points = found.most_suspected
    columns = [
        Column("Point", [point.id or str(point.point) for point in points]),
        Column("Label", [point.label for point in points]),
        Column("Score", [signed(point.score) for point in points]),
    ]
    if judged:
        columns += [
            Column("p-value", ["" if point.p_value is None else p_text(point.p_value) for point in points]),
            Column("q-value", ["" if point.q_value is None else p_text(point.q_value) for point in points]),
            Column("Called", ["member" if point.called else NOT_RESOLVABLE for point in points]),
        ]
    blocks += [
        Paragraph("The most suspected points", "heading", media=Media.DOCUMENTS),
        Paragraph(text, media=Media.DOCUMENTS),
        Table(columns, is_long=True),
    ]
    return Section(f"The target: {found.name}", blocks, Media.EVERYWHERE)


def _table(found: WithoutShadows) -> Table:
    calls = [found.calls[rate] for rate in found.rates]
    note = (
        f"Called: of {found.points:,} points. By chance: how many would be if none of them were in the pretraining "
        "data of the target. No AUC is given: nobody knows its members."
    )
    if not all(each.resolvable for each in calls):
        note += f" {NOT_RESOLVABLE} not resolvable with {found.non_members:,} known non-members."
    columns = [
        Column("False positive rate", [rate_percent(rate) for rate in found.rates]),
        Column("Called members", [f"{each.called:,}" if each.resolvable else NOT_RESOLVABLE for each in calls]),
        Column("By chance", [f"{each.expected_false:.3g}" for each in calls]),
    ]
    return Table(columns, main=rate_percent(found.fpr), notes=[Paragraph(note)])


def attacked(material: Material) -> Section:
    """What was asked of which model."""
    results = material.results
    data, found = results.data, _found(results)
    known = (
        f"{found.non_members:,} points that are known not to be in the pretraining data" if found.exposed else "none"
    )
    items: list[tuple[str, list[Text]]] = [
        ("Read as", [*(data.read_as or [])]),
        ("Target", [f"{found.name}, of unknown membership; {data.classes or 0:,} classes"]),
        ("Points", [f"{found.points:,}, each with one of {found.labels:,} pretraining labels"]),
        ("Known non-members", [known]),
        ("Shadow models", ["none"]),
        ("Queries", [f"{counted(data.queries_per_point, 'query', 'queries')} for each point"]),
        ("Seen of an answer", [View.parse(results.view).description]),
    ]
    described = [Paragraph(results.description)] if results.description else []
    return Section("What was attacked", [*described, Items([item for item in items if item[1]], media=Media.PAGE)])


def limits(material: Material) -> Section:
    """What was not measured, and what the figures do not say."""
    found = _found(material.results)
    texts = [
        "What the model leaks about its finetuning data.",
        "How large the leak can get: shadow models find more, and a large p-value proves nothing.",
        "Points without pretraining labels, or with some the model was not pretrained to tell: the attack lives on "
        "points of one label lying together in the answers. It is the weaker the fewer of them are members.",
    ]
    if found.exposed is not None:
        texts.append(
            "Any single call may be wrong. Candidates and known non-members were compared under several rates and "
            "together; nothing is corrected for the number of rates, so decide beforehand which one counts."
        )
    return Section("What was not measured", [Items([("", [text]) for text in texts])], first_page=True)


def _found(results: Results) -> WithoutShadows:
    assert results.without_shadows is not None
    return results.without_shadows
