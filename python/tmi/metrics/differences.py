"""Is one attack better than another? Differences between attacks on the same targets and points.

Two attacks on the same models succeed and fail together, so the difference between them is known far better than
either figure: an interval for it comes from the same resamples of targets and points under both attacks. Two separate
intervals that overlap do not show that two attacks are equally good.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmi import _core
from tmi.errors import TmiError
from tmi.metrics.accuracy import accuracy_difference, held_out_accuracy
from tmi.metrics.bootstrap import USUAL, Bootstrap, Resamples, percentile_interval
from tmi.metrics.estimate import Estimate, resolves


@dataclass(frozen=True)
class Comparison:
    """One attack's figures minus another's; see `metrics.Judgement` for the figures."""

    auc: Estimate
    balanced_accuracy: Estimate
    tpr_at_fpr: dict[str, Estimate]

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries, as in ``results.json``."""
        return asdict(self)


def compare(
    scores_a: NDArray[np.float64],
    scores_b: NDArray[np.float64],
    labels: NDArray[np.bool_],
    false_positive_rates: Sequence[float],
    bootstrap: Bootstrap = USUAL,
) -> Comparison:
    """Attack A minus attack B, with intervals from paired resamples.

    Args:
        scores_a: float64 ``[targets, points]``, higher = member.
        scores_b: the same targets and points under the other attack.
        labels: bool ``[targets, points]``.
        false_positive_rates: where true positive rates are compared, in (0, 1).
        bootstrap: behind the intervals, which are percentiles of the calibrated differences; the same resamples of
            targets and points for both attacks.

    Raises:
        TmiError: the arrays differ in shape, or all labels are equal.
    """
    return compare_to("a", {"a": scores_a, "b": scores_b}, labels, false_positive_rates, bootstrap)["b"]


def compare_to(
    base: str,
    scores: Mapping[str, NDArray[np.float64]],
    labels: NDArray[np.bool_],
    false_positive_rates: Sequence[float],
    bootstrap: Bootstrap = USUAL,
    drawn: Mapping[str, Resamples] | None = None,
) -> dict[str, Comparison]:
    """The attack ``base`` minus every other of ``scores``, by the other's name; see `compare`.

    What was ``drawn`` of an attack when it was judged at the same rates with the same bootstrap is not drawn again.
    """
    known = drawn or {}
    non_members = int((~labels).sum())
    if non_members in (0, labels.size):
        raise TmiError("all labels are equal, expected members and non-members")
    rates = np.asarray(false_positive_rates, dtype=np.float64)

    def figures(name: str) -> tuple[NDArray[np.float64], Resamples]:
        if scores[name].shape != labels.shape:
            raise TmiError(f"scores of {name!r} have shape {scores[name].shape}, expected {labels.shape} as the labels")
        estimates = _core.roc_metrics(scores[name], labels, rates, threads=bootstrap.threads)
        return estimates, known[name] if name in known else bootstrap.draw(scores[name], labels, rates)

    base_estimates, base_drawn = figures(base)
    base_accuracy = held_out_accuracy(scores[base], labels, bootstrap.seed)
    compared = {}
    for name in scores:
        if name != base:
            estimates, other_drawn = figures(name)
            differences = base_estimates - estimates
            samples = (base_drawn - other_drawn).calibrated(differences, bootstrap.confidence)
            ends = percentile_interval(samples, bootstrap.confidence)
            accuracy = accuracy_difference(
                base_accuracy, held_out_accuracy(scores[name], labels, bootstrap.seed), bootstrap.confidence
            )
            compared[name] = comparison_of(differences, ends, accuracy, rates, non_members)
    return compared


def comparison_results(base: str, compared: Mapping[str, Comparison]) -> dict[str, Any]:
    """The table ``comparisons`` of ``results.json``: whom the others are compared ``against``, then one entry each."""
    return {"against": base} | {name: comparison.to_dict() for name, comparison in compared.items()}


def comparison_of(
    differences: NDArray[np.float64],
    ends: tuple[NDArray[np.float64], NDArray[np.float64]],
    accuracy: Estimate,
    rates: NDArray[np.float64],
    non_members: int,
) -> Comparison:
    """Differences ``[2 + rates]`` and the ends of their intervals by the names of their figures.

    Args:
        differences: of the AUC, the best balanced accuracy (which is not used) and the true positive rates.
        ends: the lower and the upper ones.
        accuracy: the difference of the balanced accuracies.
        rates: float64 ``[rates]``, false positive rates.
        non_members: decisions on non-members, which say what rates are resolvable.
    """
    low, high = ends

    def estimate(index: int, resolvable: bool = True) -> Estimate:
        return Estimate(float(differences[index]), float(low[index]), float(high[index]), resolvable)

    return Comparison(
        auc=estimate(0),
        balanced_accuracy=accuracy,
        tpr_at_fpr={
            f"{rate:g}": estimate(2 + index, resolves(rate, non_members)) for index, rate in enumerate(rates.tolist())
        },
    )
