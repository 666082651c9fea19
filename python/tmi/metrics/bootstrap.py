"""Intervals for figures of several targets: targets and points are both drawn with replacement."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special

from tmi import _core
from tmi.system.seeding import stream

# Resamples whose weights are in memory at a time.
RESAMPLES_AT_ONCE = 256
# Weights, of 2 bytes, that are kept for the next attack: all attacks on the same points meet the same ones.
KEPT_WEIGHTS = 4_000_000


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

    def first(self, metrics: int) -> Resamples:
        """Of so many metrics, copies that keep nothing of the others in memory."""
        both, targets, points = (each[:, :metrics].copy() for each in (self.both, self.targets, self.points))
        return Resamples(both, targets, points, self.shape)

    def calibrated(self, estimates: NDArray[np.float64], confidence: float) -> NDArray[np.float64]:
        """The resamples of ``both``, drawn together around the estimates until their spread is the right one.

        Args:
            estimates: float64 ``[metrics]``, on all scores.
            confidence: of the interval that is wanted, in (0, 1).

        Returns:
            float64 ``[resamples, metrics]``.
        """
        variance, degrees = self.variance()
        both = self.both.var(axis=0, ddof=1)
        tail = (1 + confidence) / 2
        widening = special.stdtrit(degrees, tail) / special.ndtri(tail)
        scale = np.where(both > 0, widening * np.sqrt(variance / np.where(both > 0, both, 1)), 1.0)
        drawn: NDArray[np.float64] = estimates + scale * (self.both - estimates)
        return drawn

    def variance(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The variance of every metric, and its degrees of freedom.

        With variances ``T``, ``P`` and ``E`` of what targets, points and single rows contribute, resampled targets
        vary by ``T + E``, resampled points by ``P + E``, and both at once by ``T + P + 3 E`` (Owen 2007, section 4),
        where ``T + P + E`` is right. It follows as ``2 (V_targets + V_points) - V_both``, and is kept between the
        larger one-way variance and ``V_both``. Means of n things that are drawn from themselves vary by (n - 1) / n of
        what they should, which matters for a handful of targets. Few targets also make their own variance uncertain:
        so much is told by Satterthwaite's degrees of freedom, for a quantile of Student's t.

        Returns:
            Both float64 ``[metrics]``.
        """
        sizes = np.array(self.shape, dtype=np.float64)
        # A side of one thing has no variance that could be seen.
        corrections = np.where(sizes > 1, sizes / np.maximum(sizes - 1, 1), 1.0)
        targets, points = (
            samples.var(axis=0, ddof=1) * correction
            for samples, correction in zip((self.targets, self.points), corrections, strict=True)
        )
        both = self.both.var(axis=0, ddof=1) * corrections.max()
        variance = np.clip(2 * (targets + points) - both, np.maximum(targets, points), np.maximum(both, 1e-300))
        return variance, degrees_of_freedom(variance, targets, points, self.shape)

    def intervals(
        self, estimates: NDArray[np.float64], rows: NDArray[np.float64], chance: NDArray[np.float64], confidence: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Intervals of shares on the scale of their logits, where they are symmetric, and p-values.

        ``logit(m) +- t s``, with the variance above of the logits of the resamples: near 1 this covers where
        percentiles do not. A share of so many rows is kept from 0 and 1 by half a row; at that distance, where
        resamples hardly differ, its variance is that of independent rows at least.

        Args:
            estimates: float64 ``[metrics]``, on all scores, in [0, 1].
            rows: float64 ``[metrics]``, of which each is a share.
            chance: float64 ``[metrics]``, what it would be without a leak.
            confidence: in (0, 1).

        Returns:
            Lower ends, upper ends, and one-sided p-values of being no better than chance, each float64 ``[metrics]``.
        """
        both, targets, points = (_logit(samples, rows) for samples in (self.both, self.targets, self.points))
        variance, degrees = Resamples(both, targets, points, self.shape).variance()
        inner = special.expit(_logit(estimates, rows))
        at_an_end = (estimates <= 0.5 / rows) | (estimates >= 1 - 0.5 / rows)
        least = np.where(at_an_end, 1 / (rows * inner * (1 - inner)), 0.0)
        variance, degrees = np.maximum(variance, least), np.where(variance < least, rows, degrees)
        return logit_interval(estimates, rows, chance, variance, degrees, confidence)


def degrees_of_freedom(
    variance: NDArray[np.float64], targets: NDArray[np.float64], points: NDArray[np.float64], shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Satterthwaite's, of a variance that rests on so many targets and points; see `Resamples.variance`."""
    # A side of one thing has no degrees of freedom to divide by, and no variance.
    per_degree = sum(side**2 / max(size - 1, 1) for side, size in zip((targets, points), shape, strict=True))
    degrees: NDArray[np.float64] = np.maximum(variance**2 / np.maximum(per_degree, 1e-300), 1)
    return degrees


def logit_interval(
    estimates: NDArray[np.float64],
    rows: NDArray[np.float64],
    chance: NDArray[np.float64],
    variance: NDArray[np.float64],
    degrees: NDArray[np.float64],
    confidence: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """See `Resamples.intervals`; the variance is that of the logit."""
    centre, error = _logit(estimates, rows), np.sqrt(variance)
    half = special.stdtrit(degrees, (1 + confidence) / 2) * error
    # A share of exactly 0 or 1 lies inside its own interval.
    low = np.minimum(special.expit(centre - half), estimates)
    high = np.maximum(special.expit(centre + half), estimates)
    statistic = (centre - special.logit(chance)) / np.maximum(error, 1e-300)
    # Scores that do not vary at all show nothing.
    p_values = np.where(
        error > 1e-12, special.stdtr(degrees, -statistic), np.where(centre > special.logit(chance), 0, 1)
    )
    return low, high, p_values


def _logit(shares: NDArray[np.float64], rows: NDArray[np.float64]) -> NDArray[np.float64]:
    logits: NDArray[np.float64] = special.logit(np.clip(shares, 0.5 / rows, 1 - 0.5 / rows))
    return logits


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are drawn.

    Attributes:
        resamples: of targets and points behind every interval.
        confidence: of every interval, in (0, 1).
        seed: of the resamples. Scores of the same shape meet the same ones, so that those of two attacks are pairs.
        threads: for the kernels; never changes a figure.
    """

    resamples: int = 1000
    confidence: float = 0.95
    seed: int = 0
    threads: int = 1

    def draw(self, scores: NDArray[np.float64], labels: NDArray[np.bool_], rates: NDArray[np.float64]) -> Resamples:
        """The AUC, the balanced accuracy and the true positive rates on resampled targets, points and both.

        Args:
            scores: float64 ``[targets, points]``.
            labels: bool ``[targets, points]``.
            rates: float64 ``[rates]``, false positive rates.
        """
        parts = []
        for target_weights, point_weights in _pigeonhole_weights(scores.shape, self.resamples, self.seed):
            all_targets, all_points = np.ones_like(target_weights), np.ones_like(point_weights)
            # In one call, which sorts the scores once.
            of_targets = np.concatenate([target_weights, target_weights, all_targets])
            of_points = np.concatenate([point_weights, all_points, point_weights])
            metrics = _core.roc_resample(scores, labels, of_targets, of_points, rates, threads=self.threads)
            parts.append(np.split(metrics, 3))
        both, targets, points = (np.concatenate(samples) for samples in zip(*parts, strict=True))
        return Resamples(both, targets, points, (scores.shape[0], scores.shape[1]))


# What is drawn where nobody asks for anything else.
USUAL = Bootstrap()


def percentile_interval(
    samples: NDArray[np.float64], confidence: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper ends of the interval that holds the middle ``confidence`` of the samples of each column."""
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(samples, [tail, 100 - tail], axis=0)
    return low, high


def _pigeonhole_weights(
    shape: tuple[int, ...], resamples: int, seed: int
) -> Iterable[tuple[NDArray[np.uint16], NDArray[np.uint16]]]:
    """How often each target and each point is drawn, ``[resamples, targets]`` and ``[resamples, points]``, in parts."""
    few = resamples * sum(shape) <= KEPT_WEIGHTS
    return _kept_weights(shape, resamples, seed) if few else _drawn_weights(shape, resamples, seed)


@lru_cache(maxsize=2)
def _kept_weights(
    shape: tuple[int, ...], resamples: int, seed: int
) -> tuple[tuple[NDArray[np.uint16], NDArray[np.uint16]], ...]:
    return tuple(_drawn_weights(shape, resamples, seed))


def _drawn_weights(
    shape: tuple[int, ...], resamples: int, seed: int
) -> Iterator[tuple[NDArray[np.uint16], NDArray[np.uint16]]]:
    random = stream(seed, "bootstrap")
    for start in range(0, resamples, RESAMPLES_AT_ONCE):
        number = min(RESAMPLES_AT_ONCE, resamples - start)
        targets, points = (_draws(random, number, axis) for axis in shape)
        yield targets, points


def _draws(random: np.random.Generator, resamples: int, size: int) -> NDArray[np.uint16]:
    """How often each of ``size`` things is drawn when ``size`` are drawn with replacement, ``[resamples, size]``."""
    return random.multinomial(size, np.full(size, 1 / size), size=resamples).astype(np.uint16)
