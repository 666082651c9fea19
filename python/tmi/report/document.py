"""The report on disk: the page, the Markdown and the figures, all made from ``results.json``."""

from __future__ import annotations

from pathlib import Path

from tmi.report import figures
from tmi.report.blocks import Figure, Material, Media
from tmi.report.figures.style import png_bytes, svg_text
from tmi.report.html import render_page
from tmi.report.markdown import render_markdown
from tmi.report.sections import sections_of
from tmi.system.files import atomic, write_text


def write_report(root: Path, material: Material) -> None:
    """Write ``report.html``, ``report.md`` and the figures as PNG and SVG; remove figures of what is no longer there.

    Args:
        root: the directory that they are written to.
        material: what the report is made from.

    Raises:
        ValueError: the number of exhibits is not that of the points, or one of them cannot be shown.
    """
    sections = sections_of(material)
    svgs = {}
    for figure in (block for section in sections for block in section.shown(Media.PAGE) if isinstance(block, Figure)):
        drawn = figure.draw()
        with atomic(root / f"{figure.name}.png") as file:
            file.write(png_bytes(drawn))
        svgs[figure.name] = svg_text(drawn)
        write_text(root / f"{figure.name}.svg", svgs[figure.name])
    for name in set(figures.NAMES) - set(svgs):
        for ending in figures.ENDINGS:
            (root / f"{name}.{ending}").unlink(missing_ok=True)
    write_text(root / "report.html", render_page(material, sections, svgs))
    write_text(root / "report.md", render_markdown(material.results, sections))
