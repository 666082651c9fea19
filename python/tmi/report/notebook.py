"""The results as a piece of HTML for a notebook: the finding, the table of attacks and the ROC curves."""

from __future__ import annotations

from markupsafe import Markup

from tmi.report.blocks import Figure, Material, Media
from tmi.report.figures.style import svg_text
from tmi.report.html import fragment
from tmi.report.results import Results
from tmi.report.sections import sections_of


def notebook_html(results: Results) -> str:
    """A fragment without styles of its own but for the figure's size, so that it looks as the notebook does."""

    def svg_of(figure: Figure) -> str:
        return svg_text(figure.draw())

    shown = [block for section in sections_of(Material(results)) for block in section.shown(Media.NOTEBOOK)]
    # White, since the lines of figures are drawn for white.
    style = Markup("<style>.tmi .chart {max-width: 34rem; background: #fff}</style>")
    return Markup('<div class="tmi">{}\n{}\n</div>').format(style, fragment(shown, svg_of))
