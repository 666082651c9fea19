"""How well the attacks do: their figures, their ROC curves, and the headline attack against every other."""

from __future__ import annotations

from tmi.report.blocks import Block, Cell, Column, Figure, Folded, Material, Media, Paragraph, Section, Table
from tmi.report.results import Results
from tmi.report.sections.methods import options_note
from tmi.report.sections.summary import verdict
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
    tpr_label_short,
)


def section(material: Material) -> Section:
    """The table of all attacks, two figures and the comparisons."""
    from tmi.report.figures.histogram import histogram_figure
    from tmi.report.figures.roc import live_curve, roc_figure

    results = material.results
    expected = expected_note(results)
    blocks: list[Block] = [Paragraph(verdict(results), media=Media.DOCUMENTS)]
    blocks += [
        *([Paragraph(expected, media=Media.DOCUMENTS)] if expected else []),
        attack_table(results),
        Figure(
            "roc",
            lambda: roc_figure(results),
            "ROC curves of all attacks; the figures are in the table above",
            live=live_curve(results),
            media=Media.PAGE | Media.NOTEBOOK,
        ),
        Figure(
            "histogram",
            lambda: histogram_figure(results),
            f"Histogram of the scores of {results.headline} at members and at non-members",
            "The more the two overlap, the less can be told. The outermost bars hold everything beyond.",
        ),
    ]
    if results.comparisons.others:
        summary = f"Is {results.comparisons.against} better than the others?"
        blocks.append(Folded(summary, [_comparisons(results)], media=Media.PAGE))
    return Section("Results", blocks, Media.EVERYWHERE)


def attack_table(results: Results) -> Table:
    """One row per attack, highest AUC first; those with direct access stand apart below."""
    rates, direct = results.rates, results.direct
    names = [*results.ranked, *direct]
    attacks = [results.attacks[name] for name in names]
    accuracies = [attack.balanced_accuracy for attack in attacks]
    columns = [
        Column("Attack", names, is_text=True),
        Column("AUC", [auc_cell(a.auc) for a in attacks], f"AUC [{results.confidence} interval]", detailed=True),
        Column(
            "Balanced accuracy",
            [Cell(percent(accuracy.estimate), [percent_interval(accuracy)]) for accuracy in accuracies],
            "bal.\nacc.",
            spared=1,
        ),
    ]
    for place, rate in enumerate(rates):
        cells = [tpr_cell(attack.tpr_at_fpr[rate], rate) for attack in attacks]
        # The highest false positive rates say least.
        columns.append(Column(tpr_label(rate), cells, tpr_label_short(rate), spared=1 + len(rates) - place))
    unresolved, options = resolution_note(results), options_note(results)
    said = [f"{name}: queries the pretrained model itself, a reference with direct access" for name in direct]
    notes = [Paragraph(note, media=Media.TERMINAL) for note in (*said, unresolved, seen(results)) if note]
    notes.append(Paragraph(f"In brackets: {results.confidence} intervals.", media=~Media.TERMINAL))
    if unresolved:
        notes.append(Paragraph(f"{unresolved}.", media=~Media.TERMINAL))
    if options:
        notes.append(Paragraph(f"Options: {options}.", media=Media.MARKDOWN))
    return Table(
        columns,
        main=results.headline,
        notes=notes,
        breaks=[len(results.ranked)],
        apart="Reference with direct access, no attack on a finetuned model: it queries the pretrained model itself.",
        remark="direct access",
    )


def _comparisons(results: Results) -> Table:
    rate, others = results.representative_rate, results.comparisons.others
    columns = [
        Column(f"{results.comparisons.against} minus", list(others)),
        Column("AUC", [difference_cell(compared.auc) for compared in others.values()]),
        Column(
            f"{tpr_label(rate)} in percentage points",
            [tpr_difference_cell(compared.tpr_at_fpr[rate]) for compared in others.values()],
        ),
    ]
    note = (
        f"Paired: both attacks on the same resamples of targets and points. * The {results.confidence} interval "
        "excludes 0. Nothing is corrected for the number of comparisons."
    )
    return Table(columns, notes=[Paragraph(note)])
