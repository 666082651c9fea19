"""How well the attacks do: their figures, their ROC curves, and the headline attack against every other."""

from __future__ import annotations

from tmi.report.blocks import Block, Cell, Column, Figure, Group, Heading, Material, Media, Paragraph, Section, Table
from tmi.report.results import Results
from tmi.report.sections.methods import options_note
from tmi.report.sections.target import expected_note
from tmi.report.wording import (
    auc_cell,
    difference_cell,
    percent,
    percent_interval,
    resolution_note,
    seen,
    tpr_cell,
    tpr_difference_cell,
    tpr_label,
)


def section(material: Material) -> Section:
    """The table of all attacks, two figures and the comparisons."""
    results = material.results
    blocks: list[Block] = []
    if note := expected_note(results):
        blocks.append(Paragraph(note, media=Media.DOCUMENTS))
    blocks += [attack_table(results), _roc(results), _histogram(results)]
    if results.comparisons.others:
        blocks += _comparisons(results)
    return Section("Results", blocks, Media.EVERYWHERE)


def attack_table(results: Results) -> Table:
    """One row per attack, highest AUC first; upper bounds stand apart below."""
    rates = results.rates
    columns = [
        Column("Attack", is_text=True),
        Column("AUC", f"AUC [{results.confidence} interval]", detailed=True),
        Column("Balanced accuracy", "bal.\nacc.", spared=1),
        # The highest false positive rates say least.
        *(
            Column(tpr_label(rate), tpr_label(rate).replace("@", "@\n"), spared=1 + len(rates) - place)
            for place, rate in enumerate(rates)
        ),
    ]

    def row(name: str) -> list[Cell]:
        attack = results.attacks[name]
        accuracy = attack.balanced_accuracy
        found = (tpr_cell(attack.tpr_at_fpr[rate], rate) for rate in rates)
        return [
            Cell(name),
            auc_cell(attack.auc),
            Cell(percent(accuracy.estimate), [percent_interval(accuracy)]),
            *found,
        ]

    bound = "Upper bound, not an attack on a finetuned model: it queries the pretrained model itself."
    bounds = [f"{name}: queries the pretrained model itself, an upper bound" for name in results.upper_bounds]
    notes = [
        Paragraph(f"In brackets: {results.confidence} intervals.", media=~Media.TERMINAL),
        *(Paragraph(note, media=Media.TERMINAL) for note in [*bounds, resolution_note(results), seen(results)] if note),
        *(Paragraph(f"{note}.", media=~Media.TERMINAL) for note in [resolution_note(results)] if note),
        *(Paragraph(f"Options: {note}.", media=Media.MARKDOWN) for note in [options_note(results)] if note),
    ]
    groups = [Group([row(name) for name in results.ranked])]
    groups.append(Group([row(name) for name in results.upper_bounds], bound, "upper bound"))
    return Table(columns, groups, main=results.headline, notes=notes)


def _roc(results: Results) -> Figure:
    from tmi.report.figures.roc import roc_figure

    return Figure(
        "roc",
        lambda: roc_figure(results),
        "ROC curves of all attacks; the figures are in the table above",
        "True positive rate at each false positive rate, both on logarithmic axes. Dashed diagonal: chance. Shaded: "
        f"simultaneous {results.confidence} band of {results.headline}, which holds its whole curve at once; the "
        "intervals in the table are for one rate at a time. Where hatched, less than one false positive is expected, "
        "and the curves mean nothing.",
        media=Media.PAGE | Media.NOTEBOOK,
    )


def _histogram(results: Results) -> Figure:
    from tmi.report.figures.histogram import histogram_figure

    return Figure(
        "histogram",
        lambda: histogram_figure(results),
        f"Histogram of the scores of {results.headline} at members and at non-members",
        f"Scores of {results.headline} at members and at non-members, as shares of each, over all targets. The "
        "outermost bars hold everything beyond. The more the two overlap, the less can be told; what counts for single "
        "points are the right ends.",
    )


def _comparisons(results: Results) -> list[Block]:
    against, rate = results.comparisons.against, results.representative_rate
    rows = []
    for name, compared in results.comparisons.others.items():
        rows.append([Cell(name), difference_cell(compared.auc), tpr_difference_cell(compared.tpr_at_fpr[rate])])
    columns = [
        Column(f"{against} minus", is_text=True),
        Column("AUC"),
        Column(f"{tpr_label(rate)} in percentage points"),
    ]
    note = Paragraph(
        "Paired: both attacks on the same resamples of targets and points, which tells more than whether their own "
        f"intervals overlap. * The {results.confidence} interval excludes 0. Nothing is corrected for the number of "
        "comparisons."
    )
    return [
        Heading(f"Is {against} better than the others?", media=Media.PAGE),
        Table(columns, [Group(rows)], notes=[note], media=Media.PAGE),
    ]
