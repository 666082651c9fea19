"""The report as one HTML page that needs nothing but itself: no network, no scripts, no fonts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tmi.report.blocks import (
    Block,
    Bullets,
    Cell,
    Code,
    Figure,
    Folded,
    Gallery,
    Heading,
    Listing,
    Media,
    Muted,
    Note,
    Paragraph,
    Point,
    Section,
    Strong,
    Table,
    Terms,
    Text,
)
from tmi.report.results import Results

SHOWN_AT_ONCE = 12
BLOCK = 24
"""Points that are shown at once, and those that are shown on demand together."""

SvgOf: TypeAlias = Callable[[Figure], str]


def render_page(results: Results, sections: Sequence[Section], svgs: Mapping[str, str]) -> str:
    """The report as HTML.

    Args:
        results: all figures.
        sections: what is said about them; the first is the head of the page.
        svgs: of the figures by name, trusted to be drawn by this package.

    Raises:
        ValueError: an exhibit cannot be shown.
    """

    def body(section: Section) -> Markup:
        return fragment(section.shown(Media.PAGE), lambda figure: svgs[figure.name])

    environment = Environment(
        loader=PackageLoader("tmi.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    head, *others = sections
    return environment.get_template("page.html.j2").render(
        name=results.name,
        head=body(head),
        sections=[(section.title, body(section)) for section in others if section.shown(Media.PAGE)],
    )


def fragment(blocks: Iterable[Block], svg_of: SvgOf) -> Markup:
    """Blocks as HTML; whatever they say is escaped."""
    return Markup("\n").join(_block(block, svg_of) for block in blocks)


def _block(block: Block, svg_of: SvgOf) -> Markup:
    match block:
        case Paragraph(text=text, tone=tone):
            return Markup('<p class="muted">{}</p>' if tone == "muted" else "<p>{}</p>").format(_text(text))
        case Heading(text=text):
            return Markup("<h3>{}</h3>").format(text)
        case Note():
            return _note(block)
        case Bullets(items=items):
            return Markup("<ul>\n{}\n</ul>").format(_lines(Markup("<li>{}</li>").format(item) for item in items))
        case Terms():
            return _terms(block)
        case Listing(text=text):
            return Markup("<pre><code>{}</code></pre>").format(text)
        case Folded(summary=summary, block=folded):
            opened = _block(folded, svg_of)
            return Markup("<details>\n<summary>{}</summary>\n{}\n</details>").format(summary, opened)
        case Table():
            return _table(block)
        case Figure(label=label, caption=caption):
            # An SVG without its XML prolog, which HTML does not know.
            svg = svg_of(block)
            figure = Markup('<figure class="chart" role="img" aria-label="{}">\n{}</figure>')
            below = Markup('\n<p class="muted">{}</p>').format(caption) if caption else ""
            return figure.format(label, Markup(svg[svg.index("<svg") :])) + below
        case Gallery(points=points):
            return _gallery(block, points)
    raise TypeError(f"a page cannot show a {type(block).__name__}")


def _lines(parts: Iterable[Markup]) -> Markup:
    return Markup("\n").join(parts)


def _text(text: Text) -> Markup:
    """A text with its marks."""
    parts = (text,) if isinstance(text, str) else text
    marks = {Strong: "<strong>{}</strong>", Code: "<code>{}</code>", Muted: '<span class="muted">{}</span>'}
    return Markup("").join(Markup(marks.get(type(part), "{}")).format(str(part)) for part in parts)


def _note(note: Note) -> Markup:
    if note.level == "finding":
        sentences = _lines(Markup("<p>{}</p>").format(text) for text in note.texts)
        return Markup('<div class="verdict">\n{}\n</div>').format(sentences)
    box = Markup('<p class="{}"><strong>{}</strong> {}</p>')
    return _lines(box.format(note.level, note.lead, text) for text in note.texts)


def _terms(terms: Terms) -> Markup:
    row = Markup("<dt>{}</dt><dd>{}</dd>")
    lines = (row.format(name, Markup("<br>\n").join(map(_text, texts))) for name, texts in terms.entries)
    return Markup("<dl>\n{}\n</dl>").format(_lines(lines))


def _cell(cell: Cell) -> Markup:
    details = (Markup("<br><small>{}</small>").format(detail) for detail in cell.details)
    return Markup("").join([Markup.escape(cell.text), *details])


def _table(table: Table) -> Markup:
    places = [place for place, column in enumerate(table.columns) if Media.PAGE in column.media]
    groups = [group for group in table.groups if group.rows]
    if not groups:
        return Markup("")
    heads = Markup("").join(Markup('<th scope="col">{}</th>').format(table.columns[place].head) for place in places)
    bodies = []
    for group in groups:
        rows = []
        if group.note:
            rows.append(Markup('<tr><th class="note" colspan="{}">{}</th></tr>').format(len(places), group.note))
        for row in group.rows:
            start = Markup('<tr class="default">') if row[0].text == table.main else Markup("<tr>")
            name, *figures = (_cell(row[place]) for place in places)
            cells = Markup("").join(Markup("<td>{}</td>").format(figure) for figure in figures)
            rows.append(Markup('{}<th scope="row">{}</th>{}</tr>').format(start, name, cells))
        body = Markup('<tbody class="bound">\n{}\n</tbody>' if group.note else "<tbody>\n{}\n</tbody>")
        bodies.append(body.format(_lines(rows)))
    shown = Markup('<div class="scroll">\n<table{}>\n<thead>\n<tr>{}</tr>\n</thead>\n{}\n</table>\n</div>').format(
        Markup(' class="words"') if table.has_words else "", heads, _lines(bodies)
    )
    notes = [_text(note.text) for note in table.notes if Media.PAGE in note.media]
    return shown + Markup('\n<p class="muted">{}</p>').format(Markup(" ").join(notes)) if notes else shown


def _gallery(gallery: Gallery, points: Sequence[Point]) -> Markup:
    """The first points at once, the others in blocks on demand."""

    def shown(some: Sequence[Point], compact: bool) -> Markup:
        if points[0].exhibit is None:
            return _table(gallery.table(some))
        classes = f"points{' small' if compact else ''}{'' if points[0].exhibit.kind == 'image' else ' wide'}"
        cards = _lines(_card(point, compact) for point in some)
        return Markup('<div class="{}">\n{}\n</div>').format(classes, cards)

    parts = [shown(points[:SHOWN_AT_ONCE], False)]
    for start in range(SHOWN_AT_ONCE, len(points), BLOCK):
        some = points[start : start + BLOCK]
        summary = f"The next {len(some)} ({start + 1} to {start + len(some)})"
        on_demand = Markup('<details class="on-demand">\n<summary>{}</summary>\n{}\n</details>')
        parts.append(on_demand.format(summary, shown(some, True)))
    return _lines(parts)


def _card(point: Point, compact: bool) -> Markup:
    assert point.exhibit is not None
    label = f", label {point.label}" if point.label else ""
    return Markup("<figure>\n{}\n<figcaption><strong>Point {}</strong>{}\n{}\n</figcaption>\n</figure>").format(
        point.exhibit.small if compact else point.exhibit.html, point.name, label, _terms(Terms(point.facts))
    )
