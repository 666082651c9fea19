"""The report as one HTML page that needs nothing but itself: no network, no scripts, no fonts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tmi.report import blocks

# Points that are shown at once, and those that are shown on demand together.
SHOWN_AT_ONCE, BLOCK = 12, 24
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
        sections: what is said about them; the first is the head of the page.
        svgs: of the figures by name, trusted to be drawn by this package.

    Raises:
        ValueError: an exhibit cannot be shown.
    """
    shown = [(section.title, section.shown(blocks.Media.PAGE)) for section in sections]
    bodies = [(title, fragment(some, lambda figure: svgs[figure.name])) for title, some in shown if some]
    environment = Environment(
        loader=PackageLoader("tmi.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html.j2")
    name, confidential = material.results.name, material.confidential
    return page.render(name=name, confidential=confidential, head=bodies[0][1], sections=bodies[1:])


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
            opened = _block(block.block, svg_of)
            return Markup("<details>\n<summary>{}</summary>\n{}\n</details>").format(block.summary, opened)
        case blocks.Table():
            return _table(block)
        case blocks.Figure():
            # An SVG without its XML prolog, which HTML does not know.
            svg = svg_of(block)
            figure = Markup('<figure class="chart" role="img" aria-label="{}">\n{}\n</figure>')
            below = Markup('\n<p class="muted">{}</p>').format(block.caption) if block.caption else ""
            return figure.format(block.label, Markup(svg[svg.index("<svg") :])) + below
        case blocks.Gallery():
            return _gallery(block)
    raise TypeError(f"a page cannot show a {type(block).__name__}")


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
    bodies = []
    for rows, apart in table.groups(columns):
        lines = (
            [Markup('<tr><th class="note" colspan="{}">{}</th></tr>').format(len(columns), table.apart)]
            if apart
            else []
        )
        for row in rows:
            name, *figures = (
                Markup("").join(
                    [Markup.escape(cell.text), *(Markup("<br><small>{}</small>").format(d) for d in cell.details)]
                )
                for cell in row
            )
            start = Markup('<tr class="default">') if row[0].text == table.main else Markup("<tr>")
            cells = Markup("").join(Markup("<td>{}</td>").format(figure) for figure in figures)
            lines.append(Markup('{}<th scope="row">{}</th>{}</tr>').format(start, name, cells))
        body = Markup('<tbody class="bound">\n{}\n</tbody>' if apart else "<tbody>\n{}\n</tbody>")
        bodies.append(body.format(_lines(lines)))
    if not bodies:
        return Markup("")
    heads = Markup("").join(Markup('<th scope="col">{}</th>').format(column.head) for column in columns)
    shown = Markup('<div class="scroll">\n<table{}>\n<thead>\n<tr>{}</tr>\n</thead>\n{}\n</table>\n</div>').format(
        Markup(' class="words"') if table.has_words else "", heads, _lines(bodies)
    )
    notes = [_text(note.text) for note in table.notes if blocks.Media.PAGE in note.media]
    return shown + Markup('\n<p class="muted">{}</p>').format(Markup(" ").join(notes)) if notes else shown


def _gallery(gallery: blocks.Gallery) -> Markup:
    """The first points at once, the others on demand."""
    points, first = gallery.points, gallery.points[0].exhibit

    def shown(some: Sequence[blocks.Point], compact: bool) -> Markup:
        if first is None:
            return _table(gallery.table(some))
        classes = f"points{' small' if compact else ''}{'' if first.kind == 'image' else ' wide'}"
        return Markup('<div class="{}">\n{}\n</div>').format(classes, _lines(_card(point, compact) for point in some))

    parts = [shown(points[:SHOWN_AT_ONCE], False)]
    for start in range(SHOWN_AT_ONCE, len(points), BLOCK):
        some = points[start : start + BLOCK]
        summary = f"The next {len(some)} ({start + 1} to {start + len(some)})"
        on_demand = Markup('<details class="on-demand">\n<summary>{}</summary>\n{}\n</details>')
        parts.append(on_demand.format(summary, shown(some, True)))
    return _lines(parts)


def _card(point: blocks.Point, compact: bool) -> Markup:
    assert point.exhibit is not None
    label = f", label {point.label}" if point.label else ""
    card = Markup("<figure>\n{}\n<figcaption><strong>Point {}</strong>{}\n{}\n</figcaption>\n</figure>")
    facts = _items([(name, [value]) for name, value in point.facts])
    return card.format(point.exhibit.small if compact else point.exhibit.html, point.name, label, facts)
