"""How private pretraining cannot be: a lower bound on epsilon from what an attack achieves.

If pretraining were (epsilon, delta)-differentially private with regard to one point, every test of whether the point
was used obeys ``TPR <= e^epsilon FPR + delta`` and ``TNR <= e^epsilon FNR + delta`` (Kairouz, Oh and Viswanath 2015,
theorem 2.1). So of the guesses "member" at most ``e^epsilon / (1 + e^epsilon)`` are right where half of the points are
members, and so in all guesses about all points of one model together (Steinke, Nasr and Jagielski 2023, "Privacy
auditing with one (1) training run"). A share of right guesses above that refutes the epsilon; the share is estimated,
so the lower end of an interval takes its place.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from tmi.errors import TmiError
from tmi.metrics.proportions import require_confidence, require_judged
from tmi.system.seeding import stream

Direction = Literal["members", "non-members", "both"]
# The points are halved so often, and the bound in the middle is taken: it hangs less on the seed.
SPLITS = 5
# Thresholds that are tried, spread evenly over the ranks and, in both tails, over their logarithms.
CANDIDATES = 200
# A threshold is chosen as if so many rows told what one tells: one that rests on few rows is mostly luck.
ROWS_PER_OBSERVATION = 3.0
# How much rows depend on one another cannot be seen from fewer hits or misses than these.
LEAST_FOR_VARIANCE = 10


@dataclass(frozen=True)
class EpsilonBound:
    """A lower bound on the epsilon that any differential privacy of pretraining could have.

    Attributes:
        stage: what the bound is about.
        lower_bound: epsilon is at least this, at the stated confidence; 0 says nothing.
        delta: of the privacy that is refuted.
        confidence: of the bound.
        direction: whether the test finds members (high scores) or non-members (low ones), or either on one half.
        tpr_low: the least share found of those that the test is meant to find (for ``non-members``: the TNR).
        fpr_high: the largest share of the others that it takes for them (for ``non-members``: the FNR). With that
            confidence the two are no worse together, given how many scores are taken.
        decisions: scores that were judged, all of them.
        method: of the interval and the split.
        guesses: scores that were sure enough to be taken.
        right: how many of them are of the kind that they were taken for.
    """

    stage: str
    lower_bound: float
    delta: float
    confidence: float
    direction: Direction
    tpr_low: float
    fpr_high: float
    decisions: int
    method: str
    guesses: int = 0
    right: int = 0

    def to_dict(self) -> dict[str, Any]:
        """A plain dictionary, as in ``results.json``."""
        return asdict(self)


@dataclass(frozen=True)
class _Test:
    """Which scores are taken for which kind, each half of the points by the threshold of the other half.

    Attributes:
        taken: bool ``[targets, points]``.
        looser: bool, the same with enough errors to see how much rows depend on one another.
        sought: bool, of the kind that the test of that half seeks.
        direction: of both halves.
    """

    taken: NDArray[np.bool_]
    looser: NDArray[np.bool_]
    sought: NDArray[np.bool_]
    direction: Direction


def epsilon_lower_bound(
    scores: NDArray[np.float64],
    labels: NDArray[np.bool_],
    *,
    delta: float = 1e-5,
    confidence: float = 0.95,
    seed: int = 0,
    shared_shadows: float = 1.0,
) -> EpsilonBound | None:
    """The lower bound on epsilon of one attack.

    Threshold and direction are chosen on one half of the points and judged on the other, and the other way round; all
    guesses count together. Halves of the *targets* would not do: what chance does to a point, it does to all targets
    that are one another's shadows.

    The share of right guesses has a one-sided Clopper-Pearson bound with the effective sample size of Korn and Graubard
    (1998), because rows share targets, points and shadows. Where a pair of targets are shadows of one another, the
    membership of both decides the scores of both, which that size does not see; it is divided by ``1 +
    shared_shadows``, as in `tmi.metrics.points`.

    Every model is pretrained on an exact half of the pool: where a point is missing, another one is in its place. The
    privacy that is refuted is therefore the one with regard to *replacing* a point. An epsilon with regard to adding or
    removing one is refuted from half of the bound, as two such steps replace a point.

    Args:
        scores: float64 ``[targets, points]``, higher = member, without NaN.
        labels: bool ``[targets, points]``.
        delta: in [0, 1); 0 refutes pure differential privacy only.
        confidence: of the bound, in (0, 1).
        seed: of the splits.
        shared_shadows: which share of a target's shadows are targets as well; 0 for an attack without shadows.

    Returns:
        The bound, or None where a half would have only one kind of label.

    Raises:
        TmiError: wrong shapes or types, NaN, or a number outside its range.
    """
    require_judged(scores, labels)
    if not 0 <= delta < 1:
        raise TmiError(f"delta is {delta}, expected a number from 0 to below 1")
    require_confidence(confidence)
    random = stream(seed, "epsilon")
    bounds = []
    for _ in range(SPLITS):
        order = random.permutation(scores.shape[1])
        halves = order[: len(order) // 2], order[len(order) // 2 :]
        if any(len(np.unique(labels[:, half])) < 2 for half in halves):
            return None
        test = _cross_fitted(scores, labels, halves, delta, confidence)
        bounds.append(_bounded(test, labels, delta, confidence, 1 + shared_shadows))
    return sorted(bounds, key=lambda bound: bound.lower_bound)[SPLITS // 2]


def effective_sample_size(
    hits: NDArray[np.bool_], counted: NDArray[np.bool_], confidence: float = 0.95
) -> tuple[float, float]:
    """How many independent rows would tell as much about a rate as these.

    ``n_eff = n * (variance of a binomial share) / (variance with clusters)``, never above n (Korn and Graubard 1998).
    The variance is that for rows which share two things, ``V_targets + V_points - V_rows`` (Cameron, Gelbach and
    Miller 2011), not below the one-way variances; few targets make it uncertain, for which Korn and Graubard multiply
    by the squared ratio of two quantiles of Student's t.

    Args:
        hits: bool ``[targets, points]``.
        counted: bool ``[targets, points]``, the rows that the rate is about; at least one.
        confidence: of the two-sided interval that the size is for.

    Returns:
        The effective sample size, at most the number of rows, and the rate.
    """
    rows = int(counted.sum())
    rate = float(hits[counted].mean())
    residuals = np.where(counted, hits - rate, 0.0) / rows
    clusters = [int(counted.any(axis=1).sum()), int(counted.any(axis=0).sum())]
    one_way = [
        size / max(size - 1, 1) * float((residuals.sum(axis=axis) ** 2).sum())
        for size, axis in zip(clusters, (1, 0), strict=True)
    ]
    binomial = rate * (1 - rate) / rows
    variance = max(sum(one_way) - float((residuals**2).sum()), *one_way, binomial)
    if variance <= 0:
        return float(rows), rate
    # What each side shares beyond single rows; a side that shares nothing takes no degrees of freedom.
    excess = [max(side - binomial, 0.0) for side in one_way]
    per_degree = sum(side**2 / max(size - 1, 1) for side, size in zip(excess, clusters, strict=True))
    degrees = max(min(variance**2 / per_degree if per_degree > 0 else rows - 1, rows - 1), 1)
    tail = (1 + confidence) / 2
    shrinkage = (special.stdtrit(max(rows - 1, 1), tail) / special.stdtrit(degrees, tail)) ** 2
    return float(min(rows, rows * binomial / variance * shrinkage)), rate


def _cross_fitted(
    scores: NDArray[np.float64],
    labels: NDArray[np.bool_],
    halves: tuple[NDArray[np.int64], NDArray[np.int64]],
    delta: float,
    confidence: float,
) -> _Test:
    """The guesses at each half of the points by the test that does best on the other."""
    taken, looser, sought = (np.zeros(labels.shape, dtype=bool) for _ in range(3))
    directions: set[Direction] = set()
    for here, there in (halves, halves[::-1]):
        direction, threshold = _best_test(scores[:, there], labels[:, there], delta, confidence)
        directions.add(direction)
        sign = 1 if direction == "members" else -1
        oriented, wanted = sign * scores[:, here], labels[:, here] == (direction == "members")
        errors = np.sort(oriented[~wanted])[::-1][:LEAST_FOR_VARIANCE]
        taken[:, here], sought[:, here] = oriented >= threshold, wanted
        looser[:, here] = oriented >= min(threshold, errors[-1])
    return _Test(taken, looser, sought, directions.pop() if len(directions) == 1 else "both")


def _best_test(
    scores: NDArray[np.float64], labels: NDArray[np.bool_], delta: float, confidence: float
) -> tuple[Direction, float]:
    """The direction, and the threshold of scores in that direction, with the largest bound if rows were independent."""
    best: tuple[float, Direction, float] = (-np.inf, "members", np.inf)
    directions: tuple[tuple[Direction, int], ...] = (("members", 1), ("non-members", -1))
    for direction, sign in directions:
        wanted = labels == (direction == "members")
        thresholds = _candidates(sign * scores)
        hits, errors = (np.sort(sign * scores[side]) for side in (wanted, ~wanted))
        right, wrong = (len(side) - np.searchsorted(side, thresholds) for side in (hits, errors))
        guesses = right + wrong
        least = _least_share(right / ROWS_PER_OBSERVATION, guesses / ROWS_PER_OBSERVATION, confidence)
        # The least threshold takes at least one row, so that nothing is divided by 0.
        bounds = (least * guesses / len(hits) - delta) / ((1 - least) * guesses / len(errors))
        index = int(np.argmax(bounds))
        if bounds[index] > best[0]:
            best = (float(bounds[index]), direction, float(thresholds[index]))
    return best[1], best[2]


def _bounded(test: _Test, labels: NDArray[np.bool_], delta: float, confidence: float, inflation: float) -> EpsilonBound:
    """What the guesses of a test prove."""
    guesses, right = int(test.taken.sum()), int((test.taken & test.sought).sum())
    tail = 2 * confidence - 1 if confidence > 0.5 else confidence
    size, share = effective_sample_size(test.sought, test.taken, tail) if guesses else (0.0, 0.0)
    if guesses - right < LEAST_FOR_VARIANCE and test.looser.any():
        loose, _ = effective_sample_size(test.sought, test.looser, tail)
        size = min(size, guesses * loose / float(test.looser.sum()))
    size /= inflation
    least = float(_least_share(np.array(share * size), np.array(size), confidence))
    sought, others = float(test.sought.sum()), float((~test.sought).sum())
    if test.direction == "both":
        # Each half seeks another kind, so that the odds of a guess without an attack differ: the better ones count.
        commoner = max(labels.mean(), 1 - labels.mean())
        others = sought * (1 - commoner) / commoner
    tpr_low, fpr_high = least * guesses / sought, (1 - least) * guesses / others
    refuted = tpr_low > delta and fpr_high > 0
    return EpsilonBound(
        stage="pretraining",
        lower_bound=max(float(np.log((tpr_low - delta) / fpr_high)), 0.0) if refuted else 0.0,
        delta=delta,
        confidence=confidence,
        direction=test.direction,
        tpr_low=tpr_low,
        fpr_high=fpr_high,
        decisions=labels.size,
        method="share of right guesses, Clopper-Pearson with effective sample size (Korn-Graubard), thresholds from "
        "other points",
        guesses=guesses,
        right=right,
    )


def _least_share(right: NDArray[np.float64], size: NDArray[np.float64], confidence: float) -> NDArray[np.float64]:
    """One-sided lower end of the interval of Clopper and Pearson, for sizes that need not be whole."""
    least: NDArray[np.float64] = np.where(
        right > 0, special.betaincinv(np.maximum(right, 1e-9), np.maximum(size - right, 0) + 1, 1 - confidence), 0.0
    )
    return least


def _candidates(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores to try as thresholds, ``[candidates]``; the largest floats stand for infinities."""
    ordered = np.sort(scores, axis=None)
    tail = np.geomspace(1, len(ordered), CANDIDATES).astype(int) - 1
    even = np.linspace(0, len(ordered) - 1, CANDIDATES).astype(int)
    return np.unique(np.nan_to_num(ordered[np.concatenate([tail, len(ordered) - 1 - tail, even])]))
