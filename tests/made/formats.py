"""Predictions that leak, and what is read of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmi.predictions.arrays import Predictions
from tmi.predictions.attack_input import AttackInput
from tmi.predictions.formats import SavedArrays

MODELS, POINTS, AUGMENTATIONS, CLASSES = 12, 40, 3, 5


def same(found: SavedArrays, logits: NDArray[Any], membership: NDArray[np.bool_]) -> bool:
    """Whether exactly these arrays were read, and attacks take them."""
    np.testing.assert_array_equal(np.stack(found.models), logits)
    np.testing.assert_array_equal(found.membership, membership)
    AttackInput(Predictions(found.models), found.membership, labels=found.labels)
    assert found.read_as
    assert all(file.is_file() for file in found.files)
    return found.membership.dtype == np.bool_


def two_class(signals: NDArray[Any]) -> NDArray[np.float32]:
    return np.stack([signals, np.zeros_like(signals)], axis=-1).astype(np.float32)


Leak = tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.int64]]


def write_tensorflow(folder: Path, leak: Leak) -> None:
    logits, membership, labels = leak
    for model, array in enumerate(logits):
        experiment = folder / f"experiment-{model}_{MODELS}"
        (experiment / "logits").mkdir(parents=True)
        np.save(experiment / "keep.npy", np.append(membership[model], True))
        np.save(experiment / "logits" / "0000000010.npy", array[:, None] * 0)
        np.save(experiment / "logits" / "0000000100.npy", array[:, None])
    np.save(folder / "y_train.npy", np.append(labels, 0))
