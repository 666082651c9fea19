"""The results in the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tmi.report.results import Results


def show_results(results: Results, out: Path) -> None:
    """Print the tables, the verdict and where the report is."""
    from rich.console import Console

    from tmi.report.adversaries import adversary_tables
    from tmi.report.learning import training_warnings
    from tmi.report.settings import class_warnings
    from tmi.report.table import results_table, verdict
    from tmi.report.target import target_summary
    from tmi.report.variants import variants_table

    console = Console()
    tables = [results_table(results, console.width), *adversary_tables(results, console.width)]
    if results.variants is not None:
        tables.append(variants_table(results, console.width))
    console.print()
    for table in tables:
        console.print(table)
        console.print()
    console.print(verdict(results), markup=False, highlight=False)
    if found := target_summary(results):
        console.print(f"\n{found}", markup=False, highlight=False)
    for sentence in (*training_warnings(results), *class_warnings(results)):
        console.print(f"\nCaution. {sentence}", style="yellow", markup=False, highlight=False)
    console.print(f"\nReport: {out / 'report.html'}", highlight=False, soft_wrap=True)
