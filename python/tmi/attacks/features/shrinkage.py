"""Likelihood ratios along an IN - OUT shift that is shrunken towards what the other points lead one to expect.

How membership moves the answers at one point is estimated from a few dozen shadows, so the estimate is noisy; but
points resemble one another: the top class usually rises, and similar points shift in similar ways. A ridge regression
over points predicts the shift at each point from points of other folds, and empirical Bayes weighs that prediction
against the point's own estimate (`_core.leave_one_out_features` with a prior).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

FOLDS = 5
# Of the identity in the mean covariance over points, and in each point's own; 0.4 to 0.8 do equally well.
SHAPE_RIDGE = 0.05
IDENTITY_SHARE = 0.6
# Ridge of the regression over points, relative to the mean diagonal.
REGRESSION_RIDGE = 1e-3
# Points whose mean variance is below this share of the median do not decide the shape of the covariance.
LEAST_VARIANCE = 0.05
# The variance of true shifts about the expected ones is at least this share of their variance.
LEAST_REMAINDER = 0.03
# Scales below this are rounding errors of answers that do not differ.
LEAST_SCALE = 1e-6
# Pseudo-counts towards no shift in the mean shift of a group of points.
GROUP_PRIOR = 3.0
# Numbers of type float64 in the scatter matrices of the points that are worked on together.
SCATTER_ENTRIES = 40_000_000
# Numbers of type float64 that are worked on together where several steps follow on one another: they stay in the cache.
PART_ENTRIES = 1 << 15
# Sampling variance of the shift at a point without IN or without OUT shadows: it tells nothing.
UNKNOWN = 1e6

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Sides:
    """Which shadows were trained on each point, targets apart.

    Attributes:
        inside: float64 ``[points, models]``, 1 for the IN shadows.
        outside: the same for the OUT shadows.
        sampling: float64 ``[points]``, variance of the difference of the means in units of the variance of an answer.
    """

    inside: Array
    outside: Array
    sampling: Array

    @classmethod
    def without(
        cls, membership: NDArray[np.bool_], targets: Sequence[int], apart: NDArray[np.bool_] | None = None
    ) -> Sides:
        """From bool ``[models, points]``, of which rows ``targets`` and what is true in ``apart`` are not looked at."""
        inside = membership.T.astype(np.float64)
        outside = 1.0 - inside
        inside[:, targets] = outside[:, targets] = 0.0
        if apart is not None:
            inside[apart.T] = outside[apart.T] = 0.0
        counts = inside.sum(axis=1), outside.sum(axis=1)
        known = (counts[0] > 0) & (counts[1] > 0)
        sampling = sum(1.0 / np.maximum(count, 1.0) for count in counts)
        return cls(inside, outside, np.where(known, sampling, UNKNOWN))

    @cached_property
    def weights(self) -> Array:
        """Weight of every point in averages over points, float64 ``[points]``, summing to 1."""
        precision = 1.0 / self.sampling
        weights: Array = precision / precision.sum()
        return weights

    @cached_property
    def both(self) -> Array:
        """``inside`` and ``outside`` as one array, float64 ``[points, 2, models]``."""
        return np.stack([self.inside, self.outside], axis=1)

    def means(self, x: Array) -> Array:
        """Means of ``x`` ``[points, models, classes]`` over the IN and the OUT shadows, ``[points, 2, classes]``."""
        means: Array = np.matmul(self.both, x)
        means /= np.maximum(self.both.sum(axis=2), 1.0)[..., None]
        return means

    def shift(self, means: Array) -> Array:
        """The difference of the means, ``[points, classes]``; 0 where a side has no shadow."""
        return np.where(self.sampling[:, None] < UNKNOWN, means[:, 0] - means[:, 1], 0.0)


def parts(x: Array) -> list[slice]:
    """Points of ``x`` ``[points, models, classes]`` that are worked on together."""
    size = max(1, PART_ENTRIES // (x.shape[1] * x.shape[2]))
    return [slice(start, start + size) for start in range(0, len(x), size)]


def whitened(x: Array, sides: Sides, expected: Array) -> tuple[NDArray[np.float32], tuple[Array, Array]]:
    """Whitened answers, and what is known of their shift beforehand.

    Args:
        x: float64 ``[points, models, classes]``.
        sides: of the target.
        expected: float64 ``[points, classes]``, from `expected_shift`.

    Returns:
        float32 ``[models, points, classes]`` and the prior of `_core.leave_one_out_features`.
    """
    means = sides.means(x)
    whitening = _whitening(x, sides, means)
    white, mean = (x.reshape(-1, x.shape[2]) @ whitening).reshape(x.shape), expected @ whitening
    variance = remaining_variance(sides.shift(means) @ whitening, variances(white), sides, mean)
    return white.astype(np.float32).transpose(1, 0, 2), (mean, variance)


def expected_shift(
    shift: Array, sides: Sides, fixed: Sequence[Array], neighbours: Array, groups: Sequence[NDArray[np.int64]]
) -> Array:
    """What the other points lead one to expect of each point's shift.

    A weighted ridge regression of the shift in every class of every point on what is known of the class at that point,
    the shift of similar points, and the mean shifts of points of the same groups. Each fold of points is predicted by
    the others.

    Args:
        shift: float64 ``[points, classes]``, from `Sides.shift`.
        sides: of the target.
        fixed: float64 ``[points, classes]`` each, regressors that depend on no membership, see `profile_regressors`.
        neighbours: ``[points, points]``, rows sum to 1 or 0.
        groups: int64 ``[points]`` each, the group that each point belongs to, counted from 0.

    Returns:
        float64 ``[points, classes]``.
    """
    weights = sides.weights
    regressors = np.stack(
        [
            *fixed,
            _neighbours_shift(shift, weights, neighbours),
            *(_group_shift(shift, weights, group) for group in groups),
        ],
        axis=-1,
    )
    regressors /= np.maximum(np.sqrt((regressors**2).mean(axis=(0, 1))), LEAST_SCALE)
    weighted = regressors * weights[:, None, None]
    products = weighted.transpose(0, 2, 1) @ regressors
    targets = (weighted * shift[..., None]).sum(axis=1)
    folds = np.arange(len(shift)) % FOLDS
    expected = np.zeros_like(shift)
    for fold in range(FOLDS):
        others = folds != fold
        matrix = products[others].sum(axis=0)
        ridge = REGRESSION_RIDGE * np.trace(matrix) / len(matrix) + np.finfo(np.float64).tiny
        coefficients = np.linalg.solve(matrix + ridge * np.eye(len(matrix)), targets[others].sum(axis=0))
        expected[~others] = regressors[~others] @ coefficients
    return expected


def remaining_variance(shift: Array, variances: Array, sides: Sides, expected: Array) -> Array:
    """Variance of the true shifts about the expected ones, float64 ``[classes]``: what is left without sampling noise.

    Args:
        shift: float64 ``[points, classes]``, from `Sides.shift`.
        variances: float64 ``[points, classes]`` of the answers, from `variances`.
        sides: of the target.
        expected: float64 ``[points, classes]``.
    """
    weights, noise = sides.weights[:, None], sides.sampling[:, None] * variances
    total = (weights * (shift**2 - noise)).sum(axis=0)
    about_expected = (weights * ((shift - expected) ** 2 - noise)).sum(axis=0)
    variance: Array = np.maximum(about_expected, LEAST_REMAINDER * np.maximum(total, 1e-3))
    return variance


def variances(x: Array) -> Array:
    """Variances over models ``[points, classes]`` of ``x`` ``[points, models, classes]``, without copies of it."""
    squares: Array = np.einsum("pnk,pnk->pk", x, x) / x.shape[1]
    # Along an axis in the middle, a product is several times as fast as a sum.
    means = np.matmul(np.full((1, x.shape[1]), 1 / x.shape[1]), x)[:, 0]
    positive: Array = np.maximum(squares - means**2, 0.0)
    return positive


def profile_regressors(profile: Array) -> list[Array]:
    """What mean scaled logits over models ``[points, classes]`` say of every class at a point.

    How large the class's mean answer is, whether it is the first or second largest, and by what margin.
    """
    deviation = max(float(profile.std()), LEAST_SCALE)
    descending = -np.sort(-profile, axis=1)
    rank = np.argsort(np.argsort(-profile, axis=1, kind="stable"), axis=1, kind="stable")
    first, second = (rank == 0).astype(np.float64), (rank == 1).astype(np.float64)
    level = (profile - profile.mean()) / deviation
    below_top = (profile - descending[:, :1]) / deviation
    margin = (descending[:, :1] - descending[:, 1:2]) / deviation
    return [
        np.ones_like(profile),
        level,
        level**2,
        first,
        second,
        below_top,
        first * descending[:, :1] / deviation,
        first * margin,
        second * margin,
    ]


def _neighbours_shift(shift: Array, weights: Array, neighbours: Array) -> Array:
    # The last column: what the means are divided by.
    sums = neighbours @ (weights[:, None] * np.column_stack([shift, np.ones(len(shift))]))
    mean = np.zeros_like(shift)
    np.divide(sums[:, :-1], sums[:, -1:], out=mean, where=sums[:, -1:] > 0)
    return mean


def _group_shift(shift: Array, weights: Array, groups: NDArray[np.int64]) -> Array:
    """Mean shift of the other points of the same group, shrunken towards 0."""
    relative = weights * len(weights)
    weighted = relative[:, None] * shift
    sums, totals = np.zeros((groups.max() + 1, shift.shape[1])), np.zeros(groups.max() + 1)
    np.add.at(sums, groups, weighted)
    np.add.at(totals, groups, relative)
    others: Array = (sums[groups] - weighted) / (totals[groups] - relative + GROUP_PRIOR)[:, None]
    return others


def _whitening(x: Array, sides: Sides, means: Array) -> Array:
    """The matrix ``[classes, classes]`` after which the mean covariance of the answers over points is the identity."""
    points, _, classes = x.shape
    size = max(1, SCATTER_ENTRIES // classes**2)
    shadows = (sides.inside + sides.outside)[..., None]
    deviations = np.empty_like(x)
    for some in parts(x):
        part = np.matmul(sides.both[some].transpose(0, 2, 1), means[some], out=deviations[some])
        np.subtract(x[some], part, out=part)
        part *= shadows[some]

    @lru_cache(maxsize=1)  # where one part holds all points, it is wanted twice
    def scatter(start: int) -> Array:
        part = deviations[start : start + size]
        products: Array = part.transpose(0, 2, 1) @ part
        return products

    starts = range(0, points, size)
    variances = np.concatenate([np.trace(scatter(start), axis1=1, axis2=2) for start in starts])
    scale = np.maximum(variances, LEAST_VARIANCE * np.median(variances) + np.finfo(np.float64).tiny)
    total = sum(np.tensordot(1 / scale[start : start + size], scatter(start), axes=1) for start in starts)
    shape = classes * total / points
    whitening: Array = np.linalg.inv(np.linalg.cholesky(shape + SHAPE_RIDGE * np.eye(classes))).T
    return whitening
