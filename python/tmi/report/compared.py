"""Two runs next to one another: what their comparison holds, and how the terminal shows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.table import Table as RichTable
from rich.text import Text

from tmi.metrics.differences import Comparison
from tmi.report.results import Evaluation, Table
from tmi.report.table import natural_width
from tmi.report.wording import (
    CHANCE_AUC,
    NOT_RESOLVABLE,
    difference,
    difference_interval,
    rate_percent,
    tpr_difference,
)

SCHEMA = 1


class ComparedRun(Table):
    """Which run it is, and how large."""

    run: str
    name: str
    seed: int | None
    targets: int
    points: int
    members: int
    non_members: int


class PlainFigures(Table):
    """Figures of an attack without intervals."""

    auc: float
    balanced_accuracy: float
    tpr_at_fpr: dict[str, float]


class ComparedAttack(Table):
    """An attack on both runs; the difference is B minus A.

    Attributes:
        detectable: the difference of the AUC that such an interval excludes from 0 in four of five cases.
    """

    upper_bound: bool
    a: PlainFigures
    b: PlainFigures
    difference: Comparison
    detectable: float


class Compared(Table):
    """What `tmi.compare_runs` finds.

    Attributes:
        why: the runs are paired or not, a clause.
        headline: the attack that stands for the others, the first of them.
        configuration: what differs between the configurations; None where one of them is not known.
    """

    a: ComparedRun
    b: ComparedRun
    paired: bool
    why: str
    evaluation: Evaluation
    headline: str
    attacks: dict[str, ComparedAttack]
    configuration: list[str] | None

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries and lists, as in the file of ``tmi compare --json``."""
        return {"schema": SCHEMA} | self.model_dump()

    @property
    def rates(self) -> list[str]:
        """Keys of ``tpr_at_fpr``, lowest rate first."""
        return sorted(self.attacks[self.headline].difference.tpr_at_fpr, key=float)


def runs_table(compared: Compared, width: int = 80) -> RichTable:
    """One row per attack: the AUC of both runs, and B minus A.

    Args:
        compared: from `tmi.runs.compare.compare_runs`.
        width: columns of the terminal. Where the table does not fit, it is left without the true positive rates at
            the highest false positive rates. The AUC stays.
    """
    rates = compared.rates
    for count in range(len(rates), 0, -1):
        table = _table(compared, rates[:count])
        if natural_width(table) <= width:
            return table
    return _table(compared, [])


def runs_heading(compared: Compared) -> str:
    """Which runs these are, and how they were compared; a line each."""
    lines = [f"A: {_size(compared.a)}", f"B: {_size(compared.b)}"]
    return "\n".join([*lines, *_pairing(compared)])


def configuration_lines(compared: Compared) -> list[str]:
    """What differs between the configurations: a heading and a line for every key."""
    changed = compared.configuration
    if changed is None:
        return ["At least one of the two has no configuration to compare."]
    if not changed:
        return ["The configurations do not differ in anything that changes a score."]
    return ["What differs, from A to B:", *(f"  {line}" for line in changed)]


def runs_verdict(compared: Compared) -> str:
    """Which of the two leaks more, to the attack that stands for all, in one sentence."""
    name = compared.headline
    entry = compared.attacks[name]
    change = entry.difference.auc
    before, after = entry.a.auc, entry.b.auc
    pairing = "" if compared.paired else ", unpaired"
    figures = (
        f"{name} has AUC {after:.3f} against {before:.3f}, a difference of {difference(change).rstrip('*')} "
        f"{difference_interval(change)} ({compared.evaluation.percent} interval{pairing})"
    )
    if change.low <= 0 <= change.high:
        if change.low == change.high:
            return f"No difference at all: {name} tells members from non-members equally well, AUC {after:.3f} in both."
        return (
            f"No difference was shown: {figures}; with these sizes a difference of {entry.detectable:.3f} would "
            "have been seen in four of five such comparisons, smaller ones may exist."
        )
    comparative = "more" if change.low > 0 else "less"
    if max(before, after) <= CHANCE_AUC:
        return f"The runs differ, but neither is better than a coin flip ({CHANCE_AUC}): {figures}."
    return f"B leaks {comparative} than A: {figures}."


def _size(run: ComparedRun) -> str:
    seed = "" if run.seed is None else f", seed {run.seed}"
    return f"{run.run} ({run.name}{seed}, {run.targets:,} targets × {run.points:,} points)"


def _pairing(compared: Compared) -> list[str]:
    if compared.paired:
        return [f"Paired: {compared.why}."]
    return [
        f"Unpaired: {compared.why}. Each run is resampled on its own, so that the intervals are wider than they "
        "would be for the same targets and points."
    ]


def _table(compared: Compared, rates: Sequence[str]) -> RichTable:
    table = RichTable(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        caption=Text(_footnotes(compared, rates)),
        caption_justify="left",
    )
    table.add_column("attack", vertical="bottom", overflow="fold")
    table.add_column("AUC\nof A", justify="right", no_wrap=True)
    table.add_column("AUC\nof B", justify="right", no_wrap=True)
    table.add_column(f"AUC of B − A\n[{compared.evaluation.percent} interval]", no_wrap=True)
    for rate in rates:
        table.add_column(f"TPR@\n{rate_percent(rate)}FPR", justify="right", no_wrap=True)
    attacks = compared.attacks
    for upper_bound in (False, True):
        for name in (name for name in attacks if attacks[name].upper_bound == upper_bound):
            style = "dim" if upper_bound else "bold" if name == compared.headline else ""
            table.add_row(*_row(name, attacks[name], rates), style=style)
        table.add_section()
    return table


def _row(name: str, entry: ComparedAttack, rates: Sequence[str]) -> list[Text]:
    change = entry.difference
    aucs = [f"{figures.auc:.3f}" for figures in (entry.a, entry.b)]
    # The star has a place of its own, so that the intervals stand below one another.
    auc = f"{difference(change.auc):7} {difference_interval(change.auc)}"
    found = [tpr_difference(change.tpr_at_fpr[rate]) for rate in rates]
    # Text, not str: a name must not be read as console markup.
    return [Text(cell) for cell in (name, *aucs, auc, *found)]


def _footnotes(compared: Compared, rates: Sequence[str]) -> str:
    notes = ["* the interval excludes 0"]
    if rates:
        notes.append("TPR: B − A in percentage points")
    changes = [entry.difference.tpr_at_fpr for entry in compared.attacks.values()]
    if not all(change[rate].resolvable for change in changes for rate in rates):
        fewest = min(compared.a.non_members, compared.b.non_members)
        notes.append(f"{NOT_RESOLVABLE} not resolvable with {fewest:,} non-members")
    return "\n".join(notes)
