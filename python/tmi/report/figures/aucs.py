"""Small figures of AUCs: against what the adversary sees, its number of shadow models, and the finetuning."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Literal

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tmi.metrics.estimate import Estimate
from tmi.report.figures.style import CHANCE_LINE, STYLE, LineStyle, line_styles
from tmi.report.finetunings import PRIVACY_NOTE, Finetuning, any_private, epsilon_text, finetunings, trained
from tmi.report.results import Results
from tmi.report.wording import BASELINE_ATTACK, CHANCE_AUC, percent

_WIDTH = 6.4
_SHADOWS_HEIGHT = 3.8
_MARGINS_HEIGHT = 0.9
_VIEW_HEIGHT = 0.18
_ATTACK_HEIGHT = 0.085
# What part of the room between two places on the axis the intervals of all attacks take, side by side.
_SPREAD = 0.7
_LONGEST_STEP = 0.045
_FINETUNING_HEIGHT = 0.36
_NOTES_HEIGHT = 1.25
# Between the attacks at one finetuning, in rows.
_BESIDE = 0.24
# Between finetunings that are private and those that are not, in rows.
_GAP = 0.7
_LONGEST_NAME = 28
_GRID = "#e4e4e4"
_DETAIL: dict[str, Any] = {"fontsize": 7.5, "color": "#666666"}


def views_figure(results: Results) -> Figure:
    """The AUC of every attack, with its interval, in every view; views from top to bottom.

    Args:
        results: the content of results.json, with ``views``.
    """
    views, styles = results.views or {}, line_styles(results)
    with style.context(STYLE):
        height = _MARGINS_HEIGHT + len(views) * (_VIEW_HEIGHT + _ATTACK_HEIGHT * len(styles))
        figure = Figure(figsize=(_WIDTH, max(height, _MARGINS_HEIGHT + 0.2 * len(styles))), layout="constrained")
        axes = figure.add_subplot()
        axes.axvline(CHANCE_AUC, **CHANCE_LINE)
        for index, (name, line_style) in enumerate(styles.items()):
            offset = _SPREAD * _offset(index, len(styles))
            aucs = [figures[name].auc for figures in views.values()]
            axes.errorbar(
                [auc.estimate for auc in aucs],
                [place + offset for place in range(len(views))],
                xerr=_error_bars(aucs),
                **_point_style(line_style),
            )
        axes.set(yticks=range(len(views)), ylim=(len(views) - 0.5, -0.5))
        axes.set_yticklabels(list(views), parse_math=False)
        axes.tick_params(axis="y", length=0)
        for border in range(1, len(views)):
            axes.axhline(border - 0.5, color=_GRID, linewidth=0.6, zorder=0)
        _finish(axes, results, styles, grid="x")
        axes.set_xlabel(_auc_label(results))
    return figure


def shadows_figure(results: Results) -> Figure:
    """The AUC of every attack, with its interval, against the number of shadow models on a logarithmic axis.

    Args:
        results: the content of results.json, with ``shadows``.
    """
    shadows, styles = results.shadows or {}, line_styles(results)
    places = [math.log2(int(number)) for number in shadows]
    room = min((after - before for before, after in pairwise(places)), default=1.0)
    with style.context(STYLE):
        figure = Figure(figsize=(_WIDTH, _SHADOWS_HEIGHT), layout="constrained")
        axes = figure.add_subplot()
        axes.axhline(CHANCE_AUC, **CHANCE_LINE)
        for index, (name, line_style) in enumerate(styles.items()):
            # A little beside one another, so that intervals do not hide one another.
            offset = room * min(_SPREAD, _LONGEST_STEP * len(styles)) * _offset(index, len(styles))
            aucs = [figures[name].auc for figures in shadows.values()]
            axes.errorbar(
                [place + offset for place in places],
                [auc.estimate for auc in aucs],
                yerr=_error_bars(aucs),
                **_point_style(line_style) | {"linestyle": line_style["linestyle"]},
            )
        axes.set_xticks(places, labels=list(shadows))
        axes.set_xlabel("Number of shadow models (logarithmic)")
        axes.set_ylabel(_auc_label(results))
        _finish(axes, results, styles, grid="y")
    return figure


def variants_figure(results: Results) -> Figure:
    """The AUC of the main attack and of the paper's baseline, with intervals, for every finetuning from top to bottom.

    Beside each finetuning stand what it trains, its epsilon and its downstream accuracy; private ones stand apart.

    Args:
        results: the content of results.json, with ``variants``.
    """
    rows = finetunings(results)
    places = _places(rows)
    aucs = {results.headline: [row.auc for row in rows]}
    if rows[0].baseline:
        aucs[BASELINE_ATTACK] = [row.baseline for row in rows if row.baseline]
    styles = {name: line_style for name, line_style in line_styles(results).items() if name in aucs}
    with style.context(STYLE):
        height = _NOTES_HEIGHT + _FINETUNING_HEIGHT * (places[-1] + 1)
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        axes = figure.add_subplot()
        axes.axvline(CHANCE_AUC, **CHANCE_LINE)
        for index, (name, estimates) in enumerate(aucs.items()):
            offset = _BESIDE * len(aucs) * _offset(index, len(aucs))
            axes.errorbar(
                [auc.estimate for auc in estimates],
                [place + offset for place in places],
                xerr=_error_bars(estimates),
                **_point_style(styles[name]),
            )
        _name_finetunings(axes, rows, places)
        axes.set_xlabel(_auc_label(results))
        _finish(axes, results, styles, grid="x", loc="outside upper center", ncols=len(styles))
        if any_private(results):
            figure.supxlabel(PRIVACY_NOTE.replace("; ", ";\n"), **_DETAIL)
    return figure


def _places(rows: list[Finetuning]) -> list[float]:
    """A row each, with a gap where private finetunings begin or end."""
    places = [0.0]
    for row, following in pairwise(rows):
        places.append(places[-1] + 1 + (_GAP if (row.epsilon is None) != (following.epsilon is None) else 0))
    return places


def _name_finetunings(axes: Axes, rows: list[Finetuning], places: list[float]) -> None:
    """Names and what is trained on the left, downstream accuracies on the right, lines where the gaps are."""
    axes.set(yticks=places, ylim=(places[-1] + 0.5, -0.5))
    axes.set_yticklabels(["" for _ in rows])
    axes.tick_params(axis="y", length=0)
    beside = axes.get_yaxis_transform()
    right: dict[str, Any] = {"transform": beside, "ha": "left", "parse_math": False}
    left: dict[str, Any] = right | {"ha": "right"}
    for row, place in zip(rows, places, strict=True):
        detail = trained(row.transfer)
        if row.points != rows[0].points:
            detail += f", {row.points:,} points"
        if row.epsilon is not None:
            detail += f", ε = {epsilon_text(row.epsilon)}"
        axes.text(-0.02, place - 0.02, _shortened(row.name), va="bottom", fontsize=9, **left)
        axes.text(-0.02, place + 0.02, detail, va="top", **left, **_DETAIL)
        axes.text(1.02, place, percent(row.accuracy), va="center", fontsize=9, **right)
    axes.text(1.02, -0.6, "downstream\naccuracy", va="bottom", **right, **_DETAIL)
    for before, after in pairwise(places):
        if after - before > 1:
            axes.axhline((before + after) / 2, color=_GRID, linewidth=0.8, zorder=0)


def _shortened(name: str) -> str:
    """A long name would leave the axes no room."""
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _offset(index: int, number: int) -> float:
    """Where the index-th of a number of things lies, evenly in [-0.5, 0.5]."""
    return (index + 0.5) / number - 0.5


def _error_bars(aucs: list[Estimate]) -> tuple[list[float], list[float]]:
    """Lengths below and above; an estimate may lie outside the percentiles of its resamples by a hair."""
    return (
        [max(0.0, auc.estimate - auc.low) for auc in aucs],
        [max(0.0, auc.high - auc.estimate) for auc in aucs],
    )


def _point_style(line_style: LineStyle) -> dict[str, Any]:
    width = line_style["linewidth"]
    return {
        "color": line_style["color"],
        "linewidth": width,
        "zorder": line_style["zorder"],
        "linestyle": "none",
        "marker": "o",
        "markersize": 3 + 0.8 * width,
        "elinewidth": 0.6 * width,
    }


def _auc_label(results: Results) -> str:
    return f"AUC with {results.confidence} interval"


def _finish(
    axes: Axes,
    results: Results,
    styles: Mapping[str, LineStyle],
    grid: Literal["x", "y"],
    loc: Literal["outside right upper", "outside upper center"] = "outside right upper",
    ncols: int = 1,
) -> None:
    axes.grid(visible=True, axis=grid, color=_GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    handles = [Line2D([], [], marker="o", markersize=4, **line_style) for line_style in styles.values()]
    bounds = results.upper_bounds
    # A space first: no label then starts with the underscore that hides a legend entry.
    labels = [f" {name}{' (upper bound)' if name in bounds else ''}" for name in styles]
    legend = axes.figure.legend(handles, labels, fontsize=8, loc=loc, ncols=ncols, frameon=False, handlelength=2.4)
    for text in legend.get_texts():
        text.set_parse_math(False)
