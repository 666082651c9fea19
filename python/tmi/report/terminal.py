"""The report in the terminal: its tables, as wide as there is room, and what was found below them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from tmi.report import blocks
from tmi.report.blocks import Media, Table, plain

STYLES = {"finding": "", "warning": "yellow", "refused": "bold red"}
# Rows of a long table.
MOST_ROWS = 12


def show(sections: Sequence[blocks.Section], console: Console) -> None:
    """Print what sections have for the terminal; the first one last, since that is next to the prompt."""
    head, *others = sections
    for section in [*others, head]:
        show_blocks(section.shown(Media.TERMINAL), console)


def show_blocks(some: Sequence[blocks.Block], console: Console) -> None:
    """Print blocks, an empty line before each."""
    for block in some:
        console.print()
        match block:
            case Table():
                console.print(fitted(block, console.width))
            case blocks.Note():
                text = f"{block.lead} {' '.join(block.texts)}".lstrip()
                console.print(text, style=STYLES[block.level], markup=False, highlight=False)
            case blocks.Paragraph():
                console.print(plain(block.text), markup=False, highlight=False)
            case blocks.Items():
                for name, texts in block.items:
                    line = f"{name or '-'}{':' if name else ''} {' '.join(map(plain, texts))}"
                    console.print(line, markup=False, highlight=False)
            case blocks.Folded():
                console.print(block.summary, markup=False, highlight=False)
                show_blocks(block.blocks, console)
            case _:
                raise TypeError(f"the terminal cannot show a {type(block).__name__}")


def fitted(table: Table, width: int = 80) -> RichTable:
    """A table that is no wider than the terminal, as far as its columns can be left out or stand closer."""
    columns = table.shown(Media.TERMINAL)
    spared = sorted({column.spared for column in columns if column.spared})
    for least, padding in product([0, *spared], (1, 0)):
        kept = [column for column in columns if not 0 < column.spared <= least]
        drawn = _drawn(table, kept, padding, left_out=len(columns) - len(kept))
        if Console(width=10_000).measure(drawn).maximum <= width:
            break
    return drawn


def _drawn(table: Table, columns: Sequence[blocks.Column], padding: int, left_out: int) -> RichTable:
    # Several columns may need the same note.
    notes = list(dict.fromkeys(note for column in columns for note in column.notes))
    notes += [plain(note.text) for note in table.notes if Media.TERMINAL in note.media]
    if left_out and table.elsewhere:
        notes.append(f"{left_out} more column{'' if left_out == 1 else 's'} in {table.elsewhere}")
    # Text, not str: a name must not be read as console markup.
    drawn = RichTable(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, padding, 0, 0),
        title=Text(table.title) if table.title else None,
        title_justify="left",
        title_style="",
        caption=Text("\n".join(notes)) if notes else None,
        caption_justify="left",
    )
    for column in columns:
        # A name that is too long continues on the next line.
        is_name = column is columns[0]
        drawn.add_column(
            Text(column.short or (column.head.lower() if is_name else column.head)),
            justify="left" if column.is_text or column.detailed else "right",
            vertical="bottom",
            no_wrap=not is_name,
            overflow="fold" if is_name else "ellipsis",
            style="bold" if column.head == table.main else "",
        )
    for rows, apart in table.groups(columns, MOST_ROWS):
        for row in rows:
            cells = [cell.line if column.detailed else cell.text for cell, column in zip(row, columns, strict=True)]
            style = "dim" if apart else "bold" if row[0].text == table.main else ""
            drawn.add_row(*map(Text, cells), style=style)
        drawn.add_section()
    return drawn
