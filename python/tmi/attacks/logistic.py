"""A ridge logistic regression for every challenge point."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from tmi.attacks.registry import Attack, register
from tmi.predictions.attack_input import AttackInput, neutral

# With a penalty of this strength Newton's method has converged to rounding.
NEWTON_STEPS = 6
# No feature is scaled up by more than one over this: logits that all shadows agree on differ by rounding only.
LEAST_SCALE = 1e-6
# Log-odds this far from the prior ones are what rounding and the trace of a penalty on the intercept leave of 0; they
# follow the number of members, so that ranking by them would rank by that.
LEAST_LOG_ODDS = 1e-8
# Numbers of type float64 in the features of one block of points; the work takes a few times that.
BLOCK_ENTRIES = 4_000_000


@register
class RidgeLogistic(Attack):
    """Logistic regression of membership on a point's answers: all augmentations and classes side by side.

    A row is a shadow, its features are the scaled logits of all classes of all augmentations, standardised over the
    shadows. The penalty is half the squared norm of the weights times the number of features; the intercept is free.
    A linear metaclassifier has little to learn, so dozens of rows are enough for it where trees starve.
    """

    name = "ridge-logistic"
    summary = "one ridge logistic regression per challenge point on all augmentations and classes"
    point_by_point = True

    def score(self, answers: AttackInput, targets: Sequence[int]) -> NDArray[np.float64]:
        """Log-odds of membership less those of the shadows' rows alone; 0 where no IN or no OUT shadow is left."""
        models, points, augmentations, classes = answers.predictions.shape
        scores = np.empty((len(targets), points))
        size = max(1, BLOCK_ENTRIES // (models * augmentations * classes))
        for start in range(0, points, size):
            here = slice(start, min(start + size, points))
            block = answers.predictions.block(here)
            scaled = answers.predictions.log_odds(block, threads=answers.threads)
            scaled = scaled.reshape(models, -1, augmentations * classes)
            x = scaled.transpose(1, 0, 2).astype(np.float64)
            for row, target in enumerate(targets):
                members = np.delete(answers.membership[:, here], target, axis=0).T
                scores[row, here] = _log_odds(np.delete(x, target, axis=1), members, x[:, target])
        scores[neutral(answers.membership, targets)] = 0.0
        return scores


def _log_odds(
    rows: NDArray[np.float64], members: NDArray[np.bool_], queries: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Fit a regression for each point and evaluate it at one query.

    Args:
        rows: ``[points, shadows, features]``.
        members: bool ``[points, shadows]``.
        queries: ``[points, features]``.

    Returns:
        float64 ``[points]``, the log-odds of membership less the prior ones, ``log(members / non-members)``: how many
        shadows happen to have the point says nothing about the target. Exactly 0 where they differ by rounding only,
        not finite where all shadows are alike.
    """
    _, shadows, features = rows.shape
    rows, queries = _standardised(rows, queries)
    if features > shadows:
        rows, queries = _rotated(rows, queries)
    weights = _fit(_with_intercept(rows), members, float(features))
    log_odds = (_with_intercept(queries[:, None]) @ weights[..., None])[:, 0, 0]
    count = members.sum(axis=1)
    with np.errstate(divide="ignore"):
        prior = np.log(count / (shadows - count))
    difference: NDArray[np.float64] = log_odds - prior
    difference[np.abs(difference) < LEAST_LOG_ODDS] = 0.0
    return difference


def _fit(rows: NDArray[np.float64], members: NDArray[np.bool_], penalty: float) -> NDArray[np.float64]:
    """Weights ``[points, features]`` of penalised maximum likelihood by Newton's method, the last one free.

    Where all members are alike the intercept has no finite maximum: it stays small there, by a trace of a penalty.
    """
    penalties = np.full(rows.shape[-1], penalty)
    penalties[-1] = 1e-9
    weights = np.zeros((len(rows), rows.shape[-1], 1))
    across = rows.transpose(0, 2, 1)
    for _ in range(NEWTON_STEPS):
        probability = expit(rows @ weights)
        gradient = across @ (probability - members[..., None]) + penalties[:, None] * weights
        hessian = across @ (rows * (probability * (1 - probability))) + np.diag(penalties)
        weights = weights - np.linalg.solve(hessian, gradient)
    return weights[..., 0]


def _standardised(
    rows: NDArray[np.float64], queries: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rows and queries on the scale on which each feature has mean 0 and variance 1 over a point's rows."""
    centre = rows.mean(axis=1)
    scale = np.maximum(rows.std(axis=1), LEAST_SCALE)
    return (rows - centre[:, None]) / scale[:, None], (queries - centre) / scale


def _rotated(
    rows: NDArray[np.float64], queries: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The same rows in as many coordinates as there are rows.

    A ridge penalty does not see rotations, and the weights lie in the space that the rows span: the fit is the same.
    """
    basis, coordinates = np.linalg.qr(rows.transpose(0, 2, 1))
    return coordinates.transpose(0, 2, 1), (queries[:, None] @ basis)[:, 0]


def _with_intercept(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows ``[points, rows, features]`` with a last feature that is 1."""
    return np.concatenate([rows, np.ones((*rows.shape[:2], 1))], axis=-1)
