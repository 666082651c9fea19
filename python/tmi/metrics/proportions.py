"""The exact interval of a proportion, and what figures need to be made of scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from tmi.errors import TmiError


def clopper_pearson(
    successes: ArrayLike, trials: ArrayLike, confidence: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The exact interval of a proportion (Clopper and Pearson 1934), for arrays that broadcast.

    It holds the true proportion with at least the stated probability, whatever the proportion, and usually with more:
    what is exact is the guarantee.

    Args:
        successes: whole numbers from 0 to ``trials``.
        trials: whole numbers from 1.
        confidence: in (0, 1).

    Returns:
        Lower and upper ends, float64 of the broadcast shape.

    Raises:
        TmiError: a number is outside its range.
    """
    require_confidence(confidence)
    k, n = np.broadcast_arrays(np.asarray(successes, dtype=np.float64), np.asarray(trials, dtype=np.float64))
    if not ((k >= 0) & (k <= n) & (n >= 1) & (k == np.floor(k)) & (n == np.floor(n))).all():
        raise TmiError("successes and trials are not whole numbers with 0 <= successes <= trials and trials >= 1")
    tail = (1 - confidence) / 2
    # The beta distribution degenerates at either end, where the bound is known. Its parameters are kept legal there.
    low = np.where(k == 0, 0.0, special.betaincinv(np.maximum(k, 1), n - k + 1, tail))
    high = np.where(k == n, 1.0, special.betaincinv(k + 1, np.maximum(n - k, 1), 1 - tail))
    return low, high


def require_confidence(confidence: float) -> None:
    """Raise a TmiError unless a confidence lies between 0 and 1."""
    if not 0 < confidence < 1:
        raise TmiError(f"confidence is {confidence}, expected a number between 0 and 1")


def require_judged(scores: NDArray[np.float64], labels: NDArray[np.bool_]) -> None:
    """Raise a TmiError unless scores and labels are both ``[targets, points]``, without NaN."""
    if labels.ndim != 2 or labels.dtype != np.bool_ or scores.shape != labels.shape:
        raise TmiError(
            f"scores have shape {scores.shape} and labels type {labels.dtype} and shape {labels.shape}, "
            "expected the same shape [targets, points] and labels of type bool"
        )
    if np.isnan(scores).any():
        raise TmiError("scores hold NaN, expected numbers or infinities")
