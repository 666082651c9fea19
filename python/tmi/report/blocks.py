"""What a section of the report is made of: blocks, which each renderer shows in its own way.

A text is a string or several, some of them marked; no string is ever read as markup.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Flag, auto
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

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
    DOCUMENTS = PAGE | MARKDOWN
    EVERYWHERE = DOCUMENTS | TERMINAL | NOTEBOOK


class Strong(str):
    """A part of a text that matters most."""


class Code(str):
    """A part of a text that is the name of a file or a hash."""


class Muted(str):
    """A part of a text that matters least."""


Text: TypeAlias = str | tuple[str, ...]


def plain(text: Text) -> str:
    """A text without its marks."""
    return text if isinstance(text, str) else "".join(text)


@dataclass(frozen=True, kw_only=True)
class Block:
    """A part of a section, shown in its ``media`` as far as the section is."""

    media: Media = Media.EVERYWHERE


@dataclass(frozen=True)
class Paragraph(Block):
    """Sentences, a heading inside a section, or text as it is, line by line."""

    text: Text
    tone: Literal["plain", "muted", "heading", "verbatim"] = "plain"


@dataclass(frozen=True)
class Note(Block):
    """Sentences that stand out: what was found, what to read with care, why no figure can be trusted."""

    level: Literal["finding", "warning", "refused"]
    texts: Sequence[str]

    @property
    def lead(self) -> str:
        """With what its sentences begin, ``Caution.`` for instance."""
        return {"finding": "", "warning": "Caution.", "refused": "Refused."}[self.level]


@dataclass(frozen=True)
class Items(Block):
    """Names, each with the lines of text that say something about it; or texts alone, whose names are empty."""

    items: Sequence[tuple[str, Sequence[Text]]]


@dataclass(frozen=True)
class Folded(Block):
    """What only some readers open; folded, it is not printed."""

    summary: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Cell:
    """A figure with its small print, such as its interval, or on a page what a point looks like."""

    text: str
    details: Sequence[str] = ()
    exhibit: Exhibit | None = None

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
        cells: one for each row.
        short: the head for the terminal, where lines are narrow.
        spared: a terminal that is too narrow leaves columns with lower numbers out first, and a phone shows the two
            with the highest; 0: it is never left out.
        detailed: the terminal shows the small print, too.
        is_text: words, not figures.
        notes: what the terminal has to say about it below the table.
        media: where it is shown.
    """

    head: str
    cells: Sequence[Cell | str]
    short: str = ""
    spared: int = 0
    detailed: bool = False
    is_text: bool = False
    notes: Sequence[str] = ()
    media: Media = Media.EVERYWHERE


@dataclass(frozen=True)
class Table(Block):
    """A table; without rows it is not shown.

    Attributes:
        columns: the first names the rows.
        main: the name of the row, or the head of the column, that matters most.
        title: what the terminal, which has no sections, says above it.
        notes: what is said below it.
        breaks: at which rows another group of rows begins.
        apart: what is said above the last group.
        remark: the same after each name, where there is no room above.
        has_words: its cells are text that may be long.
        is_long: a page lets readers sort its rows, and shows them all on demand; elsewhere the first are shown.
        elsewhere: where columns are that the terminal had no room for.
    """

    columns: Sequence[Column]
    main: str = ""
    title: str = ""
    notes: Sequence[Paragraph] = ()
    breaks: Sequence[int] = ()
    apart: str = ""
    remark: str = ""
    has_words: bool = False
    is_long: bool = False
    elsewhere: str = "the report"

    def shown(self, medium: Media) -> list[Column]:
        """The columns that a medium shows."""
        return [column for column in self.columns if medium in column.media]

    def groups(self, columns: Sequence[Column], most: int | None = None) -> list[tuple[list[list[Cell]], bool]]:
        """Some of its columns as groups of rows, each with whether it stands apart; ``most`` rows if it is long."""
        cells = ([Cell(cell) if isinstance(cell, str) else cell for cell in column.cells] for column in columns)
        rows = [list(row) for row in zip(*cells, strict=True)][: most if self.is_long else None]
        bounds = [0, *self.breaks, len(rows)]
        apart = bounds[-2] if self.apart or self.remark else len(rows)
        return [(rows[start:end], start == apart) for start, end in pairwise(bounds) if end > start]


@dataclass(frozen=True)
class Figure(Block):
    """A figure, drawn where it is shown.

    Attributes:
        name: of its files.
        draw: draws it.
        label: what it shows, for those who cannot see it.
        caption: what is said below it.
        live: what a page's script needs to let readers move about in it; see `tmi.report.figures.roc.live_curve`.
    """

    name: str
    draw: Callable[[], figure.Figure]
    label: str
    caption: str = ""
    live: Mapping[str, Any] | None = None
    media: Media = field(default=Media.PAGE, kw_only=True)


@dataclass(frozen=True)
class Section:
    """A title and the blocks below it; where all of them are shown elsewhere, it is left out.

    Attributes:
        title: of it; the first section of a page has none.
        blocks: what it says.
        media: where it is shown.
        first_page: it is for readers who have a minute, and printed on the first sheet with the others of this kind.
    """

    title: str
    blocks: Sequence[Block]
    media: Media = Media.DOCUMENTS
    first_page: bool = field(default=False, kw_only=True)

    def shown(self, medium: Media) -> list[Block]:
        """The blocks that a medium shows."""
        return [block for block in self.blocks if medium in self.media and medium in block.media]


@dataclass(frozen=True)
class Material:
    """What sections are made from.

    Attributes:
        results: all figures.
        exhibits: what the points of ``results.points.most_exposed`` look like, in that order; empty if unknown.
        target_exhibits: what the points of ``results.target.most_suspected`` look like, likewise.
        config_toml: the resolved configuration; empty where there is none.
    """

    results: Results
    exhibits: Sequence[Exhibit] = ()
    target_exhibits: Sequence[Exhibit] = ()
    config_toml: str = ""

    @property
    def confidential(self) -> str:
        """Why who may not see the points must not see the page; empty where it shows none of them."""
        if not (number := len(self.exhibits) + len(self.target_exhibits)):
            return ""
        return (
            f"This page shows {number} points as they are, pretraining data among them. Who may not see that data must "
            "not see this page. Without --show-points it has numbers and labels of points only, and can be passed on."
        )
