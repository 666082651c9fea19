"""The terminal's tables of adversaries who see less or have fewer shadow models: the AUC of every attack for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from tmi.report.results import Figures, Results
from tmi.report.table import natural_width
from tmi.report.wording import DEFAULT_ATTACK


def adversary_tables(results: Results, width: int = 80) -> list[Table]:
    """A table of the views and one of the numbers of shadow models, where there are several.

    Args:
        results: the content of results.json.
        width: columns of the terminal. Where a table does not fit, the attacks with the lowest AUC are left out.
    """
    tables = []
    if results.views is not None:
        tables.append(_fitting("How the leak falls with what is seen: AUC", "view", results, results.views, width))
    if results.shadows is not None:
        title = "How the leak grows with the number of shadow models: AUC"
        tables.append(_fitting(title, "shadows", results, results.shadows, width))
    return tables


def _fitting(
    title: str, heading: str, results: Results, rows: Mapping[str, Mapping[str, Figures]], width: int
) -> Table:
    attacks, bounds = results.ranked, results.upper_bounds
    for shown in range(len(attacks), 0, -1):
        table = _table(title, heading, rows, [*attacks[:shown], *bounds], left_out=len(attacks) - shown)
        if natural_width(table) <= width:
            return table
    return _table(title, heading, rows, attacks[:1], left_out=len(attacks) - 1 + len(bounds))


def _table(
    title: str, heading: str, rows: Mapping[str, Mapping[str, Figures]], attacks: Sequence[str], left_out: int
) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        title=title,
        title_justify="left",
        title_style="",
        caption=f"{left_out} more attacks are in the report" if left_out else None,
        caption_justify="left",
    )
    table.add_column(heading, no_wrap=True, justify="right" if heading == "shadows" else "left")
    for name in attacks:
        # Text, not str: a name must not be read as console markup.
        table.add_column(Text(name), no_wrap=True, justify="right", style="bold" if name == DEFAULT_ATTACK else "")
    for row, figures in rows.items():
        cells = [f"{figures[name].auc.estimate:.3f}" for name in attacks]
        table.add_row(Text(row), *cells)
    return table
