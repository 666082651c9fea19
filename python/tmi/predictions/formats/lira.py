"""The folders that the published LiRA code writes: TensorFlow Privacy's, and its port to PyTorch.

TensorFlow Privacy (research/mi_lira_2021): ``experiment*/keep.npy``, ``experiment*/logits/*.npy`` of shape
``[points, 1, augmentations, classes]`` with a file per checkpoint, ``experiment*/scores/*.npy`` with the log-odds of
the right class ``[points, augmentations]``, and ``y_train.npy``. lira-pytorch: ``*/keep.npy``, ``*/logits.npy`` of
shape ``[points, augmentations, classes]`` and ``*/scores.npy``, and no labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmi import _core
from tmi.errors import TmiError
from tmi.predictions.arrays import holds_nan
from tmi.predictions.formats.files import open_npy
from tmi.predictions.formats.reading import LABELS, Layout, Reading, SavedArrays, in_numeric_order
from tmi.predictions.intake import as_labels, as_membership, as_model

# The file of one kind, "logits" or "scores", in the folder of a model.
Find = Callable[[Path, str], "Path | None"]

# Labels are looked for in the answers of so many models. In sets of both tools one model tells the classes apart.
MODELS_WITH_LABELS = 8
# Scores differ from the right class's log-odds by rounding: by 1e-5 in sets of both tools, the next class by 0.65.
SAME_SCORE = 1e-2
# Both codes add 1e-45 to probabilities, which bounds the log-odds at 103; far inside it makes no difference.
LARGEST_SCORE = 80.0
# Points at a time, so that many queries and classes fit the memory.
BLOCK = 4096


def _last_checkpoint(model: Path, kind: str) -> Path | None:
    files = in_numeric_order(list((model / kind).glob("*.npy")))
    return files[-1] if files else None


def _single_file(model: Path, kind: str) -> Path | None:
    file = model / f"{kind}.npy"
    return file if file.is_file() else None


def is_one_model(path: Path, finds: Sequence[Find] = (_single_file, _last_checkpoint)) -> bool:
    """Whether a path is the folder of one model or its logits, where that of all models is meant."""
    folder = path.parent if path.is_file() and path.name in ("logits.npy", "scores.npy") else path
    keep = folder / "keep.npy"
    if not keep.is_file() or open_npy(keep).ndim != 1:
        return False
    return any(find(folder, kind) for find in finds for kind in ("logits", "scores"))


def refuse_one_model(path: Path) -> None:
    """Say what is meant to be named, where one model's folder was."""
    if is_one_model(path):
        raise TmiError(
            f"{path}: is the folder of a single model, as lira-pytorch and TensorFlow Privacy write it (keep.npy has "
            "one axis); name the folder above, which holds one for each model"
        )


def _models(path: Path, find: Find) -> list[Path]:
    """The folders of models that have been queried."""
    folders = [file.parent for file in path.glob("*/keep.npy")] if path.is_dir() else []
    return in_numeric_order([folder for folder in folders if find(folder, "logits") or find(folder, "scores")])


def _read(tool: str, find: Find, path: Path, membership: Path | None, labels: Path | None) -> SavedArrays:
    refuse_one_model(path)
    reading = Reading()
    folders = _models(path, find)
    if not folders:
        raise TmiError(f"{path}: holds no folders with keep.npy and logits or scores, as {tool} writes them")
    kind = "logits" if all(find(folder, "logits") for folder in folders) else "scores"
    files = [find(folder, kind) for folder in folders]
    models = []
    for folder, file in zip(folders, files, strict=True):
        if file is None:
            raise TmiError(f"{folder}: has no {kind}, expected them for each of the {len(folders)} models in {path}")
        array = reading.array(file)
        if kind == "logits":
            models.append(as_model(array, str(file), reading.note))
        elif array.ndim in (1, 2):
            models.append(reading.signals(array.reshape(len(array), -1), str(file)))
        else:
            raise TmiError(f"{file}: scores have shape {array.shape}, expected [points, augmentations]")
    if kind == "scores":
        reading.note("Not all models have logits; the scores, log-odds of the right class, were read in their place.")
    checkpoints = {file.name for file in files if file is not None}
    if len(checkpoints) > 1:
        reading.note(
            f"The last checkpoints differ, from {min(checkpoints)} to {max(checkpoints)}: models that were trained for "
            "other times are compared."
        )
    shape = (len(models), len(models[0]))
    mask, classes = reading.given(membership, labels, shape)
    if mask is None:
        mask = as_membership(_keeps(reading, folders, shape[1]), shape, str(path), reading.note)
    beside = path / "y_train.npy"
    if kind == "scores":
        classes = np.zeros(shape[1], dtype=np.int64)
    elif classes is None and beside.is_file():
        truths = reading.array(beside, LABELS)
        classes = as_labels(truths[: shape[1]] if truths.ndim else truths, shape[1], str(beside))
    elif classes is None:
        classes = _labels_from_scores(reading, models, folders, [find(folder, "scores") for folder in folders])
    return reading.result(tool, models, mask, classes, "logits" if kind == "logits" else "two, made of scores")


