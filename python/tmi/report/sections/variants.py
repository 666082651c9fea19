"""What other finetunings of the same pretrained models leak."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

from tmi.report.blocks import Cell, Code, Column, Figure, Group, Material, Media, Paragraph, Section, Strong, Table
from tmi.report.finetunings import (
    COMPARISON_NOTE,
    PRIVACY_NOTE,
    Finetuning,
    any_private,
    details,
    epsilon_text,
    finetunings,
)
from tmi.report.results import Results
from tmi.report.wording import (
    BASELINE_ATTACK,
    auc_cell,
    difference_cell,
    percent,
    resolution_note,
    tpr_cell,
    tpr_label,
)


def section(material: Material) -> Section | None:
    """The table of all finetunings and its figure."""
    results = material.results
    if results.variants is None:
        return None
    from tmi.report.figures.aucs import variants_figure

    private = any_private(results)
    pairs = ": of a finetuning with noise to the same recipe without, of every other one to the run itself"
    introduction = (
        "The same pretrained models, finetuned in other ways and attacked by ",
        Strong(results.variants.attack),
        "; ",
        Code("variants/NAME/report.html"),
        " beside this page has the whole report of each. Differences are of the AUC, paired over the same targets and "
        f"points{pairs if private else ''}; * the interval excludes 0.",
    )
    return Section(
        "What other finetunings of the same models leak",
        [
            Paragraph(introduction, media=Media.DOCUMENTS),
            variants_table(results),
            *([Paragraph(f"{PRIVACY_NOTE} {COMPARISON_NOTE}", media=Media.DOCUMENTS)] if private else []),
            Figure(
                "variants",
                lambda: variants_figure(results),
                "AUC and downstream accuracy of every finetuning; the figures are in the table above",
            ),
        ],
        Media.DOCUMENTS | Media.TERMINAL,
    )


def variants_table(results: Results) -> Table:
    """One row per finetuning, the run itself first; private ones stand apart below. Columns that tell nothing are out.

    Args:
        results: with ``variants``.
    """
    assert results.variants is not None
    rows, rate, private = finetunings(results), results.representative_rate, any_private(results)
    own, with_baseline = rows[0], rows[0].baseline is not None
    unresolved = [] if all(row.tpr.resolvable for row in rows) else [resolution_note(results)]
    compared = f"difference: of the AUC, paired, {_against(rows)}; * its interval excludes 0"
    accuracy_note, baseline_note = "task acc.: on the rest of the downstream task", "the AUC of the paper's baseline"

    def difference(row: Finetuning) -> Cell:
        against = row.against if row.against != own.name else None
        return Cell("") if row.difference is None else difference_cell(row.difference, against)

    columns: list[tuple[Column, Callable[[Finetuning], Cell]]] = [
        (Column("Finetuning", is_text=True), lambda row: Cell(row.name, [", ".join(details(row, own))])),
        (Column("trained", spared=3, is_text=True, media=Media.TERMINAL), lambda row: Cell(_short(row.transfer))),
    ]
    if private:
        columns.append(
            (
                Column("ε", spared=7),
                lambda row: Cell(epsilon_text(row.epsilon), [f"δ = {row.delta:g}"] if row.delta else []),
            )
        )
    if any(row.points != own.points for row in rows):
        columns.append((Column("points", spared=1, media=Media.TERMINAL), lambda row: Cell(f"{row.points:,}")))
    columns += [
        (
            Column("Downstream accuracy", "task\nacc.", spared=5, notes=[accuracy_note]),
            lambda row: Cell(percent(row.accuracy)),
        ),
        (Column("AUC", f"AUC [{results.confidence} interval]", detailed=True), lambda row: auc_cell(row.auc)),
        (Column("Difference", "differ-\nence", spared=6, notes=[compared]), difference),
        (
            Column(tpr_label(rate), tpr_label(rate).replace("@", "@\n"), spared=4, notes=unresolved),
            lambda row: tpr_cell(row.tpr, rate),
        ),
    ]
    if with_baseline:
        head = f"AUC of {BASELINE_ATTACK}"
        columns.append(
            (
                Column(head, "adapted\n-lira", spared=2, notes=[f"{BASELINE_ATTACK}: {baseline_note}"]),
                lambda row: Cell("") if row.baseline is None else auc_cell(row.baseline),
            )
        )
    notes = [Paragraph(f"In brackets: {results.confidence} intervals.", media=Media.DOCUMENTS)]
    if private:
        symbols = "ε: – not private, ∞ the same recipe, clipping and sampling included, without noise."
        notes.append(Paragraph(symbols))
        notes.append(Paragraph(f"{PRIVACY_NOTE} {COMPARISON_NOTE}", media=Media.TERMINAL))
    if note := resolution_note(results):
        notes.append(Paragraph(f"{note}.", media=Media.DOCUMENTS))
    return Table(
        [column for column, _ in columns],
        [
            Group([[cell(row) for _, cell in columns] for row in group])
            for _, group in groupby(rows, lambda row: row.epsilon is not None)
        ],
        main=own.name,
        title=f"What the finetunings of the same models leak to {results.variants.attack}",
        notes=notes,
    )


def _against(rows: Sequence[Finetuning]) -> str:
    """With what the finetunings are compared: ``to digits, of those with noise to epsilon-inf``."""
    controls = {row.against for row in rows if row.noisy and row.against != rows[0].name}
    if not controls:
        return f"to {rows[0].name}"
    control = controls.pop() if len(controls) == 1 else "the same recipe without noise"
    return f"to {rows[0].name}, of those with noise to {control}"


def _short(transfer: str) -> str:
    """``head``, ``last 2``, ``all`` or ``LoRA``."""
    return {"full": "all", "lora": "LoRA"}.get(transfer, transfer.replace("-", " "))
