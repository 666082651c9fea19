"""How well scores tell members from non-members, and how certain that is.

All scores of all targets are pooled without rescaling: one threshold for all, as an adversary would have. Rows are
not independent, since targets share points and shadows share training data; the intervals therefore resample targets
and points, both with replacement (the pigeonhole bootstrap, Owen 2007), not pooled rows. That bootstrap counts what
rows have of their own three times; `Resamples` takes the excess out. See ``docs/statistics.md``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmi import _core
from tmi.errors import TmiError
from tmi.metrics.accuracy import held_out_accuracy
from tmi.metrics.bands import resolved_rates, simultaneous_band
from tmi.metrics.bootstrap import USUAL, Bootstrap, Resamples
from tmi.metrics.estimate import LEAST_FALSE_POSITIVES, Estimate, resolves

CURVE_POINTS = 120


@dataclass(frozen=True)
class Curve:
    """A ROC curve on fixed false positive rates.

    Attributes:
        fpr: the grid, from below what the sample resolves to 1.
        tpr: the true positive rate at each.
        low: lower ends of the intervals, each by itself.
        high: their upper ends.
        band_low: lower edge of the band that holds the whole curve at once.
        band_high: its upper edge.
    """

    fpr: list[float]
    tpr: list[float]
    low: list[float]
    high: list[float]
    band_low: list[float]
    band_high: list[float]


@dataclass(frozen=True)
class Judgement:
    """How well an attack's scores tell members from non-members.

    Attributes:
        auc: area under the ROC curve; 0.5 = coin flip.
        balanced_accuracy: ``1 - (FPR + FNR) / 2`` at thresholds that were chosen on other points.
        tpr_at_fpr: true positive rate at each false positive rate, stepwise: the threshold with the most true
            positives whose false positive rate is not above it.
        roc: the curve.
        drawn: the AUC, the best balanced accuracy and these rates on the resamples, for `differences.compare_to`.
    """

    auc: Estimate
    balanced_accuracy: Estimate
    tpr_at_fpr: dict[str, Estimate]
    roc: Curve
    drawn: Resamples = field(repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries and lists, as in ``results.json``."""
        return {name: figure for name, figure in asdict(self).items() if name != "drawn"}


def judge(
    scores: NDArray[np.float64],
    labels: NDArray[np.bool_],
    false_positive_rates: Sequence[float],
    bootstrap: Bootstrap = USUAL,
) -> Judgement:
    """Judge scores against the truth.

    Args:
        scores: float64 ``[targets, points]``, higher = member.
        labels: bool ``[targets, points]``.
        false_positive_rates: where the true positive rate is reported, in (0, 1).
        bootstrap: behind the intervals, see `Resamples.intervals`, and the band.

    Raises:
        TmiError: all labels are equal.
    """
    non_members = int((~labels).sum())
    if non_members in (0, labels.size):
        raise TmiError(
            f"membership holds {labels.size - non_members} members and {non_members} non-members among "
            "the targets' points, expected both"
        )
    members = labels.size - non_members
    grid = _curve_grid(non_members)
    rates = np.concatenate([np.asarray(false_positive_rates, dtype=np.float64), grid])
    estimates = _core.roc_metrics(scores, labels, rates, threads=bootstrap.threads)
    drawn = bootstrap.draw(scores, labels, rates)
    rows = np.array([min(members, non_members), members, *[members] * len(rates)], dtype=np.float64)
    # Nobody asks for p-values on the grid, which ends at 1.
    chance = np.array([0.5, 0.5, *np.minimum(rates, 0.5)])
    low, high, p_values = drawn.intervals(estimates, rows, chance, bootstrap.confidence)

    def estimate(index: int, resolvable: bool = True) -> Estimate:
        return Estimate(
            float(estimates[index]), float(low[index]), float(high[index]), resolvable, float(p_values[index])
        )

    first_of_grid = 2 + len(false_positive_rates)
    resolved = resolved_rates(grid, estimates[first_of_grid:], members, non_members)
    samples = np.clip(drawn.calibrated(estimates, bootstrap.confidence), 0, 1)
    band_low, band_high = simultaneous_band(samples[:, first_of_grid:], resolved, bootstrap.confidence)
    return Judgement(
        auc=estimate(0),
        balanced_accuracy=held_out_accuracy(scores, labels, bootstrap.seed).interval(bootstrap.confidence),
        tpr_at_fpr={
            f"{rate:g}": estimate(2 + index, resolves(rate, non_members))
            for index, rate in enumerate(false_positive_rates)
        },
        roc=Curve(
            grid.tolist(),
            estimates[first_of_grid:].tolist(),
            low[first_of_grid:].tolist(),
            high[first_of_grid:].tolist(),
            band_low.tolist(),
            band_high.tolist(),
        ),
        drawn=drawn.first(first_of_grid),
    )


