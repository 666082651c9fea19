"""How private pretraining cannot be: a lower bound on epsilon from what an attack achieves.

If pretraining were (epsilon, delta)-differentially private with regard to one point, every test of whether the point
was used obeys ``TPR <= e^epsilon FPR + delta`` and ``TNR <= e^epsilon FNR + delta`` (Kairouz, Oh and Viswanath 2015,
theorem 2.1). Rates that break this for some epsilon refute it. The rates are estimated, so each is replaced by the
end of an interval that is unfavourable to the claim (Nasr et al. 2021, section 4).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from tmi.errors import TmiError
from tmi.metrics.proportions import clopper_pearson
from tmi.system.seeding import stream

Direction = Literal["members", "non-members"]
DIRECTIONS: tuple[Direction, ...] = ("members", "non-members")
# With fewer targets than these the two splits hold different points instead of different targets.
TARGETS_TO_SPLIT = 8
# Thresholds that are tried, spread evenly over the ranks and, in both tails, over their logarithms.
CANDIDATES = 200
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
        direction: whether the test finds members (scores of at least the threshold) or non-members (below it).
        threshold: fixed on the other split.
        tpr_low: the least share found of those that the test is meant to find (for ``non-members``: the TNR).
        fpr_high: the largest share of the others that it takes for them (for ``non-members``: the FNR).
        decisions: scores in the split that the rates come from.
        method: of the intervals and the split.
    """

    stage: str
    lower_bound: float
    delta: float
    confidence: float
    direction: Direction
    threshold: float
    tpr_low: float
    fpr_high: float
    decisions: int
    method: str

    def to_dict(self) -> dict[str, Any]:
        """A plain dictionary, as in ``results.json``."""
        return asdict(self)


def epsilon_lower_bound(
    scores: NDArray[np.float64],
    labels: NDArray[np.bool_],
    *,
    delta: float = 1e-5,
    confidence: float = 0.95,
    seed: int = 0,
) -> EpsilonBound | None:
    """The lower bound on epsilon of one attack.

    Threshold and direction are chosen on half of the targets (or of the points, with fewer than 8 targets), the rates
    bounded on the other half, so that the choice costs no validity. Either rate has a one-sided Clopper-Pearson bound
    at half of the error probability, with the effective sample size of Korn and Graubard (1998) because rows share
    targets, points and shadows.

    Every model is pretrained on an exact half of the pool: where a point is missing, another one is in its place. The
    privacy that is refuted is therefore the one with regard to *replacing* a point.

    Args:
        scores: float64 ``[targets, points]``, higher = member, without NaN.
        labels: bool ``[targets, points]``.
        delta: in [0, 1); 0 refutes pure differential privacy only.
        confidence: of the bound, in (0, 1).
        seed: of the split.

    Returns:
        The bound, or None where a split would have only one kind of label.

    Raises:
        TmiError: wrong shapes or types, NaN, or a number outside its range.
    """
    _require(scores, labels, delta, confidence)
    by_targets = len(scores) >= TARGETS_TO_SPLIT
    choosing, judging = _halves(scores, labels, by_targets, seed)
    if any(len(np.unique(half_labels)) < 2 for _, half_labels in (choosing, judging)):
        return None
    direction, threshold = _best_test(*choosing, delta, confidence)
    taken, wanted = _decided(*judging, direction, threshold)
    tpr_low, _ = _rate_bounds(judging[0], taken, wanted, confidence)
    _, fpr_high = _rate_bounds(judging[0], taken, ~wanted, confidence)
    return EpsilonBound(
        stage="pretraining",
        lower_bound=float(_epsilon(tpr_low, fpr_high, delta)),
        delta=delta,
        confidence=confidence,
        direction=direction,
        threshold=threshold,
        tpr_low=tpr_low,
        fpr_high=fpr_high,
        decisions=taken.size,
        method="Clopper-Pearson with effective sample size (Korn-Graubard), threshold from other "
        + ("targets" if by_targets else "points"),
    )


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
    shrinkage = (stats.t.ppf(tail, max(rows - 1, 1)) / stats.t.ppf(tail, degrees)) ** 2
    return float(min(rows, rows * binomial / variance * shrinkage)), rate


def _rate_bounds(
    scores: NDArray[np.float64], taken: NDArray[np.bool_], counted: NDArray[np.bool_], confidence: float
) -> tuple[float, float]:
    """Lower and upper bound of the share of the counted rows that are taken, each at half of the error probability."""
    size, _ = effective_sample_size(_visible(scores, taken, counted), counted, confidence)
    rows, hits = int(counted.sum()), int((taken & counted).sum())
    if LEAST_FOR_VARIANCE <= hits <= rows - LEAST_FOR_VARIANCE:
        size = min(size, effective_sample_size(taken, counted, confidence)[0])
    successes = hits / rows * size
    tail = (1 - confidence) / 2
    low = stats.beta.ppf(tail, successes, size - successes + 1) if hits else 0.0
    high = stats.beta.ppf(1 - tail, successes + 1, size - successes) if hits < rows else 1.0
    return float(low), float(high)


