"""Exact and closed-form intervals for one target, whose points are independent rows.

These answer questions about a single model: "at this threshold, how many members does the attack find?", "what is the
AUC for this target, and is one attack better on it than another?". They assume rows that are drawn independently of
one another, which holds for the points of *one* target given its shadows. Pooled over several targets they are too
narrow, because the rows of a point share its difficulty and its shadows; there, `metrics.judge` and
`comparisons.compare` resample targets and points. See ``docs/statistics.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from tmi.errors import TmiError
from tmi.metrics.estimate import Estimate
from tmi.metrics.proportions import clopper_pearson, require_confidence
from tmi.metrics.ranks import mid_ranks


@dataclass(frozen=True)
class Rates:
    """What a fixed threshold does.

    Attributes:
        tpr: the share of members with a score of at least the threshold.
        fpr: the share of non-members with one.
    """

    tpr: Estimate
    fpr: Estimate


def rates_at_threshold(
    scores: NDArray[np.float64], labels: NDArray[np.bool_], threshold: float, confidence: float = 0.95
) -> Rates:
    """True and false positive rate at a threshold, each with its Clopper-Pearson interval.

    Two conditions, which this function cannot check: the rows are independent (the points of one target), and the
    threshold was fixed before looking at these scores. A threshold chosen for its rates makes the intervals too narrow.

    Args:
        scores: float64 ``[points]`` of one target, higher = member, without NaN.
        labels: bool ``[points]``, with members and non-members.
        threshold: scores of at least this count as "member".
        confidence: of each interval by itself, in (0, 1).

    Raises:
        TmiError: wrong shapes, NaN, only one kind of label, or ``confidence`` is outside its range.
    """
    _require_rows([scores], labels)
    taken = scores >= threshold
    successes = np.array([(taken & labels).sum(), (taken & ~labels).sum()])
    trials = np.array([labels.sum(), (~labels).sum()])
    low, high = clopper_pearson(successes, trials, confidence)
    tpr, fpr = (
        Estimate(float(k / n), float(a), float(b)) for k, n, a, b in zip(successes, trials, low, high, strict=True)
    )
    return Rates(tpr, fpr)


def delong(
    scores: Sequence[NDArray[np.float64]], labels: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """AUCs of several attacks on the same points, and their covariance matrix.

    The estimator of DeLong, DeLong and Clarke-Pearson (1988): the AUC is the mean over members of the share of
    non-members below them, and the mean over non-members of the share of members above them; the covariances of these
    shares ("structural components"), each divided by its number of rows, add up to that of the AUCs. The shares follow
    from midranks (Sun and Xu 2014), so the cost is that of sorting: O(n log n).

    Args:
        scores: one float64 ``[points]`` per attack, higher = member, without NaN; infinities are legal.
        labels: bool ``[points]``, at least two members and two non-members.

    Returns:
        float64 ``[attacks]`` and ``[attacks, attacks]``.

    Raises:
        TmiError: wrong shapes, NaN, or fewer than two rows of a kind.
    """
    beaten, beating = _components(scores, labels)
    covariance = np.atleast_2d(np.cov(beaten)) / beaten.shape[1] + np.atleast_2d(np.cov(beating)) / beating.shape[1]
    return beaten.mean(axis=1), covariance


def auc_interval(scores: NDArray[np.float64], labels: NDArray[np.bool_], confidence: float = 0.95) -> Estimate:
    """The AUC of one target with DeLong's interval on the scale of its logit.

    ``logit(A) ± z s / (A (1 - A))``, transformed back: it stays within [0, 1] and covers better than the plain interval
    where the AUC is near 1. If members and non-members are perfectly separated, the estimated variance is 0 and says
    nothing: the estimate is then marked as not resolvable and its interval is [0, 1].

    Args:
        scores: float64 ``[points]`` of one target; see `delong`.
        labels: bool ``[points]``.
        confidence: in (0, 1).

    Raises:
        TmiError: see `delong`; ``confidence`` is outside its range.
    """
    z = _normal_quantile(confidence)
    (auc,), ((variance,),) = delong([scores], labels)
    if variance <= 0:
        return Estimate(float(auc), 0.0, 1.0, resolvable=False)
    half = z * np.sqrt(variance) / (auc * (1 - auc))
    logit = np.log(auc / (1 - auc))
    low, high = 1 / (1 + np.exp(-(logit + np.array([-half, half]))))
    return Estimate(float(auc), float(low), float(high))


def auc_difference(
    scores_a: NDArray[np.float64], scores_b: NDArray[np.float64], labels: NDArray[np.bool_], confidence: float = 0.95
) -> Estimate:
    """AUC of attack A minus that of attack B on the same points of one target, with DeLong's interval.

    The interval is the plain ``difference ± z s``, where ``s`` knows the covariance of the two: attacks that err on the
    same points are told apart with far fewer of them than two separate intervals would suggest. If the estimated
    variance is 0, as for two attacks that rank alike, the difference is marked as not resolvable.

    Args:
        scores_a: float64 ``[points]`` of one target; see `delong`.
        scores_b: the same points under the other attack.
        labels: bool ``[points]``.
        confidence: in (0, 1).

    Raises:
        TmiError: see `delong`; ``confidence`` is outside its range.
    """
    z = _normal_quantile(confidence)
    beaten, beating = _components([scores_a, scores_b], labels)
    # The same as from the covariance matrix, without the cancellation: exactly 0 for attacks that rank alike.
    gains = [a - b for a, b in (beaten, beating)]
    half = z * float(np.sqrt(sum(gain.var(ddof=1) / len(gain) for gain in gains)))
    difference = float(gains[0].mean())
    return Estimate(difference, difference - half, difference + half, resolvable=half > 0)


def _components(
    scores: Sequence[NDArray[np.float64]], labels: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """DeLong's structural components: what share of the other kind each row is on the right side of, ties by half.

    Returns:
        float64 ``[attacks, members]`` and ``[attacks, non-members]``.
    """
    _require_rows(scores, labels)
    members, others = int(labels.sum()), int((~labels).sum())
    if min(members, others) < 2:
        raise TmiError(f"there are {members} members and {others} non-members, expected at least 2 of both")
    beaten = np.empty((len(scores), members))
    beating = np.empty((len(scores), others))
    for row, values in enumerate(scores):
        ranks = mid_ranks(values)
        beaten[row] = (ranks[labels] - mid_ranks(values[labels])) / others
        beating[row] = 1 - (ranks[~labels] - mid_ranks(values[~labels])) / members
    return beaten, beating


def _normal_quantile(confidence: float) -> float:
    """How many standard errors an interval reaches to either side."""
    require_confidence(confidence)
    return float(special.ndtri((1 + confidence) / 2))


def _require_rows(scores: Sequence[NDArray[np.float64]], labels: NDArray[np.bool_]) -> None:
    """Rows of one target: a score and a label each, with both kinds of label."""
    if labels.ndim != 1 or labels.dtype != np.bool_:
        raise TmiError(
            f"labels have type {labels.dtype} and shape {labels.shape}, expected bool [points] of one target"
        )
    for values in scores:
        if values.shape != labels.shape:
            raise TmiError(f"scores have shape {values.shape}, expected {labels.shape} as the labels")
        if np.isnan(values).any():
            raise TmiError("scores hold NaN, expected numbers or infinities")
    if labels.all() or not labels.any():
        found = f"all {labels[0]}" if len(labels) else "empty"
        raise TmiError(f"labels are {found}, expected members and non-members")
