"""What other finetunings of the same pretrained models leak."""

from __future__ import annotations

from collections.abc import Sequence

from tmi.report.blocks import Block, Cell, Code, Column, Figure, Material, Media, Paragraph, Section, Strong, Table
from tmi.report.finetunings import (
    COMPARISON_NOTE,
    PRIVACY_NOTE,
    Finetuning,
    any_private,
    epsilon_text,
    finetunings,
    trained,
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
    tpr_label_short,
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
        f" has the whole report of each. Differences are of the AUC, paired{pairs if private else ''}; * the interval "
        "excludes 0.",
    )
    blocks: list[Block] = [Paragraph(introduction, media=Media.DOCUMENTS), variants_table(results)]
    if private:
        blocks.append(Paragraph(f"{PRIVACY_NOTE} {COMPARISON_NOTE}", media=Media.DOCUMENTS))
    learned = "accuracy" if results.models.downstream_test_perplexity is None else "perplexity"
    label = f"AUC and downstream {learned} of every finetuning; the figures are in the table above"
    blocks.append(Figure("variants", lambda: variants_figure(results), label))
    title = "What other finetunings of the same models leak"
    return Section(title, blocks, Media.DOCUMENTS | Media.TERMINAL)


def variants_table(results: Results) -> Table:
    """One row per finetuning, the run itself first; private ones stand apart below. Columns that tell nothing are out.

    Args:
        results: with ``variants``.
    """
    rows, rate, private = finetunings(results), results.representative_rate, any_private(results)
    own, unresolved = rows[0], resolution_note(results)
    compared = f"difference: of the AUC, paired, {_against(rows)}; * its interval excludes 0"
    columns = [
        Column("Finetuning", [Cell(row.name, [_details(row, own)]) for row in rows], is_text=True),
        Column("trained", [_short(row.row.transfer) for row in rows], spared=3, is_text=True, media=Media.TERMINAL),
    ]
    if private:
        columns.append(Column("ε", [_epsilon(row) for row in rows], spared=7))
    points = [f"{row.row.points_per_model:,}" for row in rows]
    if len(set(points)) > 1:
        columns.append(Column("points", points, spared=1, media=Media.TERMINAL))
    accuracies = [percent(row.row.downstream_test_accuracy.mean) for row in rows]
    rest = "on the rest of the downstream task"
    learned = Column("Downstream accuracy", accuracies, "task\nacc.", spared=5, notes=[f"task acc.: {rest}"])
    perplexities = [row.row.downstream_test_perplexity for row in rows]
    if all(perplexities):
        texts = [f"{each.mean:.1f}" for each in perplexities if each is not None]
        note = f"perplexity: {rest}"
        learned = Column("Downstream perplexity", texts, "per-\nplexity", spared=5, notes=[note])
    columns += [
        learned,
        Column("AUC", [auc_cell(row.auc) for row in rows], f"AUC [{results.confidence} interval]", detailed=True),
        Column("Difference", [_difference(row, own) for row in rows], "differ-\nence", spared=6, notes=[compared]),
        Column(
            tpr_label(rate),
            [tpr_cell(row.tpr, rate) for row in rows],
            tpr_label_short(rate),
            spared=4,
            notes=[] if all(row.tpr.resolvable for row in rows) else [unresolved],
        ),
    ]
    if own.baseline is not None:
        cells = ["" if row.baseline is None else auc_cell(row.baseline) for row in rows]
        note = f"{BASELINE_ATTACK}: the AUC of the paper's baseline"
        columns.append(Column(f"AUC of {BASELINE_ATTACK}", cells, "adapted\n-lira", spared=2, notes=[note]))
    notes = [Paragraph(f"In brackets: {results.confidence} intervals.", media=Media.DOCUMENTS)]
    if private:
        symbols = "ε: – not private, ∞ the same recipe, clipping and sampling included, without noise."
        notes.append(Paragraph(symbols))
        notes.append(Paragraph(f"{PRIVACY_NOTE} {COMPARISON_NOTE}", media=Media.TERMINAL))
    if unresolved:
        notes.append(Paragraph(f"{unresolved}.", media=Media.DOCUMENTS))
    are_private = [row.epsilon is not None for row in rows]
    return Table(
        columns,
        main=own.name,
        title=f"What the finetunings of the same models leak to {results.headline}",
        notes=notes,
        breaks=[place for place in range(1, len(rows)) if are_private[place] != are_private[place - 1]],
    )


def _details(row: Finetuning, own: Finetuning) -> str:
    """What a finetuning trains, and on what where that differs from the run itself."""
    parts = [trained(row.row.transfer)]
    if row.row.points_per_model != own.row.points_per_model:
        parts.append(f"{row.row.points_per_model:,} points")
    if row.task != own.task:
        parts.append(row.task)
    return ", ".join(parts)


def _epsilon(row: Finetuning) -> Cell:
    return Cell(epsilon_text(row.epsilon), [f"δ = {row.row.private.delta:g}"] if row.noisy and row.row.private else [])


def _difference(row: Finetuning, own: Finetuning) -> Cell | str:
    if row.difference is None:
        return ""
    against = row.difference.against
    return difference_cell(row.difference.auc, against if against != own.name else None)


def _against(rows: Sequence[Finetuning]) -> str:
    """With what the finetunings are compared: ``to digits, of those with noise to epsilon-inf``."""
    own = rows[0].name
    controls = {row.control for row in rows if row.noisy and row.control not in (own, row.name)}
    if not controls:
        return f"to {own}"
    control = controls.pop() if len(controls) == 1 else "the same recipe without noise"
    return f"to {own}, of those with noise to {control}"


def _short(transfer: str) -> str:
    """``head``, ``last 2``, ``all`` or ``LoRA``."""
    return {"full": "all", "lora": "LoRA"}.get(transfer, transfer.replace("-", " "))
