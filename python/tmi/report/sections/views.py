"""How the leak falls with what is seen of an answer."""

from __future__ import annotations

from collections.abc import Mapping

from tmi.report.blocks import Column, Figure, Items, Material, Media, Paragraph, Section, Table
from tmi.report.results import Results
from tmi.report.tables import Figures
from tmi.report.wording import auc_cell, seen_in


def section(material: Material) -> Section | None:
    """The AUC of every attack in every view."""
    results = material.results
    if results.views is None:
        return None
    from tmi.report.figures.aucs import views_figure

    title, label = "How the leak falls with what is seen", "AUC of every attack in every view"
    introduction = (
        "The same models, queries and attacks, by adversaries to whom less is shown. AUC with "
        f"{results.confidence} interval; direct access sees as much of the pretrained model's answers."
    )
    blocks = [
        Paragraph(introduction, media=Media.DOCUMENTS),
        auc_table(
            results, results.views, title, Column("Seen of an answer", list(results.views), "view", is_text=True)
        ),
        Figure("views", lambda: views_figure(results), f"{label}; the figures are in the table above"),
        Items([(name, [seen_in(results, name)]) for name in results.views], media=Media.PAGE),
    ]
    return Section(title, blocks, Media.DOCUMENTS | Media.TERMINAL)


def auc_table(results: Results, rows: Mapping[str, Mapping[str, Figures]], title: str, first: Column) -> Table:
    """The AUC of the attacks that all adversaries run; the best one stays however narrow the terminal is."""
    first_row, *others = rows.values()
    run = [name for name in first_row if all(name in row for row in others)]
    columns, ranked = [first], [name for name in results.ranked if name in run]
    for place, name in enumerate([*ranked, *(name for name in results.direct if name in run)]):
        spared = len(ranked) + 1 if place >= len(ranked) else len(ranked) - place if place else 0
        columns.append(Column(name, [auc_cell(figures[name].auc) for figures in rows.values()], spared=spared))
    return Table(columns, main=results.headline, title=f"{title}: AUC")
