"""The picture for everybody: 100 members of whom so many are found, beside 100 others of whom so many are accused."""

from __future__ import annotations

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tmi.report.figures.style import MEMBER, NON_MEMBER, STYLE, WIDTH, add_title
from tmi.report.results import Results
from tmi.report.wording import percent, rate_percent

_HEIGHT = 1.55


def members_figure(results: Results, rate: str) -> Figure:
    """Ten rows of ten: filled are those that the attack takes for members, ringed how many more or fewer may be found.

    Args:
        results: the content of results.json.
        rate: key of the true positive rate, a whole number of a hundred.
    """
    found = results.main.tpr_at_fpr[rate]
    accused = f"{100 * float(rate):.0f}"
    low, about, high = (round(100 * min(1.0, max(0.0, end))) for end in (found.low, found.estimate, found.high))
    with style.context(STYLE):
        figure = Figure(figsize=(WIDTH, _HEIGHT), layout="constrained")
        members, beside, others, beside_others = figure.subplots(1, 4, width_ratios=[1, 0.95, 1, 0.95])
        _array(members, MEMBER, about, (low, high))
        _array(others, NON_MEMBER, round(100 * float(rate)), (0, 0))
        _say(
            beside,
            MEMBER,
            f"{about} of 100",
            f"members are found,\nthat is {percent(found.estimate)}\n({results.confidence} interval:\n"
            f"{low} to {high}{', the rings' if low < high else ''})",
        )
        verb = "is" if accused == "1" else "are"
        _say(
            beside_others,
            NON_MEMBER,
            f"{accused} of 100",
            f"non-members {verb}\ntaken for members:\nguessing would find\n{accused} of the members",
        )
        add_title(figure, results, f"Members found at {rate_percent(rate)} false positives")
    return figure


def _array(axes: Axes, colour: str, filled: int, ringed: tuple[int, int]) -> None:
    places = np.arange(100)
    x, y = places % 10, places // 10
    axes.scatter(x, y, s=30, color=colour, alpha=0.2, linewidth=0)
    axes.scatter(x[:filled], y[:filled], s=30, color=colour, linewidth=0)
    ring = slice(*ringed)
    axes.scatter(x[ring], y[ring], s=30, facecolor="none", edgecolor=colour, linewidth=0.9)
    axes.set(xlim=(-0.6, 9.6), ylim=(9.6, -0.6), aspect="equal")
    axes.axis("off")


def _say(axes: Axes, colour: str, number: str, text: str) -> None:
    axes.axis("off")
    axes.text(0, 0.98, number, va="top", fontsize=14, fontweight="bold", color=colour, transform=axes.transAxes)
    axes.text(0, 0.74, text, va="top", fontsize=8, linespacing=1.35, transform=axes.transAxes)
