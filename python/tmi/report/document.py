"""The report on disk: the page, the Markdown and the figures, all made from ``results.json``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from tmi.report.curves import shadows_figure, variants_figure, views_figure
from tmi.report.exhibits import Exhibit
from tmi.report.figures import png_bytes, roc_figure, svg_text
from tmi.report.histogram import histogram_figure
from tmi.report.markdown import render_markdown
from tmi.report.page import Figures, render_page
from tmi.report.results import Results
from tmi.system.files import atomic, write_text

# Figures by the part of the results that they show.
FIGURES: dict[str, Callable[[Results], Figure]] = {
    "views": views_figure,
    "shadows": shadows_figure,
    "variants": variants_figure,
}


def write_report(
    root: Path,
    results: Results,
    exhibits: Sequence[Exhibit],
    config_toml: str,
    target_exhibits: Sequence[Exhibit] = (),
) -> None:
    """Write ``report.html``, ``report.md`` and the figures as PNG and SVG; remove figures of what is no longer there.

    Args:
        root: the directory that they are written to.
        results: the content of ``results.json``.
        exhibits: what the points of ``results.points.most_exposed`` look like, in that order; empty where that is
            not known.
        config_toml: the resolved configuration.
        target_exhibits: what the points of ``results.target.most_suspected`` look like, likewise.

    Raises:
        ValueError: the number of exhibits is not that of the points, or one of them cannot be shown.
    """
    roc = _write_figure(root, "roc", roc_figure(results))
    further = {
        name: _write_figure(root, name, draw(results))
        for name, draw in FIGURES.items()
        if getattr(results, name) is not None
    }
    for name in FIGURES.keys() - further.keys():
        for ending in ("png", "svg"):
            (root / f"{name}.{ending}").unlink(missing_ok=True)
    further["histogram"] = _write_figure(root, "histogram", histogram_figure(results))
    page = render_page(results, exhibits, Figures(roc, further), config_toml, target_exhibits)
    write_text(root / "report.html", page)
    write_text(root / "report.md", render_markdown(results))


def _write_figure(root: Path, name: str, figure: Figure) -> str:
    """Write a figure and return it as SVG."""
    with atomic(root / f"{name}.png") as file:
        file.write(png_bytes(figure))
    svg = svg_text(figure)
    write_text(root / f"{name}.svg", svg)
    return svg
