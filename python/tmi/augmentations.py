"""The queries about a point: the point itself and variations of it, the same ones for every model."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tmi.config import QueryConfig
from tmi.datasets import Points
from tmi.errors import TmiError
from tmi.seeding import stream


def make_queries(points: Points, query: QueryConfig, seed: int, purpose: str = "queries") -> NDArray[Any]:
    """All queries about all points.

    Args:
        points: the challenge points.
        query: which variations and how many; query 0 is the point itself.
        seed: the run's seed; what is drawn depends on it, on the purpose and on the points only.
        purpose: names the random stream, so that two sets of points draw independently.

    Returns:
        An array like ``points.raw`` with an axis more: ``[points, augmentations, ...]``.

    Raises:
        TmiError: the augmentation does not fit points of this kind.
    """
    suits = {"none": points.kind, "shift": "image", "word-dropout": "text"}[query.augmentation]
    if suits != points.kind:
        raise TmiError(
            f"query.augmentation is {query.augmentation!r}, which is for {suits}s; the points are {points.kind}s"
        )
    if query.augmentation == "none" and query.count > 1:
        raise TmiError(f"query.count is {query.count}, expected 1 with query.augmentation 'none'")

    variations = [points.raw]
    if query.augmentation == "shift":
        variations += [shift(points.raw, direction, query.strength) for direction in _directions(query.count - 1)]
    elif query.augmentation == "word-dropout":
        random = stream(seed, purpose)
        variations += [drop_words(points.raw, query.strength, random) for _ in range(query.count - 1)]
    return np.stack(variations, axis=1)


def shift(images: NDArray[np.float32], direction: float, pixels: float) -> NDArray[np.float32]:
    """Move images by a fraction of a pixel or more, bilinearly; the border repeats.

    Args:
        images: float32 ``[points, ..., height, width]``.
        direction: angle in radians, 0 = right, pi/2 = down.
        pixels: how far.
    """
    offsets = [0.0] * (images.ndim - 2) + [pixels * math.sin(direction), pixels * math.cos(direction)]
    shifted: NDArray[np.float32] = ndimage.shift(images, offsets, order=1, mode="nearest")
    return shifted


def drop_words(texts: NDArray[Any], fraction: float, random: np.random.Generator) -> NDArray[Any]:
    """Leave out each word with probability ``fraction``, but never all of them."""
    shortened = np.empty_like(texts)
    for index, text in enumerate(texts):
        words = text.split()
        kept = [word for word, draw in zip(words, random.random(len(words)), strict=True) if draw >= fraction]
        shortened[index] = " ".join(kept or words[:1])
    return shortened


def _directions(number: int) -> list[float]:
    return [2 * math.pi * index / number for index in range(number)]
