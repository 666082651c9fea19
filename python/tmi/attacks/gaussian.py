"""Gaussians fitted to the shadows' mean logit vectors at one point."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tmi import _core
from tmi.attacks.features.profiles import profiles
from tmi.attacks.registry import Attack, register
from tmi.predictions.attack_input import AttackInput

# Shrinkage of the covariance towards a multiple of the identity, relative to the mean variance.
RIDGE = 0.5
# The mean variance is taken to be at least this, as in the kernels.
LEAST_SCALE = 1e-6
# Numbers of type float64 in one block of points of `GaussianOffline`.
BLOCK_ENTRIES = 4_000_000
# Up to so many classes covariances are made even where there are fewer models, as in the kernels.
FEW_CLASSES = 256


@register
class Gaussian(Attack):
    """A linear discriminant per point on the mean scaled logits of all classes.

    IN and OUT shadows share one covariance over classes, pooled and shrunk; with the few shadows that one has,
    separate covariances lose to a shared one.
    """

    name = "gaussian"
    summary = "likelihood ratio on the whole logit vector, one Gaussian pair per point"
    default = 30
    point_by_point = True

    def score(self, answers: AttackInput, targets: Sequence[int]) -> NDArray[np.float64]:
        """The log-likelihood ratio of each target's mean scaled logits."""
        scaled = profiles(answers.predictions, answers.threads).scaled
        return _core.gaussian_scores(
            scaled,
            answers.membership,
            np.asarray(targets, dtype=np.int64),
            ridge=RIDGE,
            threads=answers.threads,
        )


@register
class GaussianOffline(Attack):
    """How far the target's mean scaled logits are from those of the OUT shadows, whichever way.

    Without IN shadows nobody knows in which direction membership moves the logits of a point, so none is assumed: the
    score is the squared Mahalanobis distance from the OUT shadows, less what it is on average for a non-member. Higher
    means farther out than a non-member should be. Points that are in no shadow's pretraining set are scored as well.
    """

    name = "gaussian-offline"
    summary = "distance of the whole logit vector from the OUT shadows, no IN shadows"
    point_by_point = True

    def score(self, answers: AttackInput, targets: Sequence[int]) -> NDArray[np.float64]:
        """The excess of the squared distance; 0 where fewer than two OUT shadows are left."""
        answered = profiles(answers.predictions, answers.threads).scaled
        scores = np.empty((len(targets), answers.membership.shape[1]))
        models, points, classes = answered.shape
        dimensions = models if classes > max(FEW_CLASSES, models) else classes
        size = max(1, BLOCK_ENTRIES // (classes * models + 3 * dimensions**2))
        for start in range(0, points, size):
            here = slice(start, start + size)
            x = answered[:, here].transpose(1, 0, 2).astype(np.float64)
            if dimensions < classes:
                x = _coordinates(x)
            for row, target in enumerate(targets):
                shadows = np.delete(x, target, axis=1)
                outside = ~np.delete(answers.membership[:, here], target, axis=0).T
                scores[row, here] = _excess_distance(x[:, target], shadows, outside, classes)
        return scores


def _coordinates(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Coordinates ``[points, models, models]`` of answers ``[points, models, classes]`` in their span.

    All differences of answers have the same products with one another, and more is not asked for.
    """
    centred = x - x.mean(axis=1, keepdims=True)
    squares, axes = np.linalg.eigh(centred @ centred.transpose(0, 2, 1))
    coordinates: NDArray[np.float64] = axes * np.sqrt(np.maximum(squares, 0.0))[:, None]
    return coordinates


def _excess_distance(
    x: NDArray[np.float64], shadows: NDArray[np.float64], outside: NDArray[np.bool_], classes: int
) -> NDArray[np.float64]:
    """Squared Mahalanobis distance from the OUT shadows less its expectation for one more of them.

    With the mean ``m`` and the unbiased covariance ``S`` of ``n`` OUT shadows and the shrunken
    ``C = S + RIDGE trace(S) / classes I`` it is ``(x - m)^T C^-1 (x - m) - (1 + 1 / n) trace(C^-1 S)``.

    Args:
        x: ``[points, dimensions]``, the target's answers or their coordinates.
        shadows: ``[points, shadows, dimensions]``.
        outside: bool ``[points, shadows]``, the OUT shadows.
        classes: of the answers.

    Returns:
        float64 ``[points]``; 0 where there are fewer than two OUT shadows.
    """
    count = outside.sum(axis=1)
    weights = outside[:, None, :].astype(np.float64)
    mean = (weights @ shadows)[:, 0] / np.maximum(count, 1)[:, None]
    residuals = np.where(outside[..., None], shadows - mean[:, None], 0.0)
    covariance = residuals.transpose(0, 2, 1) @ residuals / np.maximum(count - 1, 1)[:, None, None]
    scale = np.maximum(np.trace(covariance, axis1=1, axis2=2) / classes, LEAST_SCALE)
    shrunken = covariance + RIDGE * scale[:, None, None] * np.eye(x.shape[1])
    difference = (x - mean)[..., None]
    solved = np.linalg.solve(shrunken, np.concatenate([difference, covariance], axis=-1))
    distance = (difference.transpose(0, 2, 1) @ solved[..., :1])[:, 0, 0]
    expected = (1 + 1 / np.maximum(count, 1)) * np.trace(solved[..., 1:], axis1=1, axis2=2)
    return np.where(count >= 2, distance - expected, 0.0)
