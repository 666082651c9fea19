"""How well scores tell members from non-members, and how certain that is.

All scores of all targets are pooled without rescaling: one threshold for all, as an adversary would have. Rows are
not independent, since targets share points and shadows share training data; the intervals therefore resample targets
and points, both with replacement (the pigeonhole bootstrap, Owen 2007), not pooled rows. That bootstrap counts what
rows have of their own three times; `Resamples` takes the excess out. See ``docs/statistics.md``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from tmi import _core
from tmi.bands import resolved_rates, simultaneous_band
from tmi.errors import TmiError
from tmi.seeding import stream

# Resamples whose weights are in memory at a time.
RESAMPLES_AT_ONCE = 256
CURVE_POINTS = 120


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval.

    Attributes:
        estimate: on all scores.
        low: lower end of the interval.
        high: upper end of the interval.
        resolvable: False if the sample is too small for the figure to mean anything.
    """

    estimate: float
    low: float
    high: float
    resolvable: bool = True


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
        balanced_accuracy: the best ``1 - (FPR + FNR) / 2`` over thresholds, which is above 0.5 even by chance.
        tpr_at_fpr: true positive rate at each false positive rate, stepwise: the threshold with the most true
            positives whose false positive rate is not above it.
        roc: the curve.
    """

    auc: Estimate
    balanced_accuracy: Estimate
    tpr_at_fpr: dict[str, Estimate]
    roc: Curve

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries and lists, as in ``results.json``."""
        return asdict(self)


@dataclass(frozen=True)
class Resamples:
    """Metrics on resamples of targets, of points, and of both at once.

    Attributes:
        both: float64 ``[resamples, metrics]``, targets and points drawn (the pigeonhole bootstrap).
        targets: the same shape, the same draws of targets at the points as they are.
        points: the same shape, the same draws of points for the targets as they are.
        shape: number of targets and of points.
    """

    both: NDArray[np.float64]
    targets: NDArray[np.float64]
    points: NDArray[np.float64]
    shape: tuple[int, int]

    def __sub__(self, other: Resamples) -> Resamples:
        """Of the difference of two attacks, in the same resamples."""
        return Resamples(self.both - other.both, self.targets - other.targets, self.points - other.points, self.shape)

    def calibrated(self, estimates: NDArray[np.float64], confidence: float) -> NDArray[np.float64]:
        """The resamples of ``both``, drawn together around the estimates until their spread is the right one.

        With variances ``T``, ``P`` and ``E`` of what targets, points and single rows contribute, resampled targets
        vary by ``T + E``, resampled points by ``P + E``, and both at once by ``T + P + 3 E`` (Owen 2007, section 4),
        where ``T + P + E`` is right. It follows as ``2 (V_targets + V_points) - V_both``, and is kept between the
        larger one-way variance and ``V_both``. Few targets make their own variance uncertain: the quantile of Student's
        t with Satterthwaite's degrees of freedom replaces that of the normal.

        Args:
            estimates: float64 ``[metrics]``, on all scores.
            confidence: of the interval that is wanted, in (0, 1).

        Returns:
            float64 ``[resamples, metrics]``.
        """
        both, targets, points = (samples.var(axis=0, ddof=1) for samples in (self.both, self.targets, self.points))
        variance = np.clip(2 * (targets + points) - both, np.maximum(targets, points), np.maximum(both, 1e-300))
        # A side of one thing has no variance, and no degrees of freedom to divide by.
        per_degree = sum(side**2 / max(size - 1, 1) for side, size in zip((targets, points), self.shape, strict=True))
        degrees = np.maximum(variance**2 / np.maximum(per_degree, 1e-300), 1)
        tail = (1 + confidence) / 2
        widening = stats.t.ppf(tail, degrees) / stats.norm.ppf(tail)
        scale = np.where(both > 0, widening * np.sqrt(variance / np.where(both > 0, both, 1)), 1.0)
        drawn: NDArray[np.float64] = estimates + scale * (self.both - estimates)
        return drawn


