"""The figure of the scores of members and of non-members."""

from __future__ import annotations

import numpy as np
from matplotlib import style
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from tmi.report.figures.style import MEMBER, NON_MEMBER, STYLE, WIDTH, add_title, shortened
from tmi.report.results import Results

_HEIGHT = 2.3


def histogram_figure(results: Results) -> Figure:
    """What shares of the members and of the non-members get which score from the attack of the verdict.

    Args:
        results: the content of results.json.
    """
    name = results.headline
    histogram = results.attacks[name].histogram
    with style.context(STYLE):
        figure = Figure(figsize=(WIDTH, _HEIGHT), layout="constrained")
        axes = figure.add_subplot()
        for side, label, colour in (
            (histogram.non_members, "non-members", NON_MEMBER),
            (histogram.members, "members", MEMBER),
        ):
            counts = np.asarray(side, dtype=np.float64)
            shares = counts / max(1.0, counts.sum())
            axes.stairs(shares, histogram.edges, color=colour, alpha=0.2, fill=True)
            axes.stairs(shares, histogram.edges, color=colour, linewidth=1.6, label=label)
        axes.set(ylabel="Share of the points", xlabel=f"Score of {shortened(name)} (higher: more like a member)")
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
        axes.grid(visible=True, axis="y")
        axes.legend()
        add_title(figure, results, "Scores of members and of non-members")
    return figure
