"""The terminal's table of a run's finetunings: what each trains, what it promises, how well it does, what it leaks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rich import box
from rich.table import Table
from rich.text import Text

from tmi.report.finetunings import COMPARISON_NOTE, PRIVACY_NOTE, Finetuning, any_private, epsilon_text, finetunings
from tmi.report.results import Results
from tmi.report.table import natural_width
from tmi.report.wording import BASELINE_ATTACK, difference, percent, rate_percent, resolution_note, tpr, with_interval

# Where the table does not fit, these columns are left out, the first of them first. Name and AUC stay.
_LEFT_OUT = ("points", "baseline", "transfer", "tpr", "accuracy", "difference", "epsilon")


@dataclass(frozen=True)
class _Column:
    header: str
    cell: Callable[[Finetuning], str]
    justify: Literal["left", "right"] = "right"


def variants_table(results: Results, width: int = 80) -> Table:
    """One row per finetuning, the run itself first; private ones stand apart below.

    Args:
        results: the content of results.json, with ``variants``.
        width: columns of the terminal. Where the table does not fit, its columns stand closer, then some are left
            out: the finetuning points, the baseline, what is trained, the true positive rate, the accuracy.
    """
    rows, columns = finetunings(results), _columns(results)
    for left_out in range(len(_LEFT_OUT) + 1):
        shown = {name: column for name, column in columns.items() if name not in _LEFT_OUT[:left_out]}
        for padding in (1, 0):
            table = _table(results, rows, shown, padding)
            if natural_width(table) <= width:
                return table
    return table


def _columns(results: Results) -> dict[str, _Column]:
    """The columns that tell something, by name."""
    rows, rate = finetunings(results), results.representative_rate
    columns = {
        "name": _Column("finetuning", lambda row: row.name, "left"),
        "transfer": _Column("trained", lambda row: _short(row.transfer), "left"),
        "epsilon": _Column("ε", lambda row: epsilon_text(row.epsilon)),
        "points": _Column("points", lambda row: f"{row.points:,}"),
        "accuracy": _Column("task\nacc.", lambda row: percent(row.accuracy)),
        "auc": _Column(f"AUC [{results.confidence} interval]", lambda row: with_interval(row.auc), "left"),
        "difference": _Column("differ-\nence", lambda row: difference(row.difference) if row.difference else ""),
        "tpr": _Column(f"TPR@\n{rate_percent(rate)}FPR", lambda row: tpr(row.tpr, rate)),
        "baseline": _Column("adapted\n-lira", lambda row: f"{row.baseline.estimate:.3f}" if row.baseline else ""),
    }
    if not any_private(results):
        del columns["epsilon"]
    if len({row.points for row in rows}) == 1:
        del columns["points"]
    if rows[0].baseline is None:
        del columns["baseline"]
    return columns


def _table(results: Results, rows: Sequence[Finetuning], columns: Mapping[str, _Column], padding: int) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, padding, 0, 0),
        # Text, not str: a name must not be read as console markup.
        title=Text(f"What the finetunings of the same models leak to {results.headline}"),
        title_justify="left",
        title_style="",
        caption=Text(_footnotes(results, rows, columns)),
        caption_justify="left",
    )
    for name, column in columns.items():
        # A name that is too long continues on the next line.
        folds = name == "name"
        table.add_column(
            column.header,
            justify=column.justify,
            vertical="bottom",
            no_wrap=not folds,
            overflow="fold" if folds else "ellipsis",
        )
    for row, following in zip(rows, [*rows[1:], rows[-1]], strict=True):
        cells = [Text(column.cell(row)) for column in columns.values()]
        ends_section = (row.epsilon is None) != (following.epsilon is None)
        table.add_row(*cells, style="bold" if row is rows[0] else "", end_section=ends_section)
    return table


def _footnotes(results: Results, rows: Sequence[Finetuning], columns: Mapping[str, _Column]) -> str:
    notes = []
    if "accuracy" in columns:
        notes.append("task acc.: on the rest of the downstream task")
    if "difference" in columns:
        notes.append(f"difference: of the AUC, paired, {_against(rows)}; * its interval excludes 0")
    if "baseline" in columns:
        notes.append(f"{BASELINE_ATTACK}: the AUC of the paper's baseline")
    if "tpr" in columns and not all(row.tpr.resolvable for row in rows):
        notes.append(resolution_note(results))
    if any_private(results):
        notes.append("ε: – not private, ∞ the same recipe, clipped but without noise")
        notes.append(f"{PRIVACY_NOTE} {COMPARISON_NOTE}")
    return "\n".join(notes)


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
