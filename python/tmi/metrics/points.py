"""Which points the attack finds, one at a time: each point's AUC over the targets, and whether it is chance."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special

from tmi.errors import TmiError
from tmi.metrics.proportions import require_confidence, require_judged
from tmi.metrics.ranks import mid_ranks, q_values

# Up to so many pairs of targets the distribution of the Mann-Whitney statistic is counted, beyond it is normal.
EXACT_PAIRS = 2500
# Halvings of [0, 1] in the search for an interval's ends: far below any error that matters.
HALVINGS = 50


@dataclass(frozen=True)
class PointVulnerability:
    """How well the attack tells the targets with a point from those without; every array is ``[points]``.

    NaN where all targets or none have the point.

    Attributes:
        auc: the chance that a target with the point has the higher score there; ties count one half.
        low: lower end of its interval.
        high: upper end.
        p_value: one-sided, how often chance alone does at least as well: Mann-Whitney's, weakened as far as targets
            are one another's shadows.
        q_value: Benjamini-Hochberg: of the points with at most this value, at most that share is expected to be chance.
        mean_in: mean score of the targets with the point.
        mean_out: of those without.
        targets_in: int64, targets with the point.
        targets_out: int64, targets without.
    """

    auc: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    p_value: NDArray[np.float64]
    q_value: NDArray[np.float64]
    mean_in: NDArray[np.float64]
    mean_out: NDArray[np.float64]
    targets_in: NDArray[np.int64]
    targets_out: NDArray[np.int64]


def point_vulnerability(
    scores: NDArray[np.float64],
    labels: NDArray[np.bool_],
    confidence: float = 0.95,
    *,
    shared_shadows: float = 1.0,
) -> PointVulnerability:
    """Every point by itself, over the targets.

    Mann-Whitney's test takes the scores as given and the membership as drawn. But where target s is a shadow of target
    t and t one of s, the membership of both decides both scores. To first order a point's sum of scores over members is
    then ``sum y_t y_s K_ts`` over ordered pairs of a target and a shadow, ``y = +-1`` being their membership and ``K``
    how alike their answers are: a pair that counts in both directions adds ``4 K^2`` to the variance, where the test
    expects ``2 K^2``. So the variance is up to ``1 + shared_shadows`` times the expected one, and the normal quantile
    of every p-value is divided by the root of that; intervals are widened by it. ``docs/statistics.md`` has what
    simulations and real answers with redrawn membership found.

    Args:
        scores: float64 ``[targets, points]``, higher = member, without NaN.
        labels: bool ``[targets, points]``.
        confidence: of the intervals, in (0, 1).
        shared_shadows: which share of a target's shadows are targets as well, in [0, 1]; 1 where each model in turn is
            the target, 0 for an attack without shadows.

    Raises:
        TmiError: wrong shapes or types, NaN, or a number is outside its range.
    """
    require_judged(scores, labels)
    require_confidence(confidence)
    if not 0 <= shared_shadows <= 1:
        raise TmiError(f"shared_shadows is {shared_shadows}, expected a share from 0 to 1")
    inflation = 1 + shared_shadows
    members = labels.sum(axis=0)
    others = len(labels) - members
    tested = (members > 0) & (others > 0)
    ranks = mid_ranks(scores)
    wins = np.where(labels, ranks, 0).sum(axis=0) - members * (members + 1) / 2
    auc = _where(tested, wins, members * others)
    low, high = auc_intervals(auc, members, others, confidence, inflation)
    p_value = np.full(len(auc), np.nan)
    p_value[tested] = _weakened(
        _mann_whitney(wins[tested], members[tested], others[tested], np.sort(ranks[:, tested], axis=0)), inflation
    )
    q_value = np.full(len(auc), np.nan)
    if tested.any():
        q_value[tested] = q_values(p_value[tested])
    with np.errstate(invalid="ignore"):  # infinities of both signs have no mean
        sum_in, sum_out = np.where(labels, scores, 0).sum(axis=0), np.where(labels, 0, scores).sum(axis=0)
    return PointVulnerability(
        auc,
        low,
        high,
        p_value,
        q_value,
        mean_in=_where(tested, sum_in, members),
        mean_out=_where(tested, sum_out, others),
        targets_in=members.astype(np.int64),
        targets_out=others.astype(np.int64),
    )


def auc_intervals(
    auc: NDArray[np.float64],
    members: NDArray[np.int64],
    others: NDArray[np.int64],
    confidence: float = 0.95,
    inflation: float = 1.0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Intervals for AUCs of few rows that stay sane for perfect separation (Newcombe 2006, part 2, method 5).

    The ends are those A at which the observed AUC is just z standard errors away, with the variance *at A*, as in
    Wilson's interval of a proportion, and Hanley and McNeil's formula for it with N = (members + others) / 2 - 1:

        A (1 - A) (1 + N (1 - A) / (2 - A) + N A / (1 + A)) / (members others)

    Args:
        auc: float64 ``[points]``.
        members: int ``[points]``.
        others: int ``[points]``.
        confidence: in (0, 1).
        inflation: of the variance, by what the formula leaves out.

    Returns:
        Lower and upper ends, float64 ``[points]``; NaN where the AUC is.
    """
    z = special.ndtri((1 + confidence) / 2) * np.sqrt(inflation)
    rows = (members + others) / 2 - 1
    pairs = np.maximum(members * others, 1)

    def is_near(value: NDArray[np.float64]) -> NDArray[np.bool_]:
        factor = 1 + rows * (1 - value) / (2 - value) + rows * value / (1 + value)
        near: NDArray[np.bool_] = (value - auc) ** 2 <= z**2 * value * (1 - value) * factor / pairs
        return near

    def end(beyond: float) -> NDArray[np.float64]:
        inside, outside = auc.copy(), np.full(len(auc), beyond)
        for _ in range(HALVINGS):
            middle = (inside + outside) / 2
            near = is_near(middle)
            inside, outside = np.where(near, middle, inside), np.where(near, outside, middle)
        return np.where(np.isnan(auc), np.nan, inside)

    return end(0.0), end(1.0)


