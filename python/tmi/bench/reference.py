"""The kernels in NumPy, as fast as NumPy gets: blocks that fit the caches, float32, no Python loop over points.

Reductions over a short last axis (classes, augmentations) are NumPy's weak spot, so the long axis comes last wherever
it matters. Each function takes what the function of that name in `tmi._core` takes and returns the same within float32
rounding, which the tests check; definitions and sources are there. Small matrices are float64, as in the kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Bytes of a block in float32, found by trial: a few arrays of that size fit the caches of a core.
BLOCK_BYTES = 1 << 19
# The same for adapted LiRA, where a block is gone through once for every target.
LIRA_BLOCK_BYTES = 1 << 22
LARGEST_LOGIT = 1e4

Single = NDArray[np.float32]
Double = NDArray[np.float64]


def scale_in_place(z: Single) -> None:
    """Turn logits ``[classes, ...]`` into log-odds; right for margins up to 87, where float32 has no smaller number."""
    np.clip(z, -LARGEST_LOGIT, LARGEST_LOGIT, out=z)
    z -= z.max(axis=0)
    e = np.exp(z)
    # The sum over the others is exact where it matters: for the largest class nothing is subtracted that could cancel.
    is_top = z == 0
    others = e.sum(axis=0) - e
    np.copyto(others, np.where(is_top, 0, e).sum(axis=0) + (is_top.sum(axis=0) - 1), where=is_top)
    np.maximum(others, np.finfo(np.float32).tiny, out=others)
    z -= np.log(others, out=others)


def reduce_logits(predictions: NDArray[Any]) -> tuple[Single, Single, Single]:
    """Mean scaled logits, mean clipped scaled logits, and the spread of the largest one."""
    models, points, augmentations, classes = predictions.shape
    scaled_mean = np.empty((models, points, classes), dtype=np.float32)
    clipped_mean = np.empty_like(scaled_mean)
    spread = np.empty((models, points), dtype=np.float32)
    for model in range(models):
        for chosen in _blocks(points, 4 * augmentations * classes, BLOCK_BYTES):
            z = np.ascontiguousarray(predictions[model, chosen].transpose(2, 1, 0), dtype=np.float32)
            scale_in_place(z)
            scaled_mean[model, chosen] = z.mean(axis=1).T
            spread[model, chosen] = z.max(axis=0).std(axis=0)
            z /= augmentations * np.maximum(np.sqrt((z * z).sum(axis=0)), 1)
            clipped_mean[model, chosen] = z.sum(axis=1).T
    return scaled_mean, clipped_mean, spread


def leave_one_out_features(
    x: Single, membership: NDArray[np.bool_], target: int, ridges: Sequence[float] = (0.5, 2.0)
) -> Single:
    """How each model compares with the IN and the OUT shadows, ``[models * points, features]``."""
    models, points, classes = x.shape
    features = np.empty((points, models, 13 + len(ridges)), dtype=np.float32)
    for chosen in _blocks(points, 4 * models * classes, BLOCK_BYTES):
        moments = _Moments(x[:, chosen], membership[:, chosen], target)
        features[chosen, :, :13] = moments.statistics().transpose(1, 2, 0)
        for column, ridge in enumerate(ridges, 13):
            features[chosen, :, column] = moments.discriminant(ridge)
        features[chosen][~moments.comparable, :12] = 0
        features[chosen][~moments.comparable, 13:] = 0
    rows: Single = features.transpose(1, 0, 2).reshape(models * points, -1)
    return rows


def gaussian_scores(x: Single, membership: NDArray[np.bool_], targets: NDArray[np.int64], ridge: float = 0.5) -> Double:
    """Linear discriminant score of each target against all other models, ``[targets, points]``."""
    models, points, classes = x.shape
    scores = np.empty((len(targets), points))
    for chosen in _blocks(points, 4 * models * classes, BLOCK_BYTES):
        moments = _Moments(x[:, chosen], membership[:, chosen], None)
        found = np.where(moments.comparable, moments.discriminant(ridge), 0)
        scores[:, chosen] = found.T[targets]
    return scores


class _Moments:
    """IN and OUT moments of some points, and what is left of them without each one model.

    Removing a value ``x`` from ``n`` with mean ``mu`` leaves, with ``u = x - mu``, the mean ``mu - u / (n - 1)`` and
    the sum of squares ``Q - u^2 n / (n - 1)``. Axes: sides (IN, OUT), points, classes, models.

    Args:
        x: float32 ``[models, points, classes]``.
        membership: bool ``[models, points]``.
        target: the model that is part of no statistic, if any.
    """

    def __init__(self, x: Single, membership: NDArray[np.bool_], target: int | None) -> None:
        self.x = np.ascontiguousarray(x.transpose(1, 2, 0))
        is_in = np.ascontiguousarray(membership.T)
        sides = np.stack([is_in, ~is_in]).astype(np.float32)
        self.sign = np.where(is_in, 1, -1).astype(np.float32)
        if target is not None:
            sides[:, :, target] = 0
            self.sign[:, target] = 1
        counts = sides.sum(axis=-1, keepdims=True)
        self.means = np.matmul(self.x, sides[..., None]) / np.maximum(counts, 1)[..., None]
        self.deviations = self.x - np.where(self.sign[:, None] > 0, self.means[0], self.means[1])
        self.squares = self.deviations**2
        self.sums = np.matmul(self.squares, sides[..., None])
        self.shadows = sides.sum(axis=0)
        left = counts - sides
        self.comparable = (left > 0).all(axis=0)
        self.own_freedom = np.maximum(left - 1, 1)
        self.freedom = np.maximum(left.sum(axis=0) - 2, 1)
        self.shifts = sides / np.maximum(counts - 1, 1)
        self.drops = self.shifts * counts

    def statistics(self) -> Single:
        """The thirteen statistics that go class by class, ``[13, points, models]``."""
        left = [
            np.maximum(total - drop[:, None] * self.squares, 0)
            for total, drop in zip(self.sums, self.drops, strict=True)
        ]
        pooled = (left[0] + left[1]) / self.freedom[:, None]
        floor = np.maximum(1e-3 * pooled.mean(axis=1, keepdims=True), 1e-6)
        shared = np.maximum(pooled, floor)
        precision = 1 / shared
        own_in, own_out = (
            0.7 * np.maximum(squares / freedom[:, None], floor) + 0.3 * shared
            for squares, freedom in zip(left, self.own_freedom, strict=True)
        )
        from_in, from_out = (
            self.x - mean + shift[:, None] * self.deviations
            for mean, shift in zip(self.means, self.shifts, strict=True)
        )
        square_in, square_out = from_in**2, from_out**2
        llr = (square_out - square_in) * precision / 2
        separate = (square_out / own_out - square_in / own_in + np.log(own_out / own_in)) / 2
        top = self.x.argmax(axis=1)[:, None]

        def at_top(values: Single) -> Single:
            return np.take_along_axis(values, top, axis=1)[:, 0]

        root, shift = np.sqrt(at_top(precision)), from_out - from_in
        columns = (
            llr.sum(axis=1),
            separate.sum(axis=1),
            at_top(llr),
            at_top(separate),
            at_top(from_out) * root,
            at_top(from_in) * root,
            at_top(shift) * root,
            (shift**2 * precision).sum(axis=1),
            llr.max(axis=1),
            llr.min(axis=1),
            np.sqrt((square_out * precision).sum(axis=1)),
            np.sqrt((square_in * precision).sum(axis=1)),
            self.x.max(axis=1),
        )
        return np.stack(columns)

    def discriminant(self, ridge: float) -> Single:
        """Linear discriminant of each model without itself, ``[points, models]``.

        One eigendecomposition for each point serves all models: leaving one out is a change of rank one
        (Sherman-Morrison), and the ridge, which differs from model to model, adds to the eigenvalues.
        """
        classes = self.x.shape[1]
        values, rotation = self._axes
        difference = np.matmul(rotation, self.means[0] - self.means[1])
        deviations = np.matmul(rotation, self.deviations)
        drop, shift = self.drops.sum(axis=0), self.shifts.sum(axis=0)
        trace = self.sums.sum(axis=(0, 2)) - drop * self.squares.sum(axis=1)
        added = ridge * self.freedom * np.maximum(trace / (self.freedom * classes), 1e-6)
        inverse = 1 / (values[..., None] + added[:, None])
        along = difference * inverse
        dd = (along * difference).sum(axis=1)
        du = (along * deviations).sum(axis=1)
        uu = (deviations**2 * inverse).sum(axis=1)
        # Where one model is nearly all of the scatter, no digits are left; the kernel starts anew without it.
        left = np.maximum(1 - drop * uu, np.finfo(np.float32).eps)
        half = self.sign / 2 * (dd + drop * du**2 / left)
        score: Single = self.freedom * (half + du / left - self.sign * shift * (1 + shift / 2) * uu / left)
        return score

    @cached_property
    def _axes(self) -> tuple[Single, Single]:
        """Eigenvalues ``[points, classes]`` of the scatter matrix, and its eigenvectors as rows."""
        scatter = np.matmul(self.deviations * self.shadows[:, None], self.deviations.transpose(0, 2, 1))
        values, vectors = np.linalg.eigh(scatter.astype(np.float64))
        rotation = np.ascontiguousarray(vectors.transpose(0, 2, 1), dtype=np.float32)
        return np.maximum(values, 0).astype(np.float32), rotation


def adapted_lira(predictions: NDArray[Any], membership: NDArray[np.bool_], targets: NDArray[np.int64]) -> Double:
    """Adapted LiRA with a full covariance for each side, ``[targets, points]``."""
    models, points, augmentations, classes = predictions.shape
    scores = np.empty((len(targets), points))
    for chosen in _blocks(points, 4 * models * augmentations * classes, LIRA_BLOCK_BYTES):
        z = np.ascontiguousarray(predictions[:, chosen].transpose(3, 1, 2, 0), dtype=np.float32)
        tops = z.argmax(axis=0)  # [points, augmentations, models]
        scale_in_place(z)
        members = np.ascontiguousarray(membership[:, chosen].T)
        rows = np.ogrid[: z.shape[1], : z.shape[2]]
        for row, target in enumerate(targets):
            answers = z[tops[:, :, target], rows[0], rows[1]]
            scores[row, chosen] = _likelihood_ratios(answers.astype(np.float64), members, int(target))
    return scores


def _likelihood_ratios(answers: Double, members: NDArray[np.bool_], target: int) -> Double:
    """Log N(target | IN) - log N(target | OUT) of answers ``[points, augmentations, models]``, for each point."""
    size = answers.shape[1]
    weights = np.stack([members, ~members]).astype(np.float64)
    weights[:, :, target] = 0
    counts = weights.sum(axis=-1)
    means = np.matmul(answers, weights[..., None]) / np.maximum(counts, 1)[..., None, None]
    deviations = (answers - means) * weights[:, :, None]
    scatters = np.matmul(deviations, deviations.swapaxes(-1, -2))
    pooled = scatters.sum(axis=0) / np.maximum(counts.sum(axis=0) - 2, 1)[:, None, None]
    variance = np.einsum("pmm->p", pooled) / size
    jitter = np.maximum(1e-6 * variance, 1e-9)
    own = scatters / np.maximum(counts - 1, 1)[..., None, None]
    offsets = (answers[..., target, None] - means)[..., 0]
    # Bordered by the offset, the Cholesky factor's last row is the solution of the triangular system: batched solvers
    # for triangular matrices are what NumPy lacks. The corner only has to be large enough.
    matrices = np.zeros((*counts.shape, size + 1, size + 1))
    matrices[..., :size, :size] = np.where((counts > 1)[..., None, None], own, pooled)
    matrices[..., range(size), range(size)] += jitter[:, None]
    matrices[..., size, :size] = offsets
    matrices[..., size, size] = 1 + 2 * (offsets**2).sum(axis=-1) / jitter
    factors = np.linalg.cholesky(matrices)
    diagonals = factors[..., range(size), range(size)]
    density = -0.5 * (factors[..., size, :size] ** 2).sum(axis=-1) - np.log(diagonals).sum(axis=-1)
    ratios: Double = np.where((counts > 0).all(axis=0), density[0] - density[1], 0)
    return ratios


def roc_metrics(scores: Double, labels: NDArray[np.bool_], rates: Double) -> Double:
    """AUC, best balanced accuracy and true positive rates by scikit-learn, which is what users have."""
    from sklearn.metrics import roc_auc_score, roc_curve

    fpr, tpr, _ = roc_curve(labels.ravel(), scores.ravel(), drop_intermediate=False)
    at_rates = tpr[np.searchsorted(fpr, rates, side="right") - 1]
    return np.array([roc_auc_score(labels.ravel(), scores.ravel()), (1 + (tpr - fpr).max()) / 2, *at_rates])


def roc_resample(
    scores: Double,
    labels: NDArray[np.bool_],
    target_weights: NDArray[np.uint16],
    point_weights: NDArray[np.uint16],
    rates: Double,
) -> Double:
    """The metrics in every resample; scores are sorted once."""
    order = np.argsort(-scores, axis=None, kind="stable")
    targets, points = np.divmod(order, scores.shape[1])
    members = labels.ravel()[order]
    # The last of every run of equal scores, where the curve has a point.
    ends = np.flatnonzero(np.append(np.diff(scores.ravel()[order]) != 0, True))
    metrics = np.empty((len(target_weights), 2 + len(rates)))
    for row, of_target, of_point in zip(metrics, target_weights, point_weights, strict=True):
        weights = of_target[targets].astype(np.int64) * of_point[points]
        all_above, members_above = np.cumsum(weights)[ends], np.cumsum(weights * members)[ends]
        tpr = np.concatenate([[0], members_above / members_above[-1]])
        fpr = np.concatenate([[0], (all_above - members_above) / (all_above[-1] - members_above[-1])])
        row[0] = np.dot(np.diff(fpr), tpr[1:] + tpr[:-1]) / 2
        row[1] = (1 + (tpr - fpr).max()) / 2
        row[2:] = tpr[np.searchsorted(fpr, rates, side="right") - 1]
    return metrics


def _blocks(points: int, bytes_per_point: int, block_bytes: int) -> list[slice]:
    size = max(1, block_bytes // bytes_per_point)
    return [slice(start, min(start + size, points)) for start in range(0, points, size)]
