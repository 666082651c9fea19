"""Small figures of AUCs: against what the adversary sees, its shadow models, the finetuning, and how many it sees."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Literal

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from tmi.metrics.estimate import Estimate
from tmi.report.figures.style import CHANCE_LINE, GREY, GRID, STYLE, WIDTH, LineStyle, add_title, line_styles, shortened
from tmi.report.finetunings import PRIVACY_NOTE, Finetuning, any_private, epsilon_text, finetunings, trained
from tmi.report.results import Results
from tmi.report.wording import BASELINE_ATTACK, CHANCE_AUC, percent, rate_percent, tpr_label

_SHADOWS_HEIGHT = 3.2
_MARGINS_HEIGHT = 1.1
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
_DETAIL: dict[str, Any] = {"fontsize": 7.5, "color": GREY}


def views_figure(results: Results) -> Figure:
    """The AUC of every attack, with its interval, in every view; views from top to bottom.

    Args:
        results: with ``views``.
    """
    views = results.views or {}
    # Some attacks need more than others see.
    styles = {
        name: line_style
        for name, line_style in line_styles(results).items()
        if all(name in figures for figures in views.values())
    }
    height = _MARGINS_HEIGHT + len(views) * (_VIEW_HEIGHT + _ATTACK_HEIGHT * len(styles))
    with style.context(STYLE):
        figure, axes = _empty(max(height, _MARGINS_HEIGHT + 0.2 * len(styles)))
        axes.axvline(CHANCE_AUC, **CHANCE_LINE)
        for index, (name, line_style) in enumerate(styles.items()):
            places = [place + _SPREAD * _offset(index, len(styles)) for place in range(len(views))]
            _draw(axes, places, [figures[name].auc for figures in views.values()], "x", line_style)
        axes.set(yticks=range(len(views)), ylim=(len(views) - 0.5, -0.5))
        axes.set_yticklabels(list(views))
        axes.tick_params(axis="y", length=0)
        for border in range(1, len(views)):
            axes.axhline(border - 0.5, color=GRID, linewidth=0.6, zorder=0)
        _finish(axes, results, styles, "x", "Leak by what is seen of an answer")
    return figure


def shadows_figure(results: Results) -> Figure:
    """The AUC of every attack, with its interval, against the number of shadow models on a logarithmic axis.

    Args:
        results: with ``shadows``.
    """
    shadows, styles = results.shadows or {}, line_styles(results)
    numbers = [math.log2(int(number)) for number in shadows]
    room = min((after - before for before, after in pairwise(numbers)), default=1.0)
    with style.context(STYLE):
        figure, axes = _empty(_SHADOWS_HEIGHT)
        axes.axhline(CHANCE_AUC, **CHANCE_LINE)
        for index, (name, line_style) in enumerate(styles.items()):
            # A little beside one another, so that intervals do not hide one another.
            offset = room * min(_SPREAD, _LONGEST_STEP * len(styles)) * _offset(index, len(styles))
            aucs = [figures[name].auc for figures in shadows.values()]
            _draw(axes, [number + offset for number in numbers], aucs, "y", line_style, line_style["linestyle"])
        axes.set_xticks(numbers, labels=list(shadows))
        axes.set_xlabel("Number of shadow models (logarithmic)")
        _finish(axes, results, styles, "y", "Leak by number of shadow models")
    return figure


def variants_figure(results: Results) -> Figure:
    """The AUC of the main attack and of the paper's baseline, with intervals, for every finetuning from top to bottom.

    Beside each finetuning stand what it trains, its epsilon and how well it learned; private ones stand apart.

    Args:
        results: with ``variants``.
    """
    rows = finetunings(results)
    places = _places(rows)
    aucs = {results.headline: [row.auc for row in rows]}
    if rows[0].baseline:
        aucs[BASELINE_ATTACK] = [row.baseline for row in rows if row.baseline]
    styles = {name: line_style for name, line_style in line_styles(results).items() if name in aucs}
    with style.context(STYLE):
        figure, axes = _empty(_NOTES_HEIGHT + _FINETUNING_HEIGHT * (places[-1] + 1))
        axes.axvline(CHANCE_AUC, **CHANCE_LINE)
        for index, (name, estimates) in enumerate(aucs.items()):
            offset = _BESIDE * len(aucs) * _offset(index, len(aucs))
            _draw(axes, [place + offset for place in places], estimates, "x", styles[name])
        _name_finetunings(axes, rows, places)
        _finish(axes, results, styles, "x", "Leak by finetuning")
        if any_private(results):
            # Below the axis: the legend takes the place of what is said about the whole figure.
            axes.set_xlabel("\n".join([axes.get_xlabel(), PRIVACY_NOTE.replace("; ", ";\n")]))
    return figure


def together_figure(results: Results) -> Figure:
    """The AUC and the true positive rate of every attack, with intervals, against how many finetunings are seen.

    Args:
        results: with ``together``.
    """
    assert results.together is not None
    rows, rate = results.together.figures, results.representative_rate
    styles = {name: line for name, line in line_styles(results).items() if name in rows["1"]}
    with style.context(STYLE):
        figure = Figure(figsize=(WIDTH, _SHADOWS_HEIGHT), layout="constrained")
        left, right = figure.subplots(1, 2)
        for index, (name, line_style) in enumerate(styles.items()):
            offset = min(_SPREAD, _LONGEST_STEP * len(styles)) * _offset(index, len(styles))
            places, found = [int(number) + offset for number in rows], [row[name] for row in rows.values()]
            _draw(left, places, [figures.auc for figures in found], "y", line_style, line_style["linestyle"])
            rates = [figures.tpr_at_fpr[rate] for figures in found]
            if all(estimate.resolvable for estimate in rates):
                _draw(right, places, rates, "y", line_style, line_style["linestyle"])
        for axes, chance in ((left, CHANCE_AUC), (right, float(rate))):
            axes.axhline(chance, **CHANCE_LINE)
            axes.set_xticks([int(number) for number in rows])
            axes.set_xlabel("Finetunings seen together")
        right.grid(visible=True, axis="y")
        right.yaxis.set_major_formatter(FuncFormatter(lambda share, _: rate_percent(share)))
        right.set_ylabel(f"{tpr_label(rate)} with {results.confidence} interval")
        _finish(left, results, styles, "y", "Leak of several finetunings seen together")
    return figure


def _places(rows: list[Finetuning]) -> list[float]:
    """A row each, with a gap where private finetunings begin or end."""
    places = [0.0]
    for row, following in pairwise(rows):
        places.append(places[-1] + 1 + (_GAP if (row.epsilon is None) != (following.epsilon is None) else 0))
    return places


def _name_finetunings(axes: Axes, rows: list[Finetuning], places: list[float]) -> None:
    """Names and what is trained on the left, how well it learned on the right, lines where the gaps are."""
    axes.set(yticks=places, ylim=(places[-1] + 0.5, -0.5))
    axes.set_yticklabels(["" for _ in rows])
    axes.tick_params(axis="y", length=0)
    beside = axes.get_yaxis_transform()
    right: dict[str, Any] = {"transform": beside, "ha": "left"}
    left: dict[str, Any] = right | {"ha": "right"}
    for row, place in zip(rows, places, strict=True):
        detail = trained(row.row.transfer)
        if row.row.points_per_model != rows[0].row.points_per_model:
            detail += f", {row.row.points_per_model:,} points"
        if row.epsilon is not None:
            detail += f", ε = {epsilon_text(row.epsilon)}"
        axes.text(-0.02, place - 0.02, _shortened(row.name), va="bottom", fontsize=9, **left)
        axes.text(-0.02, place + 0.02, detail, va="top", **left, **_DETAIL)
        perplexity = row.row.downstream_test_perplexity
        learned = percent(row.row.downstream_test_accuracy.mean) if perplexity is None else f"{perplexity.mean:.1f}"
        axes.text(1.02, place, learned, va="center", fontsize=9, **right)
    measure = "accuracy" if rows[0].row.downstream_test_perplexity is None else "perplexity"
    axes.text(1.02, -0.6, f"downstream\n{measure}", va="bottom", **right, **_DETAIL)
    for before, after in pairwise(places):
        if after - before > 1:
            axes.axhline((before + after) / 2, color=GRID, linewidth=0.8, zorder=0)


def _shortened(name: str) -> str:
    """A long name would leave the axes no room."""
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _offset(index: int, number: int) -> float:
    """Where the index-th of a number of things lies, evenly in [-0.5, 0.5]."""
    return (index + 0.5) / number - 0.5


def _empty(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.add_subplot()


def _draw(
    axes: Axes,
    places: list[float],
    aucs: list[Estimate],
    along: Literal["x", "y"],
    line: LineStyle,
    joined: Any = "none",
) -> None:
    """AUCs with their intervals along one axis, at places on the other."""
    estimates = [auc.estimate for auc in aucs]
    # An estimate may lie outside the percentiles of its resamples by a hair.
    bars = [[max(0.0, a.estimate - a.low) for a in aucs], [max(0.0, a.high - a.estimate) for a in aucs]]
    width, horizontal = line["linewidth"], along == "x"
    axes.errorbar(
        estimates if horizontal else places,
        places if horizontal else estimates,
        xerr=bars if horizontal else None,
        yerr=None if horizontal else bars,
        color=line["color"],
        linewidth=width,
        zorder=line["zorder"],
        linestyle=joined,
        marker="o",
        markersize=3 + 0.8 * width,
        elinewidth=0.6 * width,
    )


def _finish(axes: Axes, results: Results, styles: Mapping[str, LineStyle], grid: Literal["x", "y"], shown: str) -> None:
    """The axis of the AUC with its grid, the legend below and the title."""
    axes.set(**{f"{grid}label": f"AUC with {results.confidence} interval"})
    axes.grid(visible=True, axis=grid)
    handles = [Line2D([], [], marker="o", markersize=4, **line_style) for line_style in styles.values()]
    # A space first: no label then starts with the underscore that hides a legend entry.
    labels = [f" {shortened(name)}{' (direct access)' if name in results.direct else ''}" for name in styles]
    # Columns of one width, so that more of them would not fit.
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.legend(handles, labels, loc="outside lower center", ncols=3, handlelength=2.4)
    add_title(figure, results, shown)
