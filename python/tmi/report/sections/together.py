"""How the leak grows with the number of finetunings of the same models that are seen together."""

from __future__ import annotations

from dataclasses import replace

from tmi.report.blocks import Column, Figure, Material, Media, Paragraph, Section
from tmi.report.results import Results
from tmi.report.sections.views import auc_table
from tmi.report.wording import resolution_note, tpr_cell, tpr_label, tpr_label_short, with_interval

MEANING = (
    "Each finetuning is another projection of the same pretrained features, so what they give away can add up: for "
    "somebody who publishes many finetunings of one base the last row counts."
)


def section(material: Material) -> Section | None:
    """A row for every number of finetunings, and a figure."""
    results = material.results
    if (together := results.together) is None:
        return None
    from tmi.report.figures.aucs import together_figure

    title = "What several finetunings leak together"
    label = "AUC and true positive rate of every attack against the number of finetunings"
    introduction = (
        "The same pretrained models, points and shadow models, attacked by adversaries who see each model finetuned in "
        f"more ways than one, by the attacks that look at several. In brackets: {results.confidence} intervals. "
    )
    rows, rate, unresolved = together.figures, results.representative_rate, resolution_note(results)
    seen = [f"{number}: {'' if number == 1 else '+ '}{name}" for number, name in enumerate(together.finetunings, 1)]
    table = auc_table(results, rows, title, Column("Finetunings", seen, is_text=True))
    name, short = _shown(results), tpr_label_short(rate)
    found = [tpr_cell(figures[name].tpr_at_fpr[rate], rate) for figures in rows.values()]
    column = Column(f"{tpr_label(rate)} of {name}", found, short, notes=[f"{tpr_label(rate)}: of {name}"])
    table = replace(
        table,
        columns=[*table.columns, column],
        notes=[Paragraph(f"{unresolved}.", media=Media.DOCUMENTS)] if unresolved else [],
    )
    drawn = Figure("together", lambda: together_figure(results), f"{label}; the figures are in the table above")
    return Section(
        title,
        [Paragraph(introduction + MEANING, media=Media.DOCUMENTS), table, drawn],
        Media.DOCUMENTS | Media.TERMINAL,
    )


def together_sentence(results: Results) -> str:
    """What an adversary finds who sees all finetunings, behind what is said of the first; empty where there is one."""
    if results.together is None:
        return ""
    name, (number, figures) = _shown(results), list(results.together.figures.items())[-1]
    return (
        f" On all {number} finetunings of the same models together, {name} has AUC {with_interval(figures[name].auc)}."
    )


def _shown(results: Results) -> str:
    """The attack of the verdict, or the first that looks at several finetunings where that one does not."""
    assert results.together is not None
    run = results.together.figures["1"]
    return results.headline if results.headline in run else next(iter(run))
