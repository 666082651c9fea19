"""The report as Markdown: what to paste into an issue, a wiki or a model card.

Everything that users named is escaped: it can hold no HTML, no link, no image and no further table cell.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from tmi.report import bound, limits, target, wording
from tmi.report.learning import training_warnings
from tmi.report.results import Results
from tmi.report.settings import class_warnings, options_note
from tmi.report.summary import plain_words
from tmi.report.table import verdict

SUSPECTS = 12
"""Points of a target of unknown membership that are listed."""

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;"}
_WORD_JOINER = "\N{WORD JOINER}"


def render_markdown(results: Results) -> str:
    """The summary, the target, the table of attacks, the lower bound and the limits, in GitHub's dialect.

    Args:
        results: the content of results.json.
    """
    sections = [
        [f"# Report on {escaped(results.name)}: what the finetuned models leak about their pretraining data"],
        _summary(results),
        _target(results),
        _table(results),
        _bound(results),
        ["## Limits", "\n".join(f"- {escaped(sentence)}" for sentence in limits.limits(results))],
        [escaped(f"Made by tmi {results.version}; report.html has the figures and the provenance.")],
    ]
    return "\n\n".join(paragraph for section in sections for paragraph in section) + "\n"


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


def _summary(results: Results) -> Iterator[str]:
    yield "## In plain words"
    for sentence in [*target.target_sentences(results), *plain_words(results)]:
        yield escaped(sentence)
    yield f"**{escaped(verdict(results))}**"
    for sentence in (*training_warnings(results), *class_warnings(results)):
        yield f"**Caution.** {escaped(sentence)}"
    if results.description:
        yield f"What was attacked: {escaped(results.description)}"


def _target(results: Results) -> Iterator[str]:
    if results.target is None:
        return
    attacked = results.target
    yield f"## The target: {escaped(attacked.name)}"
    rows = []
    for name, found in attacked.attacks.items():
        for rate in results.target.rates:
            call = found.calls[rate]
            rows.append(
                [
                    name,
                    wording.rate_percent(rate),
                    f"{call.called:,}",
                    f"{call.expected_false:.3g}",
                    wording.tpr(call.tpr, rate) if call.resolvable else wording.NOT_RESOLVABLE,
                ]
            )
    yield _cells(["attack", "FPR", "called members", "expected by chance", "of members found"], rows)
    tests = [
        [name, target.p_text(found.set_test.p_value) if found.set_test else wording.NOT_RESOLVABLE]
        for name, found in attacked.attacks.items()
    ]
    yield _cells(["attack", "p-value of all points together"], tests)
    suspects = [
        [
            str(point.point),
            point.label,
            f"{point.score:.3g}",
            target.p_text(point.p_value),
            "member" if point.called else "",
        ]
        for point in attacked.most_suspected[:SUSPECTS]
    ]
    if suspects:
        yield f"Most suspected points, by {escaped(attacked.attack)}:"
        yield _cells(
            ["point", "label", "score", "p-value", f"called at {wording.rate_percent(attacked.fpr)} FPR"], suspects
        )


def _table(results: Results) -> Iterator[str]:
    yield "## The attacks"
    if note := target.expected_note(results):
        yield note
    rates = results.rates
    rows = []
    for name in [*results.ranked, *results.upper_bounds]:
        attack = results.attacks[name]
        bounds = " (upper bound)" if attack.upper_bound else ""
        found = [
            f"{wording.tpr(attack.tpr_at_fpr[rate], rate)} {wording.tpr_interval(attack.tpr_at_fpr[rate], rate)}"
            for rate in rates
        ]
        rows.append([name + bounds, wording.with_interval(attack.auc), *found])
    yield _cells(["attack", "AUC", *map(wording.tpr_label, rates)], rows)
    notes = [f"In brackets: {results.confidence} intervals."]
    if note := wording.resolution_note(results):
        notes.append(f"{note}.")
    if note := options_note(results):
        notes.append(f"Options: {note}.")
    yield escaped(" ".join(notes))


def _bound(results: Results) -> Iterator[str]:
    yield "## Lower bound on the ε of the pretraining"
    yield escaped(bound.bound_sentence(results) or "No lower bound could be computed for the main attack.")
    yield escaped(bound.MEANING)
    yield escaped(bound.NO_MEANING)


def _cells(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is text and whose others are figures."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(
        f"| {' | '.join(cell if index == 1 else escaped(cell) for cell in line)} |" for index, line in enumerate(lines)
    )
