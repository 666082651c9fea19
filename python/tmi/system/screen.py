"""The one place that prints with styles: a console on which nothing but what this package styles has an effect."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from tmi.errors import visible


class Screen(Console):
    """A console that takes texts as they are: no markup in brackets, no characters that steer a terminal.

    Texts hold names of files, classes and runs, which are data. What is to be styled is a `rich.text.Text`.
    """

    def __init__(self, **keywords: Any) -> None:
        super().__init__(markup=False, **keywords)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """What is drawn, in pieces of one style."""
        for piece in super().render(renderable, options):
            yield piece if piece.control else Segment(visible(piece.text), piece.style)
