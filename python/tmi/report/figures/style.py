"""What all figures have in common: titles, colours, lines, and bytes that are the same every time."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping
from typing import Any, TypeAlias

from matplotlib import style
from matplotlib.figure import Figure

from tmi.report.results import Results
from tmi.report.wording import counted

LineStyle: TypeAlias = Mapping[str, Any]

# Twice the usual resolution.
PNG_DPI = 200
# Inches. On a phone the page shrinks it to two thirds, where its text can still be read.
WIDTH = 5.2
LONGEST_NAME = 40
# Characters that fit into a line of a title.
_TITLE_LINE = 68

# Okabe and Ito's palette, told apart by colour-blind readers. A colour means the same in every figure: blue is the
# attack of the verdict, vermilion are members, grey are non-members, and black is direct access. What style.css.j2 has
# in place of each on a dark page is named after it.
HEADLINE, MEMBER, NON_MEMBER, DIRECT = "#0072b2", "#d55e00", "#8a8f98", "#222222"
TEXT, GREY, GRID, CHANCE = "#222222", "#555555", "#e4e4e4", "#999999"
_OTHERS = ("#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_DASHES = ("-", (0, (1, 1.2)), (0, (5, 1.2, 1, 1.2)), (0, (5, 1.2, 1, 1.2, 1, 1.2)), (0, (3, 2)))

CHANCE_LINE: LineStyle = {"color": CHANCE, "linestyle": (0, (4, 3)), "linewidth": 0.8, "zorder": 1.5}

# Starting from the defaults keeps a user's matplotlibrc out, which would change the bytes.
STYLE: list[str | dict[str, Any]] = [
    "default",
    {
        "font.size": 9,
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": GREY,
        "axes.labelcolor": TEXT,
        "axes.axisbelow": True,
        "grid.color": GRID,
        "grid.linewidth": 0.6,
        "text.color": TEXT,
        "text.parse_math": False,  # names of users are no formulas
        "xtick.color": GREY,
        "ytick.color": GREY,
        "legend.frameon": False,
        "legend.fontsize": 8,
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


def add_title(figure: Figure, results: Results, shown: str) -> None:
    """What a figure shows, and of what: it must speak for itself where it is shown without the report."""
    title = f"{shown} ({shortened(results.name)}, {counted(results.models.targets, 'model', 'models')})"
    figure.suptitle(textwrap.fill(title, _TITLE_LINE), x=0.012, ha="left", fontsize=9, fontweight="bold")


def line_styles(results: Results) -> dict[str, LineStyle]:
    """Line style of each attack, in the order of the legend.

    Colours follow the order of the file, not of the legend: the same attack keeps its colour between runs.
    """
    others = [name for name in results.attacks if name not in (results.headline, *results.direct)]
    styles: dict[str, LineStyle] = {
        name: {
            "color": _OTHERS[index % len(_OTHERS)],
            "linestyle": _DASHES[index // len(_OTHERS) % len(_DASHES)],
            "linewidth": 1.1,
            "zorder": 3,
        }
        for index, name in enumerate(others)
    }
    styles[results.headline] = {"color": HEADLINE, "linestyle": "-", "linewidth": 2.2, "zorder": 4}
    direct: LineStyle = {"color": DIRECT, "linestyle": (0, (6, 2)), "linewidth": 1.1, "zorder": 2}
    return {name: styles[name] for name in results.ranked} | dict.fromkeys(results.direct, direct)


def shortened(name: str) -> str:
    """A name for a figure: a long one would leave the axes no room."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
