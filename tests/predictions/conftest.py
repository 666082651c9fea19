"""Fixtures of this folder."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from made.formats import AUGMENTATIONS, CLASSES, MODELS, POINTS


@pytest.fixture
def leak() -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.int64]]:
    """Logits of models that answer their members more surely, membership and labels."""
    random = np.random.default_rng(7)
    membership = random.random((MODELS, POINTS)).argsort(axis=1) < POINTS // 2
    labels = random.integers(0, CLASSES, POINTS)
    logits = random.normal(size=(MODELS, POINTS, AUGMENTATIONS, CLASSES))
    logits += (2 + 2 * membership)[..., None, None] * np.eye(CLASSES)[labels][:, None]
    return logits.astype(np.float32), membership, labels