def _visible(scores: NDArray[np.float64], taken: NDArray[np.bool_], counted: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The rows taken, or those at the nearest threshold with enough hits and misses to see how rows depend."""
    rows, hits = int(counted.sum()), int((taken & counted).sum())
    enough = min(LEAST_FOR_VARIANCE, rows // 2)
    if enough <= hits <= rows - enough:
        return taken
    ordered = np.sort(scores[counted])
    # The taken rows are the upper or the lower ones, whichever the test wants.
    upper = bool(scores[taken].min() > scores[~taken].max()) if taken.any() and not taken.all() else True
    number = enough if hits < enough else rows - enough
    looser: NDArray[np.bool_] = scores >= ordered[rows - number] if upper else scores <= ordered[number - 1]
    return looser


def _best_test(
    scores: NDArray[np.float64], labels: NDArray[np.bool_], delta: float, confidence: float
) -> tuple[Direction, float]:
    """The direction and threshold with the largest bound if rows were independent."""
    thresholds = _candidates(scores)
    # Share of rows of each kind at or above each threshold.
    members, others = np.sort(scores[labels]), np.sort(scores[~labels])
    above_members, above_others = (len(side) - np.searchsorted(side, thresholds) for side in (members, others))
    best: tuple[float, Direction, float] = (-np.inf, "members", float(thresholds[0]))
    for direction in DIRECTIONS:
        if direction == "members":
            found, wrong, wanted, unwanted = above_members, above_others, len(members), len(others)
        else:
            found, wrong = len(others) - above_others, len(members) - above_members
            wanted, unwanted = len(others), len(members)
        bounds = _epsilon(
            clopper_pearson(found, wanted, confidence)[0], clopper_pearson(wrong, unwanted, confidence)[1], delta
        )
        index = int(np.argmax(bounds))
        if bounds[index] > best[0]:
            best = (float(bounds[index]), direction, float(thresholds[index]))
    return best[1], best[2]


def _candidates(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores to try as thresholds, ``[candidates]``; the largest floats stand for infinities."""
    ordered = np.sort(scores, axis=None)
    tail = np.geomspace(1, len(ordered), CANDIDATES).astype(int) - 1
    even = np.linspace(0, len(ordered) - 1, CANDIDATES).astype(int)
    return np.unique(np.nan_to_num(ordered[np.concatenate([tail, len(ordered) - 1 - tail, even])]))


def _decided(
    scores: NDArray[np.float64], labels: NDArray[np.bool_], direction: Direction, threshold: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which rows the test takes, and which it should take."""
    above = scores >= threshold
    return (above, labels) if direction == "members" else (~above, ~labels)


def _epsilon(found: Any, wrong: Any, delta: float) -> NDArray[np.float64]:
    """The least epsilon that allows to find this share at that share of errors, not below 0."""
    excess = np.maximum(np.asarray(found) - delta, 0)
    with np.errstate(divide="ignore"):
        epsilon: NDArray[np.float64] = np.maximum(np.log(excess / np.asarray(wrong)), 0)
    return epsilon


def _halves(
    scores: NDArray[np.float64], labels: NDArray[np.bool_], by_targets: bool, seed: int
) -> list[tuple[NDArray[np.float64], NDArray[np.bool_]]]:
    """Scores and labels of two random halves of the targets or of the points."""
    axis = 0 if by_targets else 1
    order = stream(seed, "epsilon").permutation(scores.shape[axis])
    middle = len(order) // 2
    return [
        (np.take(scores, np.sort(half), axis=axis), np.take(labels, np.sort(half), axis=axis))
        for half in (order[:middle], order[middle:])
    ]


def _require(scores: NDArray[np.float64], labels: NDArray[np.bool_], delta: float, confidence: float) -> None:
    if labels.ndim != 2 or labels.dtype != np.bool_ or scores.shape != labels.shape:
        raise TmiError(
            f"scores have shape {scores.shape} and labels type {labels.dtype} and shape {labels.shape}, "
            "expected the same shape [targets, points] and labels of type bool"
        )
    if np.isnan(scores).any():
        raise TmiError("scores hold NaN, expected numbers or infinities")
    if not 0 <= delta < 1:
        raise TmiError(f"delta is {delta}, expected a number from 0 to below 1")
    if not 0 < confidence < 1:
        raise TmiError(f"confidence is {confidence}, expected a number between 0 and 1")
