"""Stage 6, its pages: the table, the ROC figure and the HTML report, all made from ``results.json``."""

from __future__ import annotations

from typing import Any

from tmi.report.figures import png_bytes, roc_figure, svg_text
from tmi.report.page import Exhibit, render_page
from tmi.run import Run
from tmi.rundir import atomic, write_text


def write_report(run: Run, results: dict[str, Any]) -> None:
    """Write ``roc.png``, ``roc.svg`` and ``report.html``.

    Args:
        run: the run, whose most exposed points are shown.
        results: the content of ``results.json``.
    """
    figure = roc_figure(results)
    with atomic(run.directory.root / "roc.png") as file:
        file.write(png_bytes(figure))
    roc_svg = svg_text(figure)
    write_text(run.directory.root / "roc.svg", roc_svg)
    write_text(run.directory.report, render_page(results, _exhibits(run, results), roc_svg, run.config.to_toml()))


def _exhibits(run: Run, results: dict[str, Any]) -> list[Exhibit]:
    pool = run.task.pool
    return [Exhibit(pool.kind, pool.raw[point["point"]]) for point in results["points"]["most_exposed"]]
