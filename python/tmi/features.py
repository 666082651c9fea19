"""From predictions to the features that the metaclassifiers read, through the Rust kernels."""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from tmi import _core
from tmi.answers import Predictions

# Ridges of the linear discriminants, relative to the mean variance: a mild and a strong shrinkage.
RIDGES = (0.5, 2.0)


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

    The arrays hold all points: attacks that go point by point are given a few points at a time (`tmi.scoring`).
    """
    if predictions not in _known:
        _known[predictions] = _profiles(predictions, threads)
    return _known[predictions]


def _profiles(predictions: Predictions, threads: int) -> Profiles:
    models, points, _, classes = predictions.shape
    if predictions.points_in_memory >= points:
        return Profiles(*_core.reduce_logits(predictions.block(slice(None)), threads=threads))
    scaled = np.empty((models, points, classes), dtype=np.float32)
    clipped = np.empty_like(scaled)
    spread = np.empty((models, points), dtype=np.float32)
    for chosen, block in predictions.blocks():
        scaled[:, chosen], clipped[:, chosen], spread[:, chosen] = _core.reduce_logits(block, threads=threads)
    return Profiles(scaled, clipped, spread)


def feature_names() -> list[str]:
    """Names of the features of `target_features`, in order."""
    statistics = _core.leave_one_out_feature_names(RIDGES)
    return [f"{kind}_{name}" for kind in ("scaled", "clipped") for name in statistics] + ["spread"]


def target_features(
    profile: Profiles, membership: NDArray[np.bool_], target: int, threads: int = 1
) -> NDArray[np.float32]:
    """What the metaclassifier of one target sees of every model.

    Every model is compared with all others but itself and the target, so that a shadow's row is made in the same way
    as the target's own.

    Args:
        profile: averaged answers.
        membership: bool ``[models, points]``; the target's row is ignored.
        target: which model plays the target.
        threads: for the kernels.

    Returns:
        float32 ``[models, points, features]``, the features in the order of `feature_names`.
    """
    families = [
        _core.leave_one_out_features(x, membership, target, ridges=RIDGES, threads=threads)
        for x in (profile.scaled, profile.clipped)
    ]
    return np.concatenate([*families, profile.spread[..., None]], axis=-1)
