"""A target that is known by its saved predictions only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmi.errors import TmiError
from tmi.predictions.formats.files import open_npy


def load_predictions(path: Path, points: int, augmentations: int, width: int, where: str) -> NDArray[Any]:
    """The numbers of a ``.npy`` file, flattened to ``[points * augmentations, width]``.

    Args:
        path: an array ``[points, augmentations, classes]``, in the order of the run's challenge points and queries;
            the augmentations may be left out where there is one, the classes where they are labels.
        points: of the run.
        augmentations: queries per point.
        width: numbers of an answer.
        where: what an error message starts with.

    Raises:
        TmiError: there is no such file, it is no array of numbers, or has another shape.
    """
    try:
        array = open_npy(path)
    except TmiError as error:
        raise TmiError(f"{where}: {error}") from None
    if array.dtype.kind not in "fiu":
        raise TmiError(f"{where}: {path}: has type {array.dtype}, expected numbers")
    shapes: list[tuple[int, ...]] = [(points, augmentations, width)]
    shapes += [(points, augmentations)] if width == 1 else []
    shapes += [(points, width)] if augmentations == 1 else []
    shapes += [(points,)] if augmentations == width == 1 else []
    if array.shape not in shapes:
        raise TmiError(f"{where}: {path} has shape {array.shape}, expected {' or '.join(map(str, shapes))}")
    return np.array(array).reshape(points * augmentations, width)
