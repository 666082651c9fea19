"""The report as Markdown: what to paste into an issue, a wiki or a model card.

Everything that users named is escaped: it can hold no HTML, no link, no image and no further table cell.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tmi.report.blocks import (
    Block,
    Bullets,
    Code,
    Figure,
    Folded,
    Gallery,
    Heading,
    Listing,
    Media,
    Note,
    Paragraph,
    Section,
    Strong,
    Table,
    Terms,
    Text,
)
from tmi.report.results import Results

# Points of a gallery that are listed.
MOST_POINTS = 12

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;"}
_WORD_JOINER = "\N{WORD JOINER}"


def render_markdown(results: Results, sections: Sequence[Section]) -> str:
    """What sections have for it, in GitHub's dialect."""
    parts = [f"# Report on {escaped(results.name)}: what the finetuned models leak about their pretraining data"]
    for section in sections:
        blocks = [text for block in section.shown(Media.MARKDOWN) if (text := _block(block))]
        if blocks:
            parts += [f"## {escaped(section.title)}", *blocks]
    parts.append(escaped(f"Made by tmi {results.version}; report.html has the figures and the provenance."))
    return "\n\n".join(parts) + "\n"


def escaped(text: str) -> str:
    """Text of unknown origin as one line of Markdown that shows it as it is.

    Line breaks and other control characters become spaces. After an @ and within a scheme or ``www.`` stands an
    invisible word joiner, because GitHub makes links of bare addresses even where they are escaped.
    """
    line = " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", " ", text).split())
    line = re.sub(r"(?<=@)|(?=://)|(?<=\bwww)(?=\.)", _WORD_JOINER, line, flags=re.IGNORECASE)
    line = re.sub(r"[&<>|]", lambda found: _ENTITIES[found[0]], line)
    # The number sign of the entities is ours.
    return re.sub(r"[\\`*_{}\[\]~$^!]|(?<!&)#", lambda found: f"\\{found[0]}", line)


def _block(block: Block) -> str:
    match block:
        case Paragraph(text=text):
            return _text(text)
        case Heading(text=text):
            return f"### {escaped(text)}"
        case Note(texts=texts, lead=lead):
            return "\n\n".join(f"{f'**{lead}** ' if lead else ''}{escaped(text)}" for text in texts)
        case Bullets(items=items):
            return "\n".join(f"- {escaped(item)}" for item in items)
        case Terms(entries=entries):
            return "\n".join(f"- **{escaped(name)}**: {' '.join(map(_text, texts))}" for name, texts in entries)
        case Listing(text=text):
            return "\n".join(f"    {line}" for line in text.splitlines())
        case Folded(summary=summary, block=folded):
            return f"**{escaped(summary)}**\n\n{_block(folded)}"
        case Table():
            return _table(block)
        case Figure(name=name, label=label):
            return f"![{escaped(label)}]({name}.png)"
        case Gallery(points=points):
            return _table(block.table(points[:MOST_POINTS]))
    raise TypeError(f"Markdown cannot show a {type(block).__name__}")


def _text(text: Text) -> str:
    """A text with its marks, except that what matters least looks like the rest."""
    parts = (text,) if isinstance(text, str) else text
    marks = {Strong: "**", Code: "*"}
    return "".join(f"{mark}{escaped(part)}{mark}" if (mark := marks.get(type(part))) else _kept(part) for part in parts)


def _kept(part: str) -> str:
    """Escaped, with the spaces at its ends, which join it to the parts beside it."""
    return f"{' ' if part[:1] == ' ' else ''}{escaped(part)}{' ' if part[1:] and part[-1] == ' ' else ''}"


def _table(table: Table) -> str:
    places = [place for place, column in enumerate(table.columns) if Media.MARKDOWN in column.media]
    rows = []
    for group in table.groups:
        for row in group.rows:
            name, *figures = (row[place].line for place in places)
            rows.append([f"{name} ({group.remark})" if group.remark else name, *figures])
    if not rows:
        return ""
    # The first column is text, the others are figures.
    header = [escaped(table.columns[place].head) for place in places]
    lines = [header, ["---", *["---:"] * (len(places) - 1)], *(list(map(escaped, row)) for row in rows)]
    shown = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    notes = [_text(note.text) for note in table.notes if Media.MARKDOWN in note.media]
    return f"{shown}\n\n{' '.join(notes)}" if notes else shown