def judge(
    scores: NDArray[np.float64],
    labels: NDArray[np.bool_],
    false_positive_rates: Sequence[float],
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    threads: int = 1,
) -> Judgement:
    """Judge scores against the truth.

    Args:
        scores: float64 ``[targets, points]``, higher = member.
        labels: bool ``[targets, points]``.
        false_positive_rates: where the true positive rate is reported, in (0, 1).
        resamples: bootstrap resamples behind the intervals.
        confidence: of the intervals, which are percentiles of the calibrated resamples.
        seed: of the resamples.
        threads: for the kernels; never changes a figure.

    Raises:
        TmiError: all labels are equal.
    """
    non_members = int((~labels).sum())
    if non_members in (0, labels.size):
        raise TmiError(
            f"membership holds {labels.size - non_members} members and {non_members} non-members among "
            "the targets' points, expected both"
        )
    grid = _curve_grid(non_members)
    rates = np.concatenate([np.asarray(false_positive_rates, dtype=np.float64), grid])
    estimates = _core.roc_metrics(scores, labels, rates, threads=threads)
    drawn = crossed_resamples(scores, labels, rates, resamples=resamples, seed=seed, threads=threads)
    samples = np.clip(drawn.calibrated(estimates, confidence), 0, 1)
    low, high = percentile_interval(samples, confidence)

    def estimate(index: int, resolvable: bool = True) -> Estimate:
        return Estimate(float(estimates[index]), float(low[index]), float(high[index]), resolvable)

    first_of_grid = 2 + len(false_positive_rates)
    resolved = resolved_rates(grid, estimates[first_of_grid:], labels.size - non_members, non_members)
    band_low, band_high = simultaneous_band(samples[:, first_of_grid:], resolved, confidence)
    return Judgement(
        auc=estimate(0),
        balanced_accuracy=estimate(1),
        tpr_at_fpr={
            f"{rate:g}": estimate(2 + index, rate * non_members >= 1) for index, rate in enumerate(false_positive_rates)
        },
        roc=Curve(
            grid.tolist(),
            estimates[first_of_grid:].tolist(),
            low[first_of_grid:].tolist(),
            high[first_of_grid:].tolist(),
            band_low.tolist(),
            band_high.tolist(),
        ),
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

    A rate means something from where it stands for one non-member at least.

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
            "resolvable": bool(rate * non_members >= 1),
            # Rounding must not ask for a point more than there are.
            "points_needed": math.ceil(points / (rate * non_members) * (1 - 1e-12)),
        }
        for rate in rates
    }


def resampled(
    scores: NDArray[np.float64],
    labels: NDArray[np.bool_],
    rates: NDArray[np.float64],
    *,
    resamples: int,
    seed: int,
    threads: int = 1,
) -> NDArray[np.float64]:
    """The metrics on resampled targets and points.

    Scores of the same shape meet the same resamples for the same ``seed``, so that rows of two attacks are pairs.

    Args:
        scores: float64 ``[targets, points]``.
        labels: bool ``[targets, points]``.
        rates: float64 ``[rates]``, false positive rates.
        resamples: how many.
        seed: of the resamples.
        threads: for the kernels.

    Returns:
        float64 ``[resamples, 2 + rates]``: AUC, balanced accuracy, true positive rates.
    """
    return np.concatenate(
        [
            _core.roc_resample(scores, labels, target_weights, point_weights, rates, threads=threads)
            for target_weights, point_weights in _pigeonhole_weights(scores.shape, resamples, seed)
        ]
    )


def crossed_resamples(
    scores: NDArray[np.float64],
    labels: NDArray[np.bool_],
    rates: NDArray[np.float64],
    *,
    resamples: int,
    seed: int,
    threads: int = 1,
) -> Resamples:
    """The metrics on resampled targets, points and both, with the draws of `resampled`; arguments as there."""
    parts = []
    for target_weights, point_weights in _pigeonhole_weights(scores.shape, resamples, seed):
        all_targets, all_points = np.ones_like(target_weights), np.ones_like(point_weights)
        weights = [(target_weights, point_weights), (target_weights, all_points), (all_targets, point_weights)]
        parts.append([_core.roc_resample(scores, labels, *pair, rates, threads=threads) for pair in weights])
    both, targets, points = (np.concatenate(samples) for samples in zip(*parts, strict=True))
    return Resamples(both, targets, points, (scores.shape[0], scores.shape[1]))


def percentile_interval(
    samples: NDArray[np.float64], confidence: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper ends of the interval that holds the middle ``confidence`` of the samples of each column."""
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(samples, [tail, 100 - tail], axis=0)
    return low, high


def _pigeonhole_weights(
    shape: tuple[int, ...], resamples: int, seed: int
) -> Iterator[tuple[NDArray[np.uint16], NDArray[np.uint16]]]:
    """How often each target and each point is drawn, ``[resamples, targets]`` and ``[resamples, points]``, in parts."""
    random = stream(seed, "bootstrap")
    for start in range(0, resamples, RESAMPLES_AT_ONCE):
        number = min(RESAMPLES_AT_ONCE, resamples - start)
        targets, points = (_draws(random, number, axis) for axis in shape)
        yield targets, points


def _draws(random: np.random.Generator, resamples: int, size: int) -> NDArray[np.uint16]:
    """How often each of ``size`` things is drawn when ``size`` are drawn with replacement, ``[resamples, size]``."""
    return random.multinomial(size, np.full(size, 1 / size), size=resamples).astype(np.uint16)


def _curve_grid(non_members: int) -> NDArray[np.float64]:
    """False positive rates from below the smallest that can be resolved to 1, evenly spaced in the logarithm."""
    return np.geomspace(max(1e-5, 0.5 / non_members), 1, CURVE_POINTS)
