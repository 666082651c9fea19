"""Stage 6, its pages: the tables, the figures and the HTML report, all made from ``results.json``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from matplotlib.figure import Figure

from tmi.report.curves import shadows_figure, variants_figure, views_figure
from tmi.report.figures import png_bytes, roc_figure, svg_text
from tmi.report.page import Exhibit, render_page
from tmi.run import Run
from tmi.rundir import atomic, write_text

# Figures by the part of the results that they show.
FIGURES: dict[str, Callable[[dict[str, Any]], Figure]] = {
    "views": views_figure,
    "shadows": shadows_figure,
    "variants": variants_figure,
}


def write_report(run: Run, results: dict[str, Any]) -> None:
    """Write ``report.html`` and its figures as PNG and SVG; remove figures of what the results no longer hold.

    Args:
        run: the run, whose most exposed points are shown.
        results: the content of ``results.json``.
    """
    roc_svg = _write_figure(run, "roc", roc_figure(results))
    further = {name: _write_figure(run, name, draw(results)) for name, draw in FIGURES.items() if name in results}
    for name in FIGURES.keys() - further.keys():
        for ending in ("png", "svg"):
            (run.directory.root / f"{name}.{ending}").unlink(missing_ok=True)
    page = render_page(results, _exhibits(run, results), roc_svg, run.config.to_toml(), further)
    write_text(run.directory.report, page)


def _write_figure(run: Run, name: str, figure: Figure) -> str:
    """Write a figure and return it as SVG."""
    with atomic(run.directory.root / f"{name}.png") as file:
        file.write(png_bytes(figure))
    svg = svg_text(figure)
    write_text(run.directory.root / f"{name}.svg", svg)
    return svg


def _exhibits(run: Run, results: dict[str, Any]) -> list[Exhibit]:
    pool = run.task.pool
    return [Exhibit(pool.kind, pool.raw[point["point"]]) for point in results["points"]["most_exposed"]]
