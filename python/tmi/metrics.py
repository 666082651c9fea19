"""How well scores tell members from non-members, and how certain that is.

All scores of all targets are pooled without rescaling: one threshold for all, as an adversary would have. Rows are
not independent, since targets share points and shadows share training data; the intervals therefore resample targets
and points, both with replacement (the pigeonhole bootstrap, Owen 2007), not pooled rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmi import _core
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
    """A ROC curve on fixed false positive rates, with a pointwise band."""

    fpr: list[float]
    tpr: list[float]
    low: list[float]
    high: list[float]


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
        confidence: of the intervals, which are percentiles of the resamples.
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
    samples = resampled(scores, labels, rates, resamples=resamples, seed=seed, threads=threads)
    low, high = percentile_interval(samples, confidence)

    def estimate(index: int, resolvable: bool = True) -> Estimate:
        return Estimate(float(estimates[index]), float(low[index]), float(high[index]), resolvable)

    first_of_grid = 2 + len(false_positive_rates)
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
