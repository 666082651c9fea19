"""The report as Markdown: what to paste into an issue, a wiki or a model card.

Everything that users named is escaped: it can hold no HTML, no link, no image and no further table cell.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tmi.errors import visible
from tmi.report import blocks
from tmi.report.blocks import Media, Text
from tmi.report.results import Results

# Rows of a long table.
MOST_ROWS = 12

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;"}
_WORD_JOINER = "\N{WORD JOINER}"


def render_markdown(results: Results, sections: Sequence[blocks.Section]) -> str:
    """What sections have for it, in GitHub's dialect."""
    parts = [f"# Report on {escaped(results.name)}: what the finetuned models leak about their pretraining data"]
    for section in sections:
        blocks = [text for block in section.shown(Media.MARKDOWN) if (text := _block(block))]
        if blocks:
            parts += [f"## {escaped(section.title)}", *blocks]
    parts.append(escaped(f"Made by tmi {results.version}; report.html has the figures and the provenance."))
    return visible("\n\n".join(parts)) + "\n"


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


def _block(block: blocks.Block) -> str:
    match block:
        case blocks.Paragraph(tone="heading"):
            return f"### {_text(block.text)}"
        case blocks.Paragraph(tone="verbatim"):
            return "\n".join(f"    {line}" for line in blocks.plain(block.text).splitlines())
        case blocks.Paragraph():
            return _text(block.text)
        case blocks.Note():
            return "\n\n".join(
                f"**{block.lead}** {escaped(text)}" if block.lead else escaped(text) for text in block.texts
            )
        case blocks.Items():
            said = (
                (f"**{escaped(name)}**: " if name else "", " ".join(map(_text, texts))) for name, texts in block.items
            )
            return "\n".join(f"- {name}{text}" for name, text in said)
        case blocks.Folded():
            return "\n\n".join([f"**{escaped(block.summary)}**", *map(_block, block.blocks)])
        case blocks.Table():
            return _table(block)
        case blocks.Figure():
            return f"![{escaped(block.label)}]({block.name}.png)"
    raise TypeError(f"Markdown cannot show a {type(block).__name__}")


def _text(text: Text) -> str:
    """A text with its marks, except that what matters least looks like the rest."""
    marks = {blocks.Strong: "**", blocks.Code: "*"}

    def part_of(part: str) -> str:
        if mark := marks.get(type(part)):
            return f"{mark}{escaped(part)}{mark}"
        # The spaces at its ends join it to the parts beside it.
        return f"{' ' if part[:1] == ' ' else ''}{escaped(part)}{' ' if part[1:] and part[-1] == ' ' else ''}"

    return escaped(text) if isinstance(text, str) else "".join(map(part_of, text))


def _table(table: blocks.Table) -> str:
    columns = table.shown(Media.MARKDOWN)
    lines = []
    for rows, apart in table.groups(columns, MOST_ROWS):
        for row in rows:
            name, *figures = (cell.line for cell in row)
            lines.append([f"{name} ({table.remark})" if apart else name, *figures])
    if not lines:
        return ""
    # The first column is text, the others are figures.
    rule = "".join(["| --- |", *(" ---: |" for _ in columns[1:])])
    head, *body = (f"| {' | '.join(map(escaped, line))} |" for line in ([column.head for column in columns], *lines))
    notes = " ".join(_text(note.text) for note in table.notes if Media.MARKDOWN in note.media)
    return "\n".join([head, rule, *body]) + (f"\n\n{notes}" if notes else "")