def point_aucs(scores: NDArray[np.float64], labels: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The AUC of every point alone, over the targets.

    Args:
        scores: float64 ``[targets, points]``.
        labels: bool ``[targets, points]``.

    Returns:
        float64 ``[points]``; NaN where all targets or none have the point.
    """
    members = labels.sum(axis=0)
    others = len(labels) - members
    wins = np.zeros(labels.shape[1])
    for row, is_member in zip(scores, labels, strict=True):
        beaten = (scores < row) + 0.5 * (scores == row)
        wins += is_member * np.where(labels, 0.0, beaten).sum(axis=0)
    with np.errstate(invalid="ignore"):
        return np.where(members * others > 0, wins / (members * others), np.nan)


def resolution(rates: Sequence[float], labels: NDArray[np.bool_]) -> dict[str, dict[str, Any]]:
    """Which false positive rates the sample resolves, and how many challenge points the others would take.

    A rate means something from where it stands for about ten non-members.

    Args:
        rates: false positive rates, in (0, 1).
        labels: bool ``[targets, points]``.

    Returns:
        By rate, as in ``"0.001"``: ``resolvable``, and ``points_needed``, the challenge points with which the same
        targets, at the same share of non-members, would resolve it.

    Raises:
        TmiError: there are no non-members.
    """
    non_members = int((~labels).sum())
    if non_members == 0:
        raise TmiError("labels hold no non-members, expected some: no false positive rate can be measured")
    points = labels.shape[1]
    return {
        f"{rate:g}": {
            "resolvable": resolves(rate, non_members),
            # Rounding must not ask for a point more than there are.
            "points_needed": math.ceil((LEAST_FALSE_POSITIVES - 0.5) * points / (rate * non_members) * (1 - 1e-9)),
        }
        for rate in rates
    }


def _curve_grid(non_members: int) -> NDArray[np.float64]:
    """False positive rates from below the smallest that can be resolved to 1, evenly spaced in the logarithm."""
    return np.geomspace(max(1e-5, 0.5 / non_members), 1, CURVE_POINTS)


BINS = 40


# Between these percentiles of all scores the bins are of equal width; the outer bins take what lies beyond.
SHOWN = (0.5, 99.5)


def score_histogram(scores: NDArray[np.float64], labels: NDArray[np.bool_]) -> dict[str, Any]:
    """Counts of members and of non-members in bins of the score.

    Args:
        scores: float64 of any shape, without NaN; infinities are legal and fall into the outer bins.
        labels: bool of the same shape.

    Returns:
        ``edges`` of the bins, one more than there are bins, and the counts ``members`` and ``non_members``, whose sums
        are the numbers of either.
    """
    finite = scores[np.isfinite(scores)]
    low, high = np.percentile(finite, SHOWN) if len(finite) else (0.0, 0.0)
    if np.spacing(max(abs(low), abs(high))) * BINS >= high - low:
        # All scores alike, or nearly: bins must still have a width that floats can tell.
        margin = max(0.5, float(np.spacing(max(abs(low), abs(high))) * BINS))
        low, high = low - margin, high + margin
    edges = np.linspace(low, high, BINS + 1)
    bins = np.searchsorted(edges[1:-1], scores, side="right")
    return {
        "edges": edges.tolist(),
        "members": np.bincount(bins[labels], minlength=BINS).tolist(),
        "non_members": np.bincount(bins[~labels], minlength=BINS).tolist(),
    }
