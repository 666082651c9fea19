"""What all figures have in common: colours, lines, and bytes that are the same every time."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, TypeAlias

from matplotlib import style
from matplotlib.figure import Figure

from tmi.report.results import Results

LineStyle: TypeAlias = Mapping[str, Any]

# Twice the usual resolution.
PNG_DPI = 200
LONGEST_NAME = 40

# Okabe and Ito's palette, told apart by colour-blind readers; blue is kept for the headline attack, and black
# and yellow are left out (too heavy, too light).
_HEADLINE_COLOUR = "#0072B2"
_COLOURS = ("#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_DASHES = ("-", (0, (1, 1.2)), (0, (5, 1.2, 1, 1.2)), (0, (5, 1.2, 1, 1.2, 1, 1.2)))
GREY = "#555555"
MEMBER_COLOUR = "#D55E00"
NON_MEMBER_COLOUR = "#0072B2"

CHANCE_LINE: LineStyle = {"color": "#999999", "linestyle": (0, (4, 3)), "linewidth": 0.8, "zorder": 1.5}

# Starting from the defaults keeps a user's matplotlibrc out, which would change the bytes.
STYLE: list[str | dict[str, Any]] = [
    "default",
    {
        "font.size": 10,
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": GREY,
        "axes.labelcolor": "#222222",
        "xtick.color": GREY,
        "ytick.color": GREY,
        "hatch.linewidth": 0.5,
        "svg.fonttype": "none",  # text stays text: small, searchable, in the reader's font
        "svg.hashsalt": "tmi",  # without it the ids in the SVG are random
    },
]


def png_bytes(figure: Figure) -> bytes:
    """The figure as PNG; equal figures give equal bytes."""
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
    others = [name for name in results.attacks if name not in (results.headline, *results.direct)]
    styles: dict[str, LineStyle] = {
        name: {
            "color": _COLOURS[index % len(_COLOURS)],
            "linestyle": _DASHES[index // len(_COLOURS) % len(_DASHES)],
            "linewidth": 1.3,
            "zorder": 3,
        }
        for index, name in enumerate(others)
    }
    styles[results.headline] = {"color": _HEADLINE_COLOUR, "linestyle": "-", "linewidth": 2.4, "zorder": 4}
    direct: LineStyle = {"color": GREY, "linestyle": (0, (6, 2)), "linewidth": 1.3, "zorder": 2}
    return {name: styles[name] for name in results.ranked} | dict.fromkeys(results.direct, direct)


def shortened(name: str) -> str:
    """A name for a figure: a long one would leave the axes no room."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