def _keeps(reading: Reading, folders: list[Path], points: int) -> NDArray[Any]:
    """The membership of all models; what lies beyond the points that were queried is left out, as their code does."""
    rows = []
    for folder in folders:
        file = folder / "keep.npy"
        row = reading.array(file)
        if row.ndim != 1 or len(row) < points:
            raise TmiError(f"{file}: membership has shape {row.shape}, expected ({points},), one per point")
        if len(row) > points:
            reading.note(f"Membership of the first {points} of {len(row)} points was used, those that were queried.")
        rows.append(row[:points])
    return np.stack(rows)


def _labels_from_scores(
    reading: Reading, models: list[NDArray[Any]], folders: list[Path], files: list[Path | None]
) -> NDArray[np.int64] | None:
    """The class of each point whose log-odds are the scores in all models that are looked at; None if there is none.

    The logits are ``[points, augmentations, classes]``, the scores in the files ``[points, augmentations]``.
    """
    chosen = np.linspace(0, len(models) - 1, min(MODELS_WITH_LABELS, len(models))).astype(int)
    if any(files[model] is None or models[model].shape != models[0].shape for model in chosen):
        return None
    scores = [reading.array(file) for model in chosen if (file := files[model]) is not None]
    points, augmentations, classes = models[0].shape
    if any(array.shape != (points, augmentations) or array.dtype.kind != "f" for array in scores):
        reading.note("Labels could not be had from the scores, which have another shape than the logits.")
        return None
    labels = np.zeros(points, dtype=np.int64)
    unclear = 0
    for start in range(0, points, BLOCK):
        here = slice(start, start + BLOCK)
        furthest = np.zeros((len(labels[here]), classes))
        for model, score in zip(chosen, scores, strict=True):
            # A copy, since numbers in a file may begin anywhere and the kernel reads aligned ones.
            logits = np.array(models[model][here], dtype=np.float32, order="C")
            if holds_nan(logits):
                raise TmiError(f"{folders[model]}: its logits hold NaN, expected numbers")
            log_odds = _core.scale_logits(logits.reshape(-1, classes)).reshape(logits.shape)
            bounded = [np.clip(each, -LARGEST_SCORE, LARGEST_SCORE) for each in (log_odds, score[here, :, None])]
            difference = bounded[0] - bounded[1]
            # Not a number is no agreement.
            furthest = np.maximum(furthest, np.nan_to_num(np.abs(difference), nan=np.inf).max(axis=1))
        labels[here] = furthest.argmin(axis=1)
        unclear += int(((furthest <= SAME_SCORE).sum(axis=1) != 1).sum())
    if unclear:
        reading.note(f"Labels could not be had from the scores: at {unclear} of {points} points not one class fits.")
        return None
    reading.note(
        "There are no labels; they were found from scores and logits: at every point exactly one class has log-odds "
        f"that are the scores of {len(chosen)} models."
    )
    return labels


def _layout(name: str, summary: str, find: Find) -> Layout:
    return Layout(
        name,
        summary,
        # One model's folder is refused by name in `_read`.
        lambda path, membership: bool(_models(path, find)) or is_one_model(path, [find]),
        lambda path, membership, labels: _read(name, find, path, membership, labels),
        version=2,
    )


TENSORFLOW_PRIVACY = _layout(
    "tensorflow-privacy",
    "the folder of mi_lira_2021: experiment*/keep.npy with logits/*.npy or scores/*.npy",
    _last_checkpoint,
)
LIRA_PYTORCH = _layout("lira-pytorch", "a folder per model with keep.npy and logits.npy or scores.npy", _single_file)
