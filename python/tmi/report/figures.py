"""The ROC curves of all attacks in one figure, as PNG and SVG that are the same bytes every time."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from typing import Any, TypeAlias

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from tmi.metrics.roc import Curve
from tmi.report.results import Results
from tmi.report.wording import DEFAULT_ATTACK, rate_percent, with_interval

LineStyle: TypeAlias = Mapping[str, Any]

LOWEST_RATE = 1e-5
PNG_DPI = 200

_WIDTH = 6.4
_HEIGHT = 5.4
_LEGEND_ROW = 0.2
_LONGEST_NAME = 40
_MOST_UNCROWDED = 7
_BELOW_AXES = {"loc": "outside lower center", "ncols": 2, "columnspacing": 1.5}

# Okabe and Ito's palette, told apart by colour-blind readers; blue is kept for the default attack, and black
# and yellow are left out (too heavy, too light).
_DEFAULT_COLOUR = "#0072B2"
_COLOURS = ("#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_DASHES = ("-", (0, (1, 1.2)), (0, (5, 1.2, 1, 1.2)), (0, (5, 1.2, 1, 1.2, 1, 1.2)))
_GREY = "#555555"
MEMBER_COLOUR = "#D55E00"
NON_MEMBER_COLOUR = "#0072B2"

_UNRESOLVABLE: Mapping[str, Any] = {
    "facecolor": (1, 1, 1, 0.75),
    "hatch": "////",
    "edgecolor": "#c8c8c8",
    "linewidth": 0,
    "zorder": 5,
}
CHANCE_LINE: LineStyle = {"color": "#999999", "linestyle": (0, (4, 3)), "linewidth": 0.8, "zorder": 1.5}

# Starting from the defaults keeps a user's matplotlibrc out, which would change the bytes.
STYLE: list[str | dict[str, Any]] = [
    "default",
    {
        "font.size": 10,
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": _GREY,
        "axes.labelcolor": "#222222",
        "xtick.color": _GREY,
        "ytick.color": _GREY,
        "hatch.linewidth": 0.5,
        "svg.fonttype": "none",  # text stays text: small, searchable, in the reader's font
        "svg.hashsalt": "tmi",  # without it the ids in the SVG are random
    },
]


def roc_figure(results: Results) -> Figure:
    """ROC curves on two logarithmic axes, with a simultaneous band around that of the attack of the verdict.

    The rates below 1 / (number of non-members), which the data cannot resolve, are hatched over. The default
    attack is drawn thick, the upper bound as a dashed grey line, chance as a thin dashed diagonal. The
    other curves have no band: bands would hide one another, and the table has their intervals.

    Args:
        results: the content of results.json.
    """
    styles = line_styles(results)
    with style.context(STYLE):
        height = _HEIGHT + (_LEGEND_ROW * math.ceil(len(styles) / 2) if _is_crowded(styles) else 0)
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        axes = figure.add_subplot()
        non_members = results.data.non_members
        _set_axes(axes, 1 / non_members)
        axes.plot([LOWEST_RATE, 1], [LOWEST_RATE, 1], **CHANCE_LINE)
        for name, line_style in styles.items():
            roc = results.attacks[name].roc
            axes.plot(roc.fpr, roc.tpr, **line_style)
            if name == results.headline:
                _draw_band(axes, roc, line_style)
        _cover_unresolvable(axes, non_members)
        _add_legend(axes, results, styles)
    return figure


def png_bytes(figure: Figure) -> bytes:
    """The figure as PNG at twice the usual resolution; equal figures give equal bytes."""
    buffer = io.BytesIO()
    with style.context(STYLE):
        figure.savefig(buffer, format="png", dpi=PNG_DPI, metadata={"Software": None})
    return buffer.getvalue()


def svg_text(figure: Figure) -> str:
    """The figure as SVG with its text as text; equal figures give equal text."""
    buffer = io.StringIO()
    with style.context(STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def line_styles(results: Results) -> dict[str, LineStyle]:
    """Line style of each attack, in the order of the legend.

    Colours follow the order of the file, not of the legend: the same attack keeps its colour between runs.
    """
    bounds = results.upper_bounds
    others = [name for name in results.attacks if name not in (DEFAULT_ATTACK, *bounds)]
    styles: dict[str, LineStyle] = {
        name: {
            "color": _COLOURS[index % len(_COLOURS)],
            "linestyle": _DASHES[index // len(_COLOURS) % len(_DASHES)],
            "linewidth": 1.3,
            "zorder": 3,
        }
        for index, name in enumerate(others)
    }
    styles[DEFAULT_ATTACK] = {"color": _DEFAULT_COLOUR, "linestyle": "-", "linewidth": 2.4, "zorder": 4}
    bound: LineStyle = {"color": _GREY, "linestyle": (0, (6, 2)), "linewidth": 1.3, "zorder": 2}
    return {name: styles[name] for name in results.ranked} | dict.fromkeys(bounds, bound)


def _is_crowded(styles: Mapping[str, LineStyle]) -> bool:
    """Whether the legend no longer fits under the diagonal."""
    return len(styles) > _MOST_UNCROWDED


def _axis_start(rate: float) -> float:
    """The power of ten at or below a rate, but at least ``LOWEST_RATE``."""
    return max(LOWEST_RATE, 10.0 ** math.floor(math.log10(rate)))


def _set_axes(axes: Axes, lowest_resolvable: float) -> None:
    # Half of it, so that some of the unresolvable rates are always in sight, and seen to be so.
    axes.set(xlabel="False positive rate", xscale="log", xlim=(_axis_start(lowest_resolvable / 2), 1))
    axes.set(ylabel="True positive rate", yscale="log", ylim=(_axis_start(lowest_resolvable), 1))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(10, numticks=10))
        axis.set_major_formatter(FuncFormatter(lambda rate, _: rate_percent(rate)))
        axis.set_minor_formatter(NullFormatter())
    axes.grid(which="major", color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)


def _draw_band(axes: Axes, roc: Curve, line_style: LineStyle) -> None:
    colour = line_style["color"]
    axes.fill_between(roc.fpr, roc.band_low, roc.band_high, color=colour, alpha=0.15, linewidth=0, zorder=1)


def _cover_unresolvable(axes: Axes, non_members: int) -> None:
    """Hatch the rates below 1 / (number of non-members) over the curves, which are no evidence there."""
    start, edge = axes.get_xlim()[0], 1 / non_members
    if edge <= start:
        return
    axes.axvspan(start, edge, **_UNRESOLVABLE)
    axes.text(
        math.sqrt(start * edge),
        0.03,
        f"below 1 / {non_members:,} non-members",
        transform=axes.get_xaxis_transform(),
        rotation=90,
        ha="center",
        va="bottom",
        fontsize=8,
        color=_GREY,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 2},
        zorder=6,
    )


def _add_legend(axes: Axes, results: Results, styles: Mapping[str, LineStyle]) -> None:
    handles = [Line2D([], [], **line_style) for line_style in styles.values()]
    labels = [_legend_label(results, name) for name in styles]
    parent, place = (axes.figure, _BELOW_AXES) if _is_crowded(styles) else (axes, {"loc": "lower right"})
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


def shortened(name: str) -> str:
    """A name for a figure: a long one would leave the axes no room."""
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _legend_label(results: Results, name: str) -> str:
    """AUC first: it lines up, and no label then starts with the underscore that hides a legend entry."""
    remark = " (upper bound)" if name in results.upper_bounds else ""
    # An en space, because HTML merges two ordinary ones.
    return f"{with_interval(results.attacks[name].auc)}\N{EN SPACE}{shortened(name)}{remark}"
