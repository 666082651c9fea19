"""How the leak grows with the number of shadow models."""

from __future__ import annotations

from tmi.report.blocks import Column, Figure, Material, Media, Paragraph, Section
from tmi.report.sections.views import auc_table


def section(material: Material) -> Section | None:
    """The AUC of every attack for every number of shadow models."""
    results = material.results
    if results.shadows is None:
        return None
    from tmi.report.figures.aucs import shadows_figure

    title = "How the leak grows with the number of shadow models"
    label = "AUC of every attack against the number of shadow models"
    introduction = (
        "The same targets, attacked by adversaries who have trained fewer shadow models, drawn at random from the "
        f"other models. AUC with {results.confidence} interval."
    )
    blocks = [
        Paragraph(introduction, media=Media.DOCUMENTS),
        auc_table(results, results.shadows, title, Column("Shadow models", list(results.shadows), "shadows")),
        Figure("shadows", lambda: shadows_figure(results), f"{label}; the figures are in the table above"),
    ]
    return Section(title, blocks, Media.DOCUMENTS | Media.TERMINAL)
