"""The report in the terminal: its tables, as wide as there is room, and what was found below them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from tmi.report.blocks import (
    Block,
    Bullets,
    Cell,
    Column,
    Folded,
    Gallery,
    Heading,
    Listing,
    Media,
    Note,
    Paragraph,
    Section,
    Table,
    Terms,
    plain,
)

STYLES = {"finding": "", "warning": "yellow", "refused": "bold red"}
# Points of a gallery that are listed.
MOST_POINTS = 12


def show(sections: Sequence[Section], console: Console) -> None:
    """Print what sections have for the terminal; the first one last, since that is next to the prompt."""
    head, *others = sections
    for section in [*others, head]:
        show_blocks(section.shown(Media.TERMINAL), console)


def show_blocks(blocks: Sequence[Block], console: Console) -> None:
    """Print blocks, an empty line before each."""
    for block in blocks:
        console.print()
        match block:
            case Table():
                console.print(fitted(block, console.width))
            case Gallery(points=points):
                console.print(fitted(block.table(points[:MOST_POINTS]), console.width))
            case Note(texts=texts, lead=lead, level=level):
                text = f"{lead} {' '.join(texts)}".lstrip()
                console.print(text, style=STYLES[level], markup=False, highlight=False)
            case Folded(summary=summary, block=folded):
                console.print(summary, markup=False, highlight=False)
                show_blocks([folded], console)
            case _:
                console.print(_lines(block), markup=False, highlight=False)


def _lines(block: Block) -> str:
    match block:
        case Paragraph(text=text):
            return plain(text)
        case Heading(text=text) | Listing(text=text):
            return text
        case Bullets(items=items):
            return "\n".join(f"- {item}" for item in items)
        case Terms(entries=entries):
            return "\n".join(f"{name}: {' '.join(map(plain, texts))}" for name, texts in entries)
    raise TypeError(f"the terminal cannot show a {type(block).__name__}")


def fitted(table: Table, width: int = 80) -> RichTable:
    """A table that is no wider than the terminal, as far as its columns can be left out or stand closer."""
    columns = [place for place, column in enumerate(table.columns) if Media.TERMINAL in column.media]
    by_value = sorted({column.spared for column in table.columns if column.spared})
    for lowest, padding in product([1, *(spared + 1 for spared in by_value)], (1, 0)):
        kept = [place for place in columns if not 0 < table.columns[place].spared < lowest]
        drawn = _drawn(table, kept, padding, left_out=len(columns) - len(kept))
        if Console(width=10_000).measure(drawn).maximum <= width:
            break
    return drawn


def _drawn(table: Table, places: Sequence[int], padding: int, left_out: int) -> RichTable:
    columns = [table.columns[place] for place in places]
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
    for place, column in zip(places, columns, strict=True):
        # A name that is too long continues on the next line.
        drawn.add_column(
            Text(column.short or (column.head.lower() if place == 0 else column.head)),
            justify="left" if column.is_text or column.detailed else "right",
            vertical="bottom",
            no_wrap=place > 0,
            overflow="fold" if place == 0 else "ellipsis",
            style="bold" if column.head == table.main else "",
        )
    for group in table.groups:
        for row in group.rows:
            style = "dim" if group.remark else "bold" if row[0].text == table.main else ""
            cells = [_shown(row[place], column) for place, column in zip(places, columns, strict=True)]
            drawn.add_row(*map(Text, cells), style=style)
        drawn.add_section()
    return drawn


def _shown(cell: Cell, column: Column) -> str:
    return cell.line if column.detailed else cell.text
