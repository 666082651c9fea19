"""The ROC curves of all attacks in one figure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from tmi.metrics.estimate import LEAST_FALSE_POSITIVES
from tmi.report.figures.style import (
    CHANCE_LINE,
    GREY,
    HEADLINE,
    STYLE,
    WIDTH,
    LineStyle,
    add_title,
    line_styles,
    shortened,
)
from tmi.report.results import Results
from tmi.report.wording import rate_percent, with_interval

LOWEST_RATE = 1e-5
# By which the page finds the axes in the SVG.
AXES_ID = "roc-axes"

_HEIGHT, _LEGEND_ROW = 3.6, 0.17


def lowest_rate(results: Results) -> float:
    """The lowest false positive rate that the data resolve: below it, curves are the luck of a few non-members."""
    # As for the rates of the table, ten non-members after rounding.
    return min(max((LEAST_FALSE_POSITIVES - 0.5) / results.data.non_members, LOWEST_RATE), 0.5)


def roc_figure(results: Results) -> Figure:
    """ROC curves on two logarithmic axes, with a simultaneous band around that of the attack of the verdict.

    They begin at the lowest rate that the data resolve. The headline attack is drawn thick, direct access as a dashed
    line, chance as a thin dashed diagonal. The other curves have no band: bands would hide one another, and the table
    has their intervals.

    Args:
        results: the content of results.json.
    """
    styles, start = line_styles(results), lowest_rate(results)
    with style.context(STYLE):
        figure = Figure(figsize=(WIDTH, _HEIGHT + _LEGEND_ROW * math.ceil(len(styles) / 2)), layout="constrained")
        axes = figure.add_subplot()
        axes.patch.set_gid(AXES_ID)
        axes.set(xlabel="False positive rate", xscale="log", xlim=(start, 1))
        axes.set(ylabel="True positive rate", yscale="log", ylim=(start, 1))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(10, numticks=10))
            axis.set_major_formatter(FuncFormatter(lambda rate, _: rate_percent(rate)))
            axis.set_minor_formatter(NullFormatter())
        axes.grid(which="major")
        axes.plot([start, 1], [start, 1], **CHANCE_LINE)
        for name, line_style in styles.items():
            roc = results.attacks[name].roc
            axes.plot(roc.fpr, roc.tpr, **line_style)
        roc = results.main.roc
        axes.fill_between(roc.fpr, roc.band_low, roc.band_high, color=HEADLINE, alpha=0.12, linewidth=0, zorder=1)
        for edge in (roc.band_low, roc.band_high):
            axes.plot(roc.fpr, edge, color=HEADLINE, linewidth=0.5, alpha=0.6, zorder=1)
        _say_where_it_ends(axes, start, results.data.non_members)
        _add_legend(figure, results, styles)
        add_title(figure, results, "Members found at each false positive rate")
    return figure


def live_curve(results: Results) -> dict[str, Any]:
    """What the page needs to move along the curve of the attack of the verdict: rates, and where the axes begin.

    Returns:
        ``rates``: a list of false positive rate, true positive rate and the ends of its interval, for every rate of
        the grid and of the table that is shown; ``start``: of both axes; ``axes``: their id; ``at``: the rate to begin
        with; ``attack``: its name.
    """
    roc, start = results.main.roc, lowest_rate(results)
    of_table = results.main.tpr_at_fpr.items()
    whole = [
        *zip(roc.fpr, roc.tpr, roc.low, roc.high, strict=True),
        *((float(rate), found.estimate, found.low, found.high) for rate, found in of_table if found.resolvable),
    ]
    rows = sorted([float(f"{value:.4g}") for value in row] for row in whole)
    return {
        "axes": AXES_ID,
        "start": start,
        "at": float(results.representative_rate),
        "attack": results.headline,
        "rates": [row for row in rows if start <= row[0] < 1],
    }


def _say_where_it_ends(axes: Axes, start: float, non_members: int) -> None:
    if start > LOWEST_RATE:
        axes.text(
            # Below chance, where hardly a curve goes.
            0.99,
            0.02,
            f"The curves begin where {LEAST_FALSE_POSITIVES} of {non_members:,} non-members\nare taken for members: "
            "below, they mean nothing.",
            transform=axes.transAxes,
            ha="right",
            fontsize=7,
            color=GREY,
        )


def _add_legend(figure: Figure, results: Results, styles: Mapping[str, LineStyle]) -> None:
    handles = [Line2D([], [], **line_style) for line_style in styles.values()]
    labels = [_legend_label(results, name) for name in styles]
    title = f"AUC [{results.confidence} interval]; shaded: simultaneous band"
    place: dict[str, Any] = {"loc": "outside lower left", "ncols": 2, "columnspacing": 1.0, "handlelength": 1.8}
    figure.legend(handles, labels, title=title, fontsize=7, title_fontsize=7, alignment="left", **place)


def _legend_label(results: Results, name: str) -> str:
    """AUC first: it lines up, and no label then starts with the underscore that hides a legend entry."""
    remark = " (direct access)" if name in results.direct else ""
    # An en space, because HTML merges two ordinary ones.
    return f"{with_interval(results.attacks[name].auc)}\N{EN SPACE}{shortened(name)}{remark}"
