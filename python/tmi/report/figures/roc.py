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
from tmi.report.figures.style import CHANCE_LINE, GREY, STYLE, LineStyle, line_styles, shortened
from tmi.report.results import Results
from tmi.report.wording import rate_percent, with_interval

LOWEST_RATE = 1e-5

_WIDTH, _HEIGHT = 6.4, 5.4
_LEGEND_ROW = 0.2
# With more curves the legend no longer fits under the diagonal.
_MOST_UNCROWDED = 7
_BELOW_AXES = {"loc": "outside lower center", "ncols": 2, "columnspacing": 1.5}
_UNRESOLVABLE: Mapping[str, Any] = {
    "facecolor": (1, 1, 1, 0.75),
    "hatch": "////",
    "edgecolor": "#c8c8c8",
    "linewidth": 0,
    "zorder": 5,
}


def roc_figure(results: Results) -> Figure:
    """ROC curves on two logarithmic axes, with a simultaneous band around that of the attack of the verdict.

    The rates that stand for too few non-members, which the data cannot resolve, are hatched over. The headline
    attack is drawn thick, direct access as a dashed grey line, chance as a thin dashed diagonal. The
    other curves have no band: bands would hide one another, and the table has their intervals.

    Args:
        results: the content of results.json.
    """
    styles = line_styles(results)
    with style.context(STYLE):
        height = _HEIGHT + (_LEGEND_ROW * math.ceil(len(styles) / 2) if len(styles) > _MOST_UNCROWDED else 0)
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        axes = figure.add_subplot()
        non_members = results.data.non_members
        _set_axes(axes, 1 / non_members)
        axes.plot([LOWEST_RATE, 1], [LOWEST_RATE, 1], **CHANCE_LINE)
        for name, line_style in styles.items():
            roc = results.attacks[name].roc
            axes.plot(roc.fpr, roc.tpr, **line_style)
            if name == results.headline:
                band = {"color": line_style["color"], "alpha": 0.15, "linewidth": 0, "zorder": 1}
                axes.fill_between(roc.fpr, roc.band_low, roc.band_high, **band)
        _cover_unresolvable(axes, non_members)
        _add_legend(axes, results, styles)
    return figure


def _set_axes(axes: Axes, lowest_resolvable: float) -> None:
    def start(rate: float) -> float:
        """The power of ten at or below a rate, but not below the lowest that is shown."""
        return max(LOWEST_RATE, 10.0 ** math.floor(math.log10(rate)))

    # Half of it, so that some of the unresolvable rates are always in sight, and seen to be so.
    axes.set(xlabel="False positive rate", xscale="log", xlim=(start(lowest_resolvable / 2), 1))
    axes.set(ylabel="True positive rate", yscale="log", ylim=(start(lowest_resolvable), 1))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(10, numticks=10))
        axis.set_major_formatter(FuncFormatter(lambda rate, _: rate_percent(rate)))
        axis.set_minor_formatter(NullFormatter())
    axes.grid(which="major", color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)


def _cover_unresolvable(axes: Axes, non_members: int) -> None:
    """Hatch the rates that stand for too few non-members over the curves, which are no evidence there."""
    start, edge = axes.get_xlim()[0], min(LEAST_FALSE_POSITIVES / non_members, 1.0)
    if edge <= start:
        return
    axes.axvspan(start, edge, **_UNRESOLVABLE)
    axes.text(
        math.sqrt(start * edge),
        0.03,
        f"below {LEAST_FALSE_POSITIVES} of {non_members:,} non-members",
        transform=axes.get_xaxis_transform(),
        rotation=90,
        ha="center",
        va="bottom",
        fontsize=8,
        color=GREY,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 2},
        zorder=6,
    )


def _add_legend(axes: Axes, results: Results, styles: Mapping[str, LineStyle]) -> None:
    handles = [Line2D([], [], **line_style) for line_style in styles.values()]
    labels = [_legend_label(results, name) for name in styles]
    parent, place = (axes.figure, _BELOW_AXES) if len(styles) > _MOST_UNCROWDED else (axes, {"loc": "lower right"})
    legend = parent.legend(
        handles,
        labels,
        title=f"AUC [{results.confidence} interval]",
        fontsize=8,
        title_fontsize=8,
        alignment="left",
        handlelength=2.4,
        edgecolor="#dddddd",
        framealpha=0.92,
        **place,
    )
    legend.set_zorder(7)
    for text in legend.get_texts():
        text.set_parse_math(False)


def _legend_label(results: Results, name: str) -> str:
    """AUC first: it lines up, and no label then starts with the underscore that hides a legend entry."""
    remark = " (direct access)" if name in results.direct else ""
    # An en space, because HTML merges two ordinary ones.
    return f"{with_interval(results.attacks[name].auc)}\N{EN SPACE}{shortened(name)}{remark}"
