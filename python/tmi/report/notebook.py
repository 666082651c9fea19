"""The results as a piece of HTML for a notebook: the finding, a table and the ROC curves."""

from __future__ import annotations

from markupsafe import Markup

from tmi.report.figures import roc_figure, svg_text
from tmi.report.results import Results
from tmi.report.settings import class_warnings
from tmi.report.table import verdict
from tmi.report.target import target_summary
from tmi.report.wording import resolution_note, tpr, tpr_label, with_interval


def notebook_html(results: Results) -> str:
    """A fragment without styles of its own but for the figure's size, so that it looks as the notebook does.

    Args:
        results: the content of results.json.
    """
    rates = results.rates
    heads = ["attack", f"AUC [{results.confidence} interval]", *map(tpr_label, rates)]
    bounds = results.upper_bounds
    rows = [
        [
            f"{name} (upper bound)" if name in bounds else name,
            with_interval(results.attacks[name].auc),
            *(tpr(results.attacks[name].tpr_at_fpr[rate], rate) for rate in rates),
        ]
        for name in [*results.ranked, *bounds]
    ]
    sentences = [verdict(results), *([target_summary(results)] if results.target is not None else [])]
    sentences += class_warnings(results)
    svg = svg_text(roc_figure(results))
    return Markup("").join(
        [
            *(Markup("<p>{}</p>").format(sentence) for sentence in sentences),
            Markup("<table><thead>{}</thead><tbody>{}</tbody></table>").format(
                _row("th", heads), Markup("").join(_row("td", row) for row in rows)
            ),
            Markup("<p><small>{}</small></p>").format(resolution_note(results)),
            # Made by this package, without scripts; white, since its lines are drawn for white.
            Markup('<div style="max-width:34rem;background:#fff">{}</div>').format(Markup(svg[svg.index("<svg") :])),
        ]
    )


def _row(tag: str, cells: list[str]) -> Markup:
    parts = (Markup("<{0}>{1}</{0}>").format(tag, cell) for cell in cells)
    return Markup("<tr>{}</tr>").format(Markup("").join(parts))