def _mann_whitney(
    wins: NDArray[np.float64], members: NDArray[np.int64], others: NDArray[np.int64], ranks: NDArray[np.float64]
) -> NDArray[np.float64]:
    """One-sided p-values ``[points]`` from pairs won and sorted ranks ``[targets, points]``.

    Counted without ties, else normal with the variance that ties leave and a correction for continuity (Mann and
    Whitney 1947; Lehmann 1975, section 1.4).
    """
    total = len(ranks)
    # Of each group of k equal ranks, k^3 - k, as the sum over its rows of k^2 - 1.
    tied = np.array([(np.unique(column, return_counts=True)[1] ** 3.0).sum() - total for column in ranks.T])
    pairs = members * others
    sd = np.sqrt(pairs / 12 * (total + 1 - tied / (total * (total - 1))))
    with np.errstate(invalid="ignore", divide="ignore"):
        p_values = np.where(sd > 0, special.ndtr(-(wins - pairs / 2 - 0.5) / sd), 1.0)
    countable = (tied == 0) & (pairs <= EXACT_PAIRS)
    for here in np.unique(members[countable]):
        chosen = countable & (members == here)
        tail = _at_least(int(here), total - int(here))
        p_values[chosen] = tail[wins[chosen].astype(int)]
    return np.clip(p_values, 0, 1)


def _weakened(p_values: NDArray[np.float64], inflation: float) -> NDArray[np.float64]:
    """One-sided p-values of a statistic whose variance is so many times that which they were computed with."""
    if inflation == 1:
        return p_values
    # A p-value of 1 has no finite quantile, and stays.
    weakened: NDArray[np.float64] = np.where(
        p_values < 1, special.ndtr(special.ndtri(np.minimum(p_values, 1 - 1e-16)) / np.sqrt(inflation)), 1.0
    )
    return weakened


@lru_cache(maxsize=256)
def _at_least(members: int, others: int) -> NDArray[np.float64]:
    """The chance of at least u pairs won, for u = 0, 1, ..., members * others, if all orders are equally likely.

    The highest row is either a member, which beats all others, or not: the orders with u wins are
    ``W(u; m, n) = W(u - n; m - 1, n) + W(u; m, n - 1)`` (Mann and Whitney 1947, equation 1). Only positive numbers are
    added, so small tails are exact.
    """
    fewer = [np.ones(1) for _ in range(others + 1)]
    for m in range(1, members + 1):
        orders = [np.ones(1)]
        for n in range(1, others + 1):
            counts = np.zeros(m * n + 1)
            counts[n:] += fewer[n]
            counts[: m * (n - 1) + 1] += orders[n - 1]
            orders.append(counts)
        fewer = orders
    tail = np.cumsum(fewer[others][::-1])[::-1]
    chances: NDArray[np.float64] = tail / tail[0]
    return chances


def _where(
    tested: NDArray[np.bool_], numerator: NDArray[np.float64], denominator: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The quotient where points are tested, NaN elsewhere."""
    return np.where(tested, numerator / np.maximum(denominator, 1), np.nan)
