"""Bands that hold a whole curve at once, from resampled curves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Rows beyond a threshold, of either kind, from which on resampled curves are believed.
LEAST_ROWS = 5


def rank_envelope(curves: NDArray[np.float64], confidence: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The narrowest pair of order statistics that contains a share ``confidence`` of whole curves.

    At every point of the grid the band runs from the k-th smallest to the k-th largest value, with one k for all
    points: the largest for which that share of the curves stays inside everywhere (Davison and Hinkley 1997, section
    4.2.4). A curve that touches the band counts as inside.

    Args:
        curves: float64 ``[curves, grid]``.
        confidence: share of the curves, in (0, 1].

    Returns:
        Lower and upper edge, float64 ``[grid]``.
    """
    ordered = np.sort(curves, axis=0)
    count = len(curves)
    # How far in a curve lies: the largest k with which it is still inside, at its worst point of the grid.
    depth = np.full(count, count)
    for column, values in zip(ordered.T, curves.T, strict=True):
        not_above = np.searchsorted(column, values, side="right")
        not_below = count - np.searchsorted(column, values, side="left")
        depth = np.minimum(depth, np.minimum(not_above, not_below))
    # The middle is the innermost band that there is, whatever the confidence.
    kept = min(np.sort(depth)[::-1][int(np.ceil(confidence * count)) - 1], (count + 1) // 2)
    return ordered[kept - 1], ordered[count - kept]


def simultaneous_band(
    curves: NDArray[np.float64], resolved: NDArray[np.bool_], confidence: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A band around a whole ROC curve, from its resamples.

    It is the `rank_envelope` where the sample resolves the curve. As a ROC curve rises, what holds at one rate holds at
    all higher ones from below, and at all lower ones from above: edges that fall are levelled, and where the sample
    resolves nothing they go on from the nearest rate at which it does, or end at 0 and 1.

    Args:
        curves: float64 ``[resamples, grid]``, true positive rates at rising false positive rates.
        resolved: bool ``[grid]``, see `resolved_rates`.
        confidence: with which the band holds all of the curve, in (0, 1).

    Returns:
        Lower and upper edge, float64 ``[grid]``.
    """
    low, high = np.zeros(curves.shape[1]), np.ones(curves.shape[1])
    if resolved.any():
        low[resolved], high[resolved] = rank_envelope(curves[:, resolved], confidence)
    return np.maximum.accumulate(low), np.minimum.accumulate(high[::-1])[::-1]


def resolved_rates(
    fpr: NDArray[np.float64], tpr: NDArray[np.float64], members: int, non_members: int
) -> NDArray[np.bool_]:
    """Where resamples of a ROC curve say how uncertain it is, bool ``[grid]``.

    At the ends they do not: a curve that finds every member finds every member in all resamples. So many non-members
    must be above the threshold, and so many members below it, that the simulated coverage is right.
    """
    enough: NDArray[np.bool_] = (fpr * non_members >= LEAST_ROWS) & ((1 - tpr) * members >= LEAST_ROWS)
    return enough
