"""The paper's own code: answers ``[points, models, augmentations, classes]``, float mask ``[points, models]``.

The answers are called logits there and are softmax outputs. It saves both in pickles, which are not read here; the
error says how to export them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tmi.errors import TmiError
from tmi.predictions.formats.files import open_npy
from tmi.predictions.formats.reading import (
    LEAST_PROBABILITY,
    MEMBERSHIP,
    PREDICTIONS,
    Layout,
    Reading,
    SavedArrays,
)
from tmi.predictions.intake import are_probabilities, as_floats, as_membership

EXPORT = (
    'numpy.save("target_point_logits.npy", torch.load("target_point_logits.pth", map_location="cpu").numpy()) and '
    'numpy.save("mask.npy", tmi_obj.mask)'
)


def detect(path: Path, membership: Path | None) -> bool:
    """Files of its names, or predictions beside a mask of numbers with the points first in both."""
    if path.is_dir():
        return any(path.glob("target_point_logits*.npy")) or any(path.glob("target_point_logits*.pth"))
    if path.name.startswith("target_point_logits"):
        return True
    if path.suffix != ".npy" or membership is None or membership.suffix != ".npy":
        return False
    logits, mask = open_npy(path), open_npy(membership)
    points_first = logits.ndim == 4 and mask.shape == logits.shape[:2] and mask.shape[0] > mask.shape[1]
    return points_first and mask.dtype.kind == "f"


def read(path: Path, membership: Path | None, labels: Path | None) -> SavedArrays:
    """Read the logits, exported as ``.npy``, and the mask beside them."""
    reading = Reading()
    files = sorted(path.glob("target_point_logits*.npy")) if path.is_dir() else [path]
    if len(files) > 1:
        raise TmiError(f"{path}: holds {', '.join(file.name for file in files)}: name one of them")
    if not files:
        raise TmiError(f"{path}: holds logits as pickles alone, which are not read; export them with {EXPORT}")
    mask_file = membership or files[0].parent / "mask.npy"
    if not mask_file.is_file():
        raise TmiError(f"{mask_file}: there is no such file; export logits and mask with {EXPORT}")
    logits = reading.array(files[0], ("target_point_logits", *PREDICTIONS))
    if logits.ndim != 4:
        raise TmiError(f"{files[0]}: has shape {logits.shape}, expected [points, models, augmentations, classes]")
    models = [
        as_floats(logits[:, model], f"{files[0]}: model {model}", reading.note) for model in range(logits.shape[1])
    ]
    # Its function that fills "logits" ends in a softmax.
    if all(are_probabilities(model) for model in models):
        reading.note("tmi-pets24 saves probabilities, of which the logarithm was taken.")
        # The smallest number of float16 is far above that of float32.
        models = [np.log(np.maximum(model.astype(np.float32), LEAST_PROBABILITY)) for model in models]
    shape = (len(models), len(models[0]))
    mask = reading.array(mask_file, MEMBERSHIP)
    # Theirs is [points, models]: said to be so even where both lengths are equal.
    stored = mask.T if mask.shape == shape[::-1] else mask
    if shape[0] == shape[1] and membership is None:
        reading.note("The mask was read as [points, models].")
    _, classes = reading.given(None, labels, shape)
    members = np.ascontiguousarray(as_membership(stored, shape, str(mask_file), reading.note))
    return reading.result("tmi-pets24, [points, models, augmentations, classes]", models, members, classes)


LAYOUT = Layout(
    "tmi-pets24", "the paper's code: target_point_logits.npy [points, models, …] and mask.npy", detect, read, version=2
)
