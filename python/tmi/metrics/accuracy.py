"""Balanced accuracy at a threshold that was chosen on other points.

The best accuracy over all thresholds of the same scores is above 0.5 even for noise, and no interval around it holds
the truth. An adversary has to fix the threshold beforehand, and so does this.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from tmi.metrics.bootstrap import degrees_of_freedom, logit_interval
from tmi.metrics.estimate import Estimate
from tmi.system.seeding import stream


@dataclass(frozen=True)
class HeldOutAccuracy:
    """A balanced accuracy and what it rests on.

    Attributes:
        estimate: the mean of the shares of members and of non-members that are recognised.
        influence: float64 ``[targets, points]``, what each row adds to the estimate beyond its expectation.
        rows: of the rarer kind.
        resolvable: False where a half of the points has one kind only, and the thresholds are those of the same scores.
    """

    estimate: float
    influence: NDArray[np.float64]
    rows: int
    resolvable: bool = True

    def interval(self, confidence: float) -> Estimate:
        """The accuracy with its interval on the scale of its logit, and the p-value of being no better than 0.5."""
        variance, degrees = clustered_variance(self.influence)
        inner = float(np.clip(self.estimate, 0.5 / self.rows, 1 - 0.5 / self.rows))
        of_logit = variance / (inner * (1 - inner)) ** 2
        # Nothing varies where all rows are recognised, or none.
        if inner != self.estimate:
            of_logit, degrees = 1 / (self.rows * inner * (1 - inner)), float(self.rows)
        figure, rows, chance, spread, freedom = np.array([[self.estimate], [self.rows], [0.5], [of_logit], [degrees]])
        low, high, p = logit_interval(figure, rows, chance, spread, freedom, confidence)
        return Estimate(self.estimate, float(low[0]), float(high[0]), self.resolvable, float(p[0]))


def held_out_accuracy(scores: NDArray[np.float64], labels: NDArray[np.bool_], seed: int = 0) -> HeldOutAccuracy:
    """The balanced accuracy with thresholds that the other half of the points chose.

    Args:
        scores: float64 ``[targets, points]``, higher = member.
        labels: bool ``[targets, points]``, with members and non-members.
        seed: of the halves.
    """
    order = stream(seed, "accuracy").permutation(scores.shape[1])
    halves = order[: len(order) // 2], order[len(order) // 2 :]
    resolvable = all(len(np.unique(labels[:, half])) == 2 for half in halves)
    decided = np.zeros(labels.shape, dtype=bool)
    for here, there in (halves, halves[::-1]) if resolvable else ((order, order),):
        decided[:, here] = scores[:, here] >= _best_threshold(scores[:, there], labels[:, there])
    members = int(labels.sum())
    others = labels.size - members
    found, spared = float(decided[labels].mean()), float(1 - decided[~labels].mean())
    influence = np.where(labels, (decided - found) / members, (1 - decided - spared) / others) / 2
    return HeldOutAccuracy((found + spared) / 2, influence, min(members, others), resolvable)


def accuracy_difference(a: HeldOutAccuracy, b: HeldOutAccuracy, confidence: float, *, paired: bool = True) -> Estimate:
    """Accuracy A minus accuracy B with its interval.

    Args:
        a: of one attack.
        b: of another, on the same targets and points if ``paired``.
        confidence: in (0, 1).
        paired: whether what happens to one happens to the other.
    """
    if paired:
        variance, degrees = clustered_variance(a.influence - b.influence)
    else:
        of_each = [clustered_variance(accuracy.influence) for accuracy in (a, b)]
        variance = sum(of_one for of_one, _ in of_each)
        degrees = variance**2 / max(sum(of_one**2 / degrees for of_one, degrees in of_each), 1e-300)
    half = float(special.stdtrit(max(degrees, 1), (1 + confidence) / 2) * np.sqrt(variance))
    difference = a.estimate - b.estimate
    return Estimate(difference, difference - half, difference + half, a.resolvable and b.resolvable)


def clustered_variance(influence: NDArray[np.float64]) -> tuple[float, float]:
    """The variance of a sum of rows that share targets and points, and its degrees of freedom.

    ``V_targets + V_points - V_rows`` in closed form (Cameron, Gelbach and Miller 2011), not below either of the first.

    Args:
        influence: float64 ``[targets, points]``, deviations from their expectation.
    """
    shape = influence.shape[0], influence.shape[1]
    targets, points = (
        np.array([size / max(size - 1, 1) * (influence.sum(axis=axis) ** 2).sum() * (size > 1)])
        for size, axis in zip(shape, (1, 0), strict=True)
    )
    variance = np.maximum(np.maximum(targets, points), targets + points - (influence**2).sum())
    degrees = degrees_of_freedom(variance, targets, points, shape)
    return float(variance[0]), float(degrees[0])


def _best_threshold(scores: NDArray[np.float64], labels: NDArray[np.bool_]) -> float:
    """The score from which on everything is taken for a member, for the best balanced accuracy."""
    thresholds = np.unique(scores)
    members, others = np.sort(scores[labels]), np.sort(scores[~labels])
    missed, spared = (np.searchsorted(side, thresholds) / len(side) for side in (members, others))
    return float(thresholds[np.argmax(spared - missed)])
