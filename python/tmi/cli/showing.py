"""The results in the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tmi.report.results import Results


def show_results(results: Results, out: Path) -> None:
    """Print the tables, the verdict and where the report is."""
    from rich.console import Console

    from tmi.report.blocks import Material
    from tmi.report.sections import sections_of
    from tmi.report.terminal import show

    console = Console()
    show(sections_of(Material(results)), console)
    console.print(f"\nReport: {out / 'report.html'}", highlight=False, soft_wrap=True)
