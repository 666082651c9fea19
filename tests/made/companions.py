"""Models finetuned in several ways, of which each shows something of its own about membership."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tmi.predictions.arrays import Predictions
from tmi.predictions.attack_input import AttackInput


def finetunings(
    membership: NDArray[np.bool_], effect: float = 0.0, seed: int = 0, labels: NDArray[np.int64] | None = None
) -> AttackInput:
    """Three finetunings in 4, 3 and 2 classes, the last asked once about each point; labels are of pretraining."""
    random, (models, points) = np.random.default_rng(seed), membership.shape
    seen = []
    for classes, augmentations in ((4, 2), (3, 2), (2, 1)):
        direction = random.normal(size=(points, 1, classes))
        logits = random.normal(size=(models, points, augmentations, classes))
        logits += effect * membership[..., None, None] * direction
        predictions = Predictions(list(logits.astype(np.float32)))
        seen.append(AttackInput(predictions, membership, seed=seed, pretraining_labels=labels))
    return replace(seen[0], companions=tuple(seen[1:]))


def golden(shared: Path, parts: Sequence[slice], models: int = 17, *, labels: bool = False) -> AttackInput:
    """Real models that tell topics apart; each part of the classes stands for a finetuning."""
    folder = shared / "golden" / "text"
    logits, membership = np.load(folder / "predictions.npy")[:models], np.load(folder / "membership.npy")[:models]
    taught = np.load(folder / "labels.npy").astype(np.int64) if labels else None
    own, *others = (
        AttackInput(Predictions(list(np.ascontiguousarray(logits[..., part]))), membership, pretraining_labels=taught)
        for part in parts
    )
    return replace(own, companions=tuple(others))
