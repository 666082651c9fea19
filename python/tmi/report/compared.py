"""Two runs next to one another: what their comparison holds, and how the terminal shows it."""

from __future__ import annotations

from typing import Any

from tmi.metrics.differences import Comparison
from tmi.report.blocks import Block, Cell, Column, Paragraph, Table
from tmi.report.tables import Evaluation, ResultsTable
from tmi.report.wording import (
    CHANCE_AUC,
    NOT_RESOLVABLE,
    difference,
    difference_interval,
    tpr_difference,
    tpr_label_short,
)

SCHEMA = 1


class ComparedRun(ResultsTable):
    """Which run it is, and how large."""

    run: str
    name: str
    seed: int | None
    targets: int
    points: int
    members: int
    non_members: int


class PlainFigures(ResultsTable):
    """Figures of an attack without intervals."""

    auc: float
    balanced_accuracy: float
    tpr_at_fpr: dict[str, float]


class ComparedAttack(ResultsTable):
    """An attack on both runs; the difference is B minus A.

    Attributes:
        detectable: the difference of the AUC that such an interval excludes from 0 in four of five cases.
    """

    direct_access: bool
    a: PlainFigures
    b: PlainFigures
    difference: Comparison
    detectable: float


class Compared(ResultsTable):
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


def compared_blocks(compared: Compared) -> list[Block]:
    """Which runs these are, a table of all attacks, what differs between the configurations, and the verdict."""
    pairing = (
        f"Paired: {compared.why}."
        if compared.paired
        else f"Unpaired: {compared.why}. Each run is resampled on its own, so that the intervals are wider than they "
        "would be for the same targets and points."
    )
    heading = Paragraph(f"A: {_size(compared.a)}\nB: {_size(compared.b)}\n{pairing}", "verbatim")
    changed = compared.configuration
    if changed is None:
        configuration = "At least one of the two has no configuration to compare."
    elif not changed:
        configuration = "The configurations do not differ in anything that changes a score."
    else:
        configuration = "\n".join(["What differs, from A to B:", *(f"  {line}" for line in changed)])
    return [heading, compared_table(compared), Paragraph(configuration, "verbatim"), Paragraph(runs_verdict(compared))]


def compared_table(compared: Compared) -> Table:
    """One row per attack: the AUC of both runs, and B minus A."""
    rates, fewest = compared.rates, min(compared.a.non_members, compared.b.non_members)

    direct = [name for name, entry in compared.attacks.items() if entry.direct_access]
    names = [name for name in compared.attacks if name not in direct] + direct
    entries = [compared.attacks[name] for name in names]
    changes = [entry.difference for entry in entries]
    # The star has a place of its own, so that the intervals stand below one another.
    aucs = [Cell(f"{difference(change.auc):7}", [difference_interval(change.auc)]) for change in changes]
    head = f"AUC of B − A\n[{compared.evaluation.percent} interval]"
    columns = [
        Column("Attack", names, is_text=True),
        Column("AUC\nof A", [f"{entry.a.auc:.3f}" for entry in entries]),
        Column("AUC\nof B", [f"{entry.b.auc:.3f}" for entry in entries]),
        Column(head, aucs, detailed=True, notes=["* the interval excludes 0"]),
    ]
    for place, rate in enumerate(rates):
        found = [change.tpr_at_fpr[rate] for change in changes]
        notes = ["TPR: B − A in percentage points"]
        if not all(change.resolvable for change in found):
            notes.append(f"{NOT_RESOLVABLE} not resolvable with {fewest:,} non-members")
        # The highest false positive rates say least.
        cells = [tpr_difference(change) for change in found]
        columns.append(Column(tpr_label_short(rate), cells, spared=len(rates) - place, notes=notes))
    return Table(
        columns,
        main=compared.headline,
        breaks=[len(names) - len(direct)],
        remark="direct access",
        elsewhere="the file of --json",
    )


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
