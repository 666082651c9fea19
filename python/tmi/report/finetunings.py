"""The finetunings of a run, its own and its variants, in the order and words in which they are shown."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tmi.metrics.estimate import Estimate
from tmi.report.results import Results
from tmi.report.tables import Private, VariantDifference, VariantRow
from tmi.report.wording import BASELINE_ATTACK

PRIVACY_NOTE = (
    "Differentially private finetuning bounds what leaks about the finetuning data; it promises nothing for the "
    "pretraining data."
)
COMPARISON_NOTE = (
    "Compare a private finetuning with the one without noise (ε = ∞): the same clipping and sampling, so that only the "
    "noise differs."
)


@dataclass(frozen=True)
class Finetuning:
    """One way in which the pretrained models were finetuned, and what it leaks.

    Attributes:
        name: that of the run itself or of a variant.
        row: what is known about it.
        auc: of the attack by which the finetunings are compared.
        tpr: of the same attack at the representative false positive rate.
        baseline: AUC of the paper's baseline; None where it was not run or is itself that attack.
        difference: to the finetuning that it is compared with; None for the run itself.
    """

    name: str
    row: VariantRow
    auc: Estimate
    tpr: Estimate
    baseline: Estimate | None
    difference: VariantDifference | None

    @property
    def epsilon(self) -> float | None:
        """Of the finetuning points; infinite without noise, None where it is not private."""
        return epsilon_of(self.row.private)

    @property
    def noisy(self) -> bool:
        """Whether it has a finite epsilon."""
        return self.epsilon is not None and math.isfinite(self.epsilon)

    @property
    def task(self) -> str:
        """What it is on: ``10 classes of digits``, or ``texts of pydoc:topics`` where models write."""
        writes = self.row.downstream_test_perplexity is not None
        return f"{'texts' if writes else f'{self.row.classes} classes'} of {self.row.source}"

    @property
    def control(self) -> str:
        """The finetuning without noise that it is compared with, or that it is."""
        return self.difference.against if self.noisy and self.difference else self.name


def finetunings(results: Results) -> list[Finetuning]:
    """The run itself, then what is not private, then what is, every control before those that it is the control of.

    Args:
        results: with ``variants``.
    """
    variants, rate = results.variants, results.representative_rate
    assert variants is not None
    found = []
    for name, row in variants.rows.items():
        attack = row.attacks[variants.attack]
        baseline = row.attacks.get(BASELINE_ATTACK) if variants.attack != BASELINE_ATTACK else None
        figures = (attack.auc, attack.tpr_at_fpr[rate], baseline.auc if baseline else None)
        found.append(Finetuning(name, row, *figures, variants.differences.get(name)))
    own, *others = found
    controls = [each.control for each in others]

    def place(each: Finetuning) -> tuple[float, ...]:
        return (0,) if each.epsilon is None else (1, controls.index(each.control), -each.epsilon)

    return [own, *sorted(others, key=place)]


def any_private(results: Results) -> bool:
    """Whether one of the finetunings is private, with noise or as a control without."""
    if results.data.downstream is not None and results.data.downstream.private is not None:
        return True
    return results.variants is not None and any(row.private is not None for row in results.variants.rows.values())


def epsilon_of(private: Private | None) -> float | None:
    """Infinite without noise, None where nothing is private."""
    return None if private is None else math.inf if private.epsilon is None else private.epsilon


def epsilon_text(epsilon: float | None) -> str:
    """``8``, ``0.5``, ``∞`` without noise, a dash where it is not private.

    A bound is rounded up, to two digits, whole numbers from ten.
    """
    if epsilon is None:
        return "–"
    if math.isinf(epsilon):
        return "∞"
    decimals = max(0, 1 - math.floor(math.log10(epsilon)))
    # Without a hair of tolerance, 0.35 * 100 = 35.00000000000001 would become 0.36.
    return f"{math.ceil(epsilon * 10**decimals - 1e-9) / 10**decimals:g}"


def trained(transfer: str) -> str:
    """What a transfer setting trains, in words; the head of a classifier is new and always among it."""
    if transfer.startswith("last-"):
        blocks = transfer.removeprefix("last-")
        return "last block" if blocks == "1" else f"last {blocks} blocks"
    # The function of the user's own recipe stands for itself.
    return {"head": "head only", "full": "everything", "lora": "LoRA adapters"}.get(transfer, transfer)
