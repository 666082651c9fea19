"""The folders that the published LiRA code writes: TensorFlow Privacy's, and its port to PyTorch.

TensorFlow Privacy (research/mi_lira_2021): ``experiment*/keep.npy``, ``experiment*/logits/*.npy`` of shape
``[points, 1, augmentations, classes]`` with a file per checkpoint, ``experiment*/scores/*.npy`` with the log-odds of
the right class ``[points, augmentations]``, and ``y_train.npy``. lira-pytorch: ``*/keep.npy``, ``*/logits.npy`` of
shape ``[points, augmentations, classes]`` and ``*/scores.npy``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmi.errors import TmiError
from tmi.predictions.formats.reading import LABELS, Layout, Reading, SavedArrays, in_numeric_order, sentence

# The file of one kind, "logits" or "scores", in the folder of a model.
Find = Callable[[Path, str], "Path | None"]


def _last_checkpoint(model: Path, kind: str) -> Path | None:
    files = in_numeric_order(list((model / kind).glob("*.npy")))
    return files[-1] if files else None


def _single_file(model: Path, kind: str) -> Path | None:
    file = model / f"{kind}.npy"
    return file if file.is_file() else None


def _models(path: Path, find: Find) -> list[Path]:
    """The folders of models that have been queried."""
    folders = [file.parent for file in path.glob("*/keep.npy")] if path.is_dir() else []
    return in_numeric_order([folder for folder in folders if find(folder, "logits") or find(folder, "scores")])


def _read(tool: str, find: Find, path: Path, membership: Path | None, labels: Path | None) -> SavedArrays:
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
        models.append(_answers(reading, reading.array(file), kind, str(file)))
    reading.read_as.insert(0, sentence(tool, models, "logits" if kind == "logits" else "two, made of scores"))
    if kind == "scores":
        reading.note("Not all models have logits; the scores, log-odds of the right class, were read in their place.")
    shape = (len(models), len(models[0]))
    given, classes = reading.given(membership, labels, shape)
    mask = reading.membership(_keeps(reading, folders, shape[1]), shape, str(path)) if given is None else given
    beside = path / "y_train.npy"
    if kind == "scores":
        classes = np.zeros(shape[1], dtype=np.int64)
    elif classes is None and beside.is_file():
        classes = reading.labels(reading.array(beside, LABELS)[: shape[1]], shape[1], str(beside))
    return SavedArrays(models, mask, classes, reading.read_as, reading.files)


def _answers(reading: Reading, array: NDArray[Any], kind: str, where: str) -> NDArray[Any]:
    if kind == "logits":
        return reading.model(array, where)
    if array.ndim not in (1, 2):
        raise TmiError(f"{where}: scores have shape {array.shape}, expected [points, augmentations]")
    return reading.signals(array.reshape(len(array), -1), where)


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


def _layout(name: str, summary: str, find: Find) -> Layout:
    return Layout(
        name,
        summary,
        lambda path, membership: bool(_models(path, find)),
        lambda path, membership, labels: _read(name, find, path, membership, labels),
    )


TENSORFLOW_PRIVACY = _layout(
    "tensorflow-privacy",
    "the folder of mi_lira_2021: experiment*/keep.npy with logits/*.npy or scores/*.npy",
    _last_checkpoint,
)
LIRA_PYTORCH = _layout("lira-pytorch", "a folder per model with keep.npy and logits.npy or scores.npy", _single_file)
