"""What to do about it: what every measure that was tried bought, and what was not tried."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from tmi.metrics.estimate import Estimate
from tmi.report.blocks import Block, Column, Material, Media, Paragraph, Section, Table
from tmi.report.claims import hint
from tmi.report.finetunings import Finetuning, any_private, epsilon_text, finetunings, trained
from tmi.report.results import Results
from tmi.report.tables import Figures
from tmi.report.wording import CHANCE_AUC, counted, difference, difference_interval, rate_percent, seen_in

LEAKS = (
    "Whoever can query a model like these can test who was in its data. Where that alone is sensitive, as of patients "
    "or customers, do not let it be queried freely as it is."
)
# Rows that leave the first page its one sheet.
MOST_ROWS = 8


@dataclass(frozen=True)
class Measure:
    """Something that was tried beside what the verdict is about.

    Attributes:
        name: what it is, as something to do.
        auc: of the attack of the verdict with it.
        change: minus the AUC of what the verdict is about; with noise, minus that of the same recipe without.
        paired: whether the interval is from the same resamples of both.
    """

    name: str
    auc: Estimate
    change: Estimate
    paired: bool = True


def section(material: Material) -> Section | None:
    """What follows from the verdict, what measures bought, and which were not tried."""
    results = material.results
    mine, theirs = measures(results), adversaries(results)
    follows = _follows(results)
    untried = _untried(results) if follows == LEAKS else ""
    blocks: list[Block] = [Paragraph(follows)] if follows else []
    if mine or theirs:
        blocks.append(_table(results, mine, theirs))
    if untried:
        blocks.append(Paragraph(untried))
    return Section("What to do about it", blocks, Media.DOCUMENTS, first_page=True) if blocks else None


def measures(results: Results) -> list[Measure]:
    """What whoever publishes a model can choose, what helps most first."""
    found: list[Measure] = []
    if results.variants is not None:
        own, *others = finetunings(results)
        found += [Measure(_finetuned(row, own), row.auc, row.difference.auc) for row in others if row.difference]
    for name, figures in list((results.views or {}).items())[1:]:
        found += _compared(results, f"Show {seen_in(results, name)} ({name})", figures)
    together = results.together.figures if results.together is not None else {}
    for number, figures in list(together.items())[1:]:
        found += _compared(results, f"Publish {number} finetunings of the same models", figures)
    return sorted(found, key=lambda measure: measure.change.estimate)


def adversaries(results: Results) -> list[Measure]:
    """What nobody but the adversary can choose: how many shadow models to train."""
    rows, everyone = results.shadows or {}, results.models.count - 1
    return [
        measure
        for number, figures in rows.items()
        if int(number) != everyone
        for measure in _compared(results, f"{counted(int(number), 'shadow model', 'shadow models')}", figures)
    ]


def _compared(results: Results, name: str, by_attack: dict[str, Figures]) -> list[Measure]:
    """What the attack of the verdict finds there; nothing where it was not run."""
    if (figures := by_attack.get(results.headline)) is None:
        return []
    if figures.difference is not None:
        return [Measure(name, figures.auc, figures.difference.auc)]
    # Results of earlier versions: as if the two were independent, which makes the interval too wide.
    here, main = figures.auc, results.main.auc
    change = here.estimate - main.estimate
    low = change - math.hypot(here.estimate - here.low, main.high - main.estimate)
    high = change + math.hypot(here.high - here.estimate, main.estimate - main.low)
    return [Measure(name, here, Estimate(change, low, high), paired=False)]


def _finetuned(row: Finetuning, own: Finetuning) -> str:
    """A finetuning as something to do: ``Finetune everything (full)``."""
    parts = []
    if row.row.transfer != own.row.transfer:
        parts.append(trained(row.row.transfer))
    if row.task != own.task:
        parts.append(f"on {row.task}")
    if row.row.points_per_model != own.row.points_per_model:
        parts.append(f"on {row.row.points_per_model:,} points")
    if row.epsilon is not None:
        parts.append(
            f"with differential privacy, ε = {epsilon_text(row.epsilon)}" if row.noisy else "with its clipping alone"
        )
    return f"Finetune {', '.join(parts)} ({row.name})" if parts else f"Finetune as in {row.name}"


def _table(results: Results, mine: list[Measure], theirs: list[Measure]) -> Table:
    shown = [*mine[:MOST_ROWS], *theirs[: max(0, MOST_ROWS - len(mine))]]
    columns = [
        Column("What was tried", [measure.name for measure in shown]),
        Column("AUC", [f"{measure.auc.estimate:.3f}" for measure in shown], spared=1),
        Column("What it bought", [_bought(measure.change) for measure in shown]),
        Column(f"{results.confidence} interval", [difference_interval(measure.change) for measure in shown]),
    ]
    notes = [
        f"Changes of the AUC, which is {results.main.auc.estimate:.3f} without any of it ({CHANCE_AUC} is guessing): "
        f"below zero, a measure helps{'' if all(m.paired for m in shown) else ' (not paired: intervals are too wide)'}."
    ]
    if any_private(results):
        notes.append("Differential privacy is compared with the same recipe without noise.")
    if left_out := len(mine) + len(theirs) - len(shown):
        notes.append(f"{left_out} more are below.")
    number = min(len(mine), MOST_ROWS)
    table = Table(columns, notes=[Paragraph(" ".join(notes))], has_words=True)
    if len(shown) == number:
        return table
    apart = "Out of your hands, an adversary who can afford fewer:"
    return replace(table, breaks=[number], apart=apart, remark="out of your hands")


def _bought(change: Estimate) -> str:
    return "no difference shown" if change.low <= 0 <= change.high else difference(change).rstrip("*")


def _follows(results: Results) -> str:
    """What the verdict asks for."""
    auc = results.main.auc
    if results.models.given is not None or results.main.direct_access:
        return ""
    if auc.high < CHANCE_AUC:
        return "Check the membership and the scores before anything else."
    if auc.low <= CHANCE_AUC:
        if hint(results) is not None:
            return "Another figure suggests a leak (see the results): measure it with more models before you decide."
        return "This audit asks for no measure. It is no clearance either: see what was not measured."
    rate = results.representative_rate
    if (found := results.main.tpr_at_fpr[rate]).resolvable and found.low <= float(rate):
        return (
            f"Something leaks, but too little to name anybody: at {rate_percent(rate)} false positives no more members "
            "than by guessing were shown to be found. This audit asks for no measure; a better attack may find more."
        )
    return LEAKS


def _untried(results: Results) -> str:
    """Which measures this audit could have tried; empty where all were."""
    ways = {
        "to show less of an answer (views)": results.views is None,
        "to finetune otherwise (variants)": results.kind == "run" and results.variants is None,
    }
    untried = [way for way, is_untried in ways.items() if is_untried]
    return f"Not tried here: {', and '.join(untried)}." if untried else ""
