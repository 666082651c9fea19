"""Ranks with ties and q-values, as of `scipy.stats`, whose import takes longer than most commands."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def mid_ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    """Ranks from 1 along the first axis, equal values sharing the mean of theirs (`scipy.stats.rankdata`).

    Args:
        values: without NaN, ``[rows]`` or ``[rows, columns]``.

    Returns:
        float64 of the same shape.
    """
    order = np.argsort(values, axis=0)
    ordered = np.take_along_axis(values, order, axis=0)
    place = np.arange(len(values)).reshape(-1, *[1] * (values.ndim - 1))
    end = np.ones_like(ordered[:1], dtype=np.bool_)
    differ = ordered[1:] != ordered[:-1]
    first = np.maximum.accumulate(np.where(np.concatenate([end, differ]), place, 0), axis=0)
    last = np.minimum.accumulate(np.where(np.concatenate([differ, end]), place, len(values))[::-1], axis=0)[::-1]
    ranks = np.empty(values.shape)
    np.put_along_axis(ranks, order, (first + last) / 2 + 1, axis=0)
    return ranks


def q_values(p_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of false discoveries among all with a p-value as small, ``[tests]`` (Benjamini and Hochberg 1995)."""
    order = np.argsort(p_values)
    raised = p_values[order] * (len(p_values) / np.arange(1, len(p_values) + 1))
    found = np.empty(len(p_values))
    found[order] = np.minimum(np.minimum.accumulate(raised[::-1])[::-1], 1.0)
    return found
