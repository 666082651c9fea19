"""How the leak falls with what is seen of an answer."""

from __future__ import annotations

from collections.abc import Mapping

from tmi.predictions.views import View
from tmi.report.blocks import Cell, Column, Figure, Group, Material, Media, Paragraph, Section, Table, Terms
from tmi.report.results import Figures, Results
from tmi.report.wording import auc_cell


def section(material: Material) -> Section | None:
    """The AUC of every attack in every view."""
    results = material.results
    if results.views is None:
        return None
    from tmi.report.figures.aucs import views_figure

    introduction = (
        "The same models, queries and attacks, by adversaries to whom less is shown. AUC with "
        f"{results.confidence} interval; the upper bound sees as much of the pretrained model's answers."
    )
    title = "How the leak falls with what is seen"
    return Section(
        title,
        [
            Paragraph(introduction, media=Media.DOCUMENTS),
            auc_table(results, results.views, title, Column("Seen of an answer", "view", is_text=True)),
            Figure(
                "views",
                lambda: views_figure(results),
                "AUC of every attack in every view; the figures are in the table above",
            ),
            Terms([(name, View.parse(name).description) for name in results.views], media=Media.PAGE),
        ],
        Media.DOCUMENTS | Media.TERMINAL,
    )


def auc_table(results: Results, rows: Mapping[str, Mapping[str, Figures]], title: str, first: Column) -> Table:
    """The AUC of every attack, by adversary; a narrow terminal spares those with the highest."""
    ranked = results.ranked
    columns = [
        first,
        # The best one stays.
        *(Column(name, spared=len(ranked) - place if place else 0) for place, name in enumerate(ranked)),
        *(Column(name, spared=len(ranked) + 1) for name in results.upper_bounds),
    ]
    attacks = [*ranked, *results.upper_bounds]
    cells = [[Cell(row), *(auc_cell(figures[name].auc) for name in attacks)] for row, figures in rows.items()]
    return Table(columns, [Group(cells)], main=results.headline, title=f"{title}: AUC")
