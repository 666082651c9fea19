"""What a section of the report is made of: blocks, which each renderer shows in its own way.

A text is a string or several, of which some are marked; no string is ever read as markup.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Flag, auto
from itertools import groupby
from typing import TYPE_CHECKING, Literal, TypeAlias

from tmi.report.exhibits import Exhibit
from tmi.report.results import Results

if TYPE_CHECKING:
    from matplotlib import figure


class Media(Flag):
    """Where something is shown."""

    PAGE = auto()
    MARKDOWN = auto()
    TERMINAL = auto()
    NOTEBOOK = auto()
    # What is read at leisure, as opposed to what one sees at once.
    DOCUMENTS = PAGE | MARKDOWN
    EVERYWHERE = DOCUMENTS | TERMINAL | NOTEBOOK


class Strong(str):
    """A part of a text that matters most."""


class Code(str):
    """A part of a text that is a name of a file or program."""


class Muted(str):
    """A part of a text that matters least."""


Text: TypeAlias = str | tuple[str, ...]


def plain(text: Text) -> str:
    """A text without its marks."""
    return text if isinstance(text, str) else "".join(text)


@dataclass(frozen=True, kw_only=True)
class Block:
    """A part of a section.

    Attributes:
        media: where it is shown, as far as its section is.
    """

    media: Media = Media.EVERYWHERE


@dataclass(frozen=True)
class Paragraph(Block):
    """One or more sentences."""

    text: Text
    tone: Literal["plain", "muted"] = "plain"


@dataclass(frozen=True)
class Heading(Block):
    """Begins a part of a section."""

    text: str


@dataclass(frozen=True)
class Note(Block):
    """Sentences that stand out: what was found, what to read with care, what no figure can be trusted after."""

    level: Literal["finding", "warning", "refused"]
    texts: Sequence[str]

    @property
    def lead(self) -> str:
        """With what its sentences begin, ``Caution.`` for instance."""
        return {"finding": "", "warning": "Caution.", "refused": "Refused."}[self.level]


@dataclass(frozen=True)
class Bullets(Block):
    """Sentences one below the other."""

    items: Sequence[str]


@dataclass(frozen=True)
class Terms(Block):
    """Names and what is to be said about each; one may have several lines."""

    rows: Sequence[tuple[str, Text | list[Text]]]

    @property
    def entries(self) -> list[tuple[str, list[Text]]]:
        """Each name with its lines."""
        return [(name, text if isinstance(text, list) else [text]) for name, text in self.rows]


@dataclass(frozen=True)
class Listing(Block):
    """Text as it is, line by line."""

    text: str


@dataclass(frozen=True)
class Folded(Block):
    """What only some readers open."""

    summary: str
    block: Terms | Listing


@dataclass(frozen=True)
class Cell:
    """A figure with its small print, such as its interval."""

    text: str
    details: Sequence[str] = ()

    @property
    def line(self) -> str:
        """All of it on one line."""
        parts = [self.text]
        for is_interval, group in groupby(self.details, lambda detail: detail.startswith("[")):
            details = list(group)
            parts += details if is_interval else [f"({', '.join(details)})"]
        return " ".join(parts)


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        head: what is in it.
        short: the same for the terminal, where lines are narrow.
        spared: columns with lower numbers are the first to be left out of a terminal that is too narrow; 0: never.
        detailed: the terminal shows the small print, too.
        is_text: words, not figures.
        notes: what the terminal has to say about it below the table.
        media: where it is shown.
    """

    head: str
    short: str = ""
    spared: int = 0
    detailed: bool = False
    is_text: bool = False
    notes: Sequence[str] = ()
    media: Media = Media.EVERYWHERE


@dataclass(frozen=True)
class Group:
    """Rows of a table that stand apart from others.

    Attributes:
        rows: a cell for each column; the first names the row.
        note: above the rows.
        remark: after each name, where there is no room for the note.
    """

    rows: Sequence[Sequence[Cell]]
    note: str = ""
    remark: str = ""


@dataclass(frozen=True)
class Table(Block):
    """A table; where nothing is in it, it is not shown.

    Attributes:
        columns: the first names the rows.
        groups: its rows.
        main: the name of the row, or the head of the column, that matters most.
        title: what the terminal, which has no sections, says above it.
        notes: what is said below it.
        has_words: its cells are text that may be long.
        elsewhere: where columns are that the terminal had no room for.
    """

    columns: Sequence[Column]
    groups: Sequence[Group]
    main: str = ""
    title: str = ""
    notes: Sequence[Paragraph] = ()
    has_words: bool = False
    elsewhere: str = "the report"


@dataclass(frozen=True)
class Figure(Block):
    """A figure, which is drawn where it is shown.

    Attributes:
        name: of its files.
        draw: draws it.
        label: what it shows, for those who cannot see it.
        caption: what is said below it.
    """

    name: str
    draw: Callable[[], figure.Figure]
    label: str
    caption: str = ""
    media: Media = field(default=Media.PAGE, kw_only=True)


@dataclass(frozen=True)
class Point:
    """A point of a gallery: its name, its label, figures by name, and what it looks like where that is known."""

    name: str
    label: str
    facts: Sequence[tuple[str, str]]
    exhibit: Exhibit | None = None


@dataclass(frozen=True)
class Gallery(Block):
    """Points, the first of which matter most."""

    points: Sequence[Point]

    def table(self, points: Sequence[Point]) -> Table:
        """Some of the points without what they look like."""
        facts = [name for name, _ in self.points[0].facts]
        rows = [[Cell(point.name), Cell(point.label), *(Cell(value) for _, value in point.facts)] for point in points]
        return Table([Column(head) for head in ("Point", "Label", *facts)], [Group(rows)])


@dataclass(frozen=True)
class Section:
    """A section of the report; where all its blocks are shown elsewhere, it is left out.

    Attributes:
        title: its heading.
        blocks: what is in it, from top to bottom.
        media: where it is shown.
    """

    title: str
    blocks: Sequence[Block]
    media: Media = Media.DOCUMENTS

    def shown(self, medium: Media) -> list[Block]:
        """The blocks that a medium shows."""
        return [block for block in self.blocks if medium in self.media and medium in block.media]


@dataclass(frozen=True)
class Material:
    """What sections are made from.

    Attributes:
        results: all figures.
        exhibits: what the points of ``results.points.most_exposed`` look like, in that order; empty where that is not
            known.
        target_exhibits: what the points of ``results.target.most_suspected`` look like, likewise.
        config_toml: the resolved configuration; empty where there is none.
    """

    results: Results
    exhibits: Sequence[Exhibit] = ()
    target_exhibits: Sequence[Exhibit] = ()
    config_toml: str = ""
