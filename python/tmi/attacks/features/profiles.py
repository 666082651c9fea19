"""Predictions averaged over their augmentations, through the Rust kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from tmi import _core
from tmi.predictions.arrays import Predictions


@dataclass(frozen=True)
class Profiles:
    """The answers of every model at every point, averaged over the augmentations.

    Attributes:
        scaled: float32 ``[models, points, classes]``, mean logit-scaled confidence of every class.
        clipped: the same with each answer's vector scaled down to norm 1 before the mean.
        spread: float32 ``[models, points]``, standard deviation of the largest scaled logit over augmentations.
    """

    scaled: NDArray[np.float32]
    clipped: NDArray[np.float32]
    spread: NDArray[np.float32]


# Several attacks on the same answers need the same profiles. They go when the predictions go.
_known: WeakKeyDictionary[Predictions, Profiles] = WeakKeyDictionary()


def profiles(predictions: Predictions, threads: int = 1) -> Profiles:
    """Scale the logits and average them over augmentations, a block of points at a time.

    The arrays hold all points: attacks that go point by point are given a few points at a time (`tmi.attacks.scoring`).
    """
    if predictions not in _known:
        _known[predictions] = _profiles(predictions, threads)
    return _known[predictions]


def _profiles(predictions: Predictions, threads: int) -> Profiles:
    models, points, _, classes = predictions.shape

    def reduced(block: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        if not predictions.are_log_odds:
            return _core.reduce_logits(block, threads=threads)
        # A text's numbers are of one scale already: none can outweigh the others, as the logit of a class can.
        mean = block.mean(axis=2)
        return mean, mean, block.max(axis=-1).std(axis=2)

    if predictions.points_in_memory >= points:
        return Profiles(*reduced(predictions.block(slice(None))))
    scaled = np.empty((models, points, classes), dtype=np.float32)
    clipped = np.empty_like(scaled)
    spread = np.empty((models, points), dtype=np.float32)
    for chosen, block in predictions.blocks():
        scaled[:, chosen], clipped[:, chosen], spread[:, chosen] = reduced(block)
    return Profiles(scaled, clipped, spread)
