"""What mkdocs does to every page: formulas become drawings, so that no script, font or other site is needed.

MathML would do without drawings, but browsers set it well only where a mathematical font is installed.
"""

from __future__ import annotations

import re
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.path import Path
from matplotlib.textpath import TextPath

# Code is left alone: a dollar sign in it is one.
CODE_OR_FORMULA = re.compile(
    r"```.*?```|`(?:[^`\n]|\n(?!\n))*`|\$\$(?P<block>.+?)\$\$|\$(?P<inline>[^$\n]+(?:\n[^$\n]+)?)\$", re.DOTALL
)
# Units that letters are drawn in, and how many make an em of the text around them, whose letters are wider.
SIZE = 100
EM = 87
COMMANDS = {
    int(Path.MOVETO): "M",
    int(Path.LINETO): "L",
    int(Path.CURVE3): "Q",
    int(Path.CURVE4): "C",
    int(Path.CLOSEPOLY): "Z",
}
# What matplotlib does not know, in words that it does.
SYNONYMS = {
    r"\\tfrac(\w)(\w)": r"\\frac{\1}{\2}",
    r"\\tfrac\b": r"\\frac",
    r"\\[lr]Vert\b": r"\\Vert",
    r"\\([gl])e\b": r"\\\1eq",
    r"\\Big/": "/",
}
# Characters that Markdown would take for its own, within an attribute.
MARKS = {ord(mark): f"&#{ord(mark)};" for mark in "\\`*_|[]"}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The page with its formulas as inline SVG."""
    return CODE_OR_FORMULA.sub(_replacement, markdown)


def _replacement(found: re.Match[str]) -> str:
    if found["block"]:
        return f'<div class="formula">{drawing(found["block"])}</div>'
    return drawing(found["inline"]) if found["inline"] else found[0]


def drawing(formula: str) -> str:
    """A formula as SVG in the colour, the size and on the line of the text around it; read aloud as TeX."""
    tex = " ".join(formula.split())
    known = tex
    for pattern, synonym in SYNONYMS.items():
        known = re.sub(pattern, synonym, known)
    with mpl.rc_context({"mathtext.fontset": "stix"}):
        path = TextPath((0, 0), f"${known}$", size=SIZE)
    pieces = [
        COMMANDS[int(code)] + ("" if code == Path.CLOSEPOLY else " ".join(f"{n:.0f}" for n in _downwards(points)))
        for points, code in path.iter_segments(curves=True, simplify=False)
    ]
    extents = path.get_extents()
    left, right = min(0.0, extents.x0), extents.x1 + SIZE / 25
    top, bottom = extents.y1 + SIZE / 25, min(0.0, extents.y0) - SIZE / 25
    return (
        f'<svg class="drawn" role="img" aria-label="{escape(tex).translate(MARKS)}" xmlns="http://www.w3.org/2000/svg"'
        f' viewBox="{left:.0f} {-top:.0f} {right - left:.0f} {top - bottom:.0f}"'
        f' style="height:{(top - bottom) / EM:.2f}em;vertical-align:{bottom / EM:.2f}em">'
        f'<path d="{"".join(pieces)}"/></svg>'
    )


def _downwards(points: Any) -> list[float]:
    """Coordinates with the second axis downwards, as in SVG."""
    return [-number if index % 2 else number for index, number in enumerate(points)]
