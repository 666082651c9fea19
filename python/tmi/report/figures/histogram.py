"""The figure of the scores of members and of non-members."""

from __future__ import annotations

import numpy as np
from matplotlib import style
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from tmi.report.figures.style import MEMBER_COLOUR, NON_MEMBER_COLOUR, STYLE, shortened
from tmi.report.results import Results

_SIZE = (6.4, 3.2)


def histogram_figure(results: Results) -> Figure:
    """What shares of the members and of the non-members get which score from the attack of the verdict.

    Args:
        results: the content of results.json.
    """
    name = results.headline
    histogram = results.attacks[name].histogram
    with style.context(STYLE):
        figure = Figure(figsize=_SIZE, layout="constrained")
        axes = figure.add_subplot()
        for side, label, colour, filled in (
            (histogram.non_members, "non-members", NON_MEMBER_COLOUR, 0.18),
            (histogram.members, "members", MEMBER_COLOUR, 0.22),
        ):
            counts = np.asarray(side, dtype=np.float64)
            shares = counts / max(1.0, counts.sum())
            axes.stairs(shares, histogram.edges, color=colour, alpha=filled, fill=True)
            axes.stairs(shares, histogram.edges, color=colour, linewidth=1.6, label=label)
        axes.set(ylabel="Share of the points")
        axes.set_xlabel(f"Score of {shortened(name)} (higher: more like a member)", parse_math=False)
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
        axes.grid(visible=True, axis="y", color="#e4e4e4", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.legend(frameon=False, fontsize=9)
    return figure
