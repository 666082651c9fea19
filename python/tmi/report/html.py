"""The report as one HTML page that needs nothing but itself: no network, no fonts, a script that it can do without."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tmi.errors import visible
from tmi.report import blocks

# Columns that a phone has room for beside those that are never left out.
ON_A_PHONE = 2
TONES = {
    "plain": "<p>{}</p>",
    "muted": '<p class="muted">{}</p>',
    "heading": "<h3>{}</h3>",
    "verbatim": "<pre><code>{}</code></pre>",
}
MARKS = {
    blocks.Strong: "<strong>{}</strong>",
    blocks.Code: "<code>{}</code>",
    blocks.Muted: '<span class="muted">{}</span>',
}


def render_page(material: blocks.Material, sections: Sequence[blocks.Section], svgs: Mapping[str, str]) -> str:
    """The report as HTML.

    Args:
        material: what the report is made from.
        sections: what is said about it; the first is the head of the page.
        svgs: of the figures by name, trusted to be drawn by this package.

    Raises:
        ValueError: an exhibit cannot be shown.
    """
    shown = [(section, section.shown(blocks.Media.PAGE)) for section in sections]
    bodies = [
        (section.title, fragment(some, lambda figure: svgs[figure.name]), section.first_page)
        for section, some in shown
        if some
    ]
    environment = Environment(
        loader=PackageLoader("tmi.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = Markup(environment.get_template("page.js").render())
    page = environment.get_template("page.html.j2").render(
        name=material.results.name,
        confidential=material.confidential,
        head=bodies[0][1],
        first_page=[body for body in bodies[1:] if body[2]],
        sections=[body for body in bodies[1:] if not body[2]],
        script=script,
        # No other script is run, even if somebody found a way to put one into the page.
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    return visible(page)


def fragment(some: Iterable[blocks.Block], svg_of: Callable[[blocks.Figure], str]) -> Markup:
    """Blocks as HTML; whatever they say is escaped."""
    return _lines(_block(block, svg_of) for block in some)


def _block(block: blocks.Block, svg_of: Callable[[blocks.Figure], str]) -> Markup:
    match block:
        case blocks.Paragraph():
            return Markup(TONES[block.tone]).format(_text(block.text))
        case blocks.Note(level="finding"):
            return Markup('<div class="verdict">\n{}\n</div>').format(_all("<p>{}</p>", block.texts))
        case blocks.Note():
            return _all(f'<p class="{block.level}"><strong>{block.lead}</strong> {{}}</p>', block.texts)
        case blocks.Items():
            return _items(block.items)
        case blocks.Folded():
            opened = fragment(block.blocks, svg_of)
            return Markup("<details>\n<summary>{}</summary>\n{}\n</details>").format(block.summary, opened)
        case blocks.Table():
            return _table(block)
        case blocks.Figure():
            live = Markup(' data-live="{}"').format(json.dumps(block.live)) if block.live else ""
            chart = Markup('<figure class="chart"{}>\n<div role="img" aria-label="{}">\n{}\n</div>\n</figure>')
            below = Markup('\n<p class="muted">{}</p>').format(block.caption) if block.caption else ""
            return chart.format(live, block.label, _svg(svg_of(block))) + below
    raise TypeError(f"a page cannot show a {type(block).__name__}")


def _svg(svg: str) -> Markup:
    """An SVG without its XML prolog, which HTML does not know; a dark page has other colours: ``--c-0072b2``."""

    def replaceable(style: re.Match[str]) -> str:
        return re.sub(r"#([0-9a-f]{6})\b", r"var(--c-\1, #\1)", style[0])

    return Markup(re.sub('style="[^"]*"', replaceable, svg[svg.index("<svg") :]))


def _lines(parts: Iterable[Markup]) -> Markup:
    return Markup("\n").join(parts)


def _all(form: str, texts: Iterable[object]) -> Markup:
    return _lines(Markup(form).format(text) for text in texts)


def _text(text: blocks.Text) -> Markup:
    """A text with its marks."""
    parts = (text,) if isinstance(text, str) else text
    return Markup("").join(Markup(MARKS.get(type(part), "{}")).format(str(part)) for part in parts)


def _items(items: Sequence[tuple[str, Sequence[blocks.Text]]]) -> Markup:
    said = [(name, Markup("<br>\n").join(map(_text, texts))) for name, texts in items]
    if any(name for name, _ in items):
        return Markup("<dl>\n{}\n</dl>").format(_lines(Markup("<dt>{}</dt><dd>{}</dd>").format(*item) for item in said))
    return Markup("<ul>\n{}\n</ul>").format(_all("<li>{}</li>", (text for _, text in said)))


def _table(table: blocks.Table) -> Markup:
    columns = table.shown(blocks.Media.PAGE)
    spared = sorted((column.spared for column in columns if column.spared), reverse=True)[:ON_A_PHONE]
    kept = [not column.spared or column.spared in spared for column in columns]
    classes = [Markup("") if each else Markup(' class="spare"') for each in kept]
    bodies = []
    for rows, apart in table.groups(columns):
        note = Markup('<tr><th class="note" colspan="{}">{}</th></tr>').format(len(columns), table.apart)
        lines = [note] if apart and table.apart else []
        for row in rows:
            name, *figures = map(_cell, row)
            start = Markup('<tr class="default">') if row[0].text == table.main else Markup("<tr>")
            cells = (Markup("<td{}>{}</td>").format(*each) for each in zip(classes[1:], figures, strict=True))
            lines.append(Markup('{}<th scope="row">{}</th>{}</tr>').format(start, name, Markup("").join(cells)))
        body = Markup('<tbody class="bound">\n{}\n</tbody>' if apart else "<tbody>\n{}\n</tbody>")
        bodies.append(body.format(_lines(lines)))
    if not bodies:
        return Markup("")
    heads = Markup("").join(
        Markup('<th scope="col"{}>{}</th>').format(kind, column.head)
        for kind, column in zip(classes, columns, strict=True)
    )
    shown = Markup('<div class="scroll{}">\n<table{}>\n<thead>\n<tr>{}</tr>\n</thead>\n{}\n</table>\n</div>').format(
        " long" if table.is_long else "", Markup(' class="words"') if table.has_words else "", heads, _lines(bodies)
    )
    notes = [_text(note.text) for note in table.notes if blocks.Media.PAGE in note.media]
    return shown + Markup('\n<p class="muted">{}</p>').format(Markup(" ").join(notes)) if notes else shown


def _cell(cell: blocks.Cell) -> Markup:
    details = Markup("").join(Markup("<br><small>{}</small>").format(detail) for detail in cell.details)
    return Markup.escape(cell.text) + details + (cell.exhibit.html if cell.exhibit else "")
