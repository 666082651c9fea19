"""Arrays in files of this project's own conventions: one file, or a folder with a file per model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmi.errors import TmiError
from tmi.predictions.formats.files import ARRAY_SUFFIXES, read_arrays
from tmi.predictions.formats.lira import is_one_model, refuse_one_model
from tmi.predictions.formats.reading import (
    LABELS,
    MEMBERSHIP,
    PREDICTIONS,
    PRETRAINING_LABELS,
    TARGET,
    Layout,
    Reading,
    SavedArrays,
)
from tmi.predictions.intake import Meaning, as_labels, as_membership, as_model, as_models, as_pretraining_labels

# Files that tmi-pets24 and LeakPro write, which have layouts of their own.
OF_OTHERS = re.compile(r"target_point_logits.*|sm_\d+(_\w+)?_logits\.npy")


def detect(path: Path, membership: Path | None) -> bool:
    """A file of arrays that is not named as other tools name theirs, a run, or a folder of numbered files."""
    if is_one_model(path):
        return False
    if path.is_file():
        return path.suffix in ARRAY_SUFFIXES and not OF_OTHERS.fullmatch(path.name)
    return bool(_numbered(path) or _numbered(path / "predictions") or _named(path, PREDICTIONS))


def read(path: Path, membership: Path | None, labels: Path | None, meaning: Meaning = "logits") -> SavedArrays:
    """Read a file or a folder; membership, labels of either kind and a target may lie beside or in it."""
    refuse_one_model(path)
    reading = Reading(meaning)
    file = path if path.is_file() else _named(path, PREDICTIONS)
    if file is not None:
        inside = read_arrays(file, (*PREDICTIONS, *MEMBERSHIP, *LABELS, *PRETRAINING_LABELS, *TARGET))
        reading.files.append(file)
        name = next((name for name in PREDICTIONS if name in inside), next(iter(inside)) if len(inside) == 1 else None)
        if name is None:
            raise TmiError(f"{file}: holds no array named {' or '.join(PREDICTIONS)}")
        models = as_models(inside[name], str(file), reading.note, meaning)
        folder = file.parent
    else:
        inside = {}
        models = _models(reading, path) or _models(reading, path / "predictions")
        if not models:
            raise TmiError(f"{path}: holds neither predictions.npy nor a file per model, 000.npy, 001.npy and so on")
        # The predictions of a run lie in its directory, those of a variant of it in variants/NAME below.
        above = (path, path.parent, *path.parents[1:2]) if path.parent.name == "variants" else (path, path.parent)
        folder = next((each for each in above if _named(each, MEMBERSHIP)), path.parent)
    shape = (len(models), len(models[0]))

    def found(names: tuple[str, ...], given: Path | None) -> tuple[NDArray[Any], str] | None:
        """An array from the file that the user named, from that of the predictions, or from one beside it."""
        for name in names if given is None else ():
            if name in inside:
                return inside[name], f"{file}: array {name!r}"
        # A file that was named has its fellows named as well; in a folder they are found by their names.
        beside = given or (_named(folder, names) if path.is_dir() else None)
        return None if beside is None else (reading.array(beside, names), str(beside))

    mask = found(MEMBERSHIP, membership)
    if mask is None:
        raise TmiError(f"{path}: has no membership beside it; name its file, bool [models, points], with --membership")
    classes, target, pretraining = found(LABELS, labels), found(TARGET, None), found(PRETRAINING_LABELS, None)
    # Where the user says who was trained on what, nobody knows it of the points that a run has asked about besides.
    reference = _reference(reading, path, folder) if file is None and membership is None else None
    return reading.result(
        "tmi",
        models,
        as_membership(mask[0], shape, mask[1], reading.note),
        classes and as_labels(classes[0], shape[1], classes[1]),
        target=target and as_model(*target, reading.note, meaning),
        pretraining_labels=pretraining and as_pretraining_labels(pretraining[0], shape[1], pretraining[1]),
        reference=reference,
    )


def _models(reading: Reading, folder: Path) -> list[NDArray[Any]]:
    """The predictions of a file per model."""
    return [as_model(reading.array(each), str(each), reading.note, reading.meaning) for each in _numbered(folder)]


def _reference(reading: Reading, path: Path, folder: Path) -> SavedArrays | None:
    """What a run has asked about the points that nobody challenges; their membership lies in its ``folder``."""
    home = path.parent if _numbered(path) else path
    models = _models(reading, home / "reference_predictions")
    if not models:
        return None
    mask, labels = folder / "reference_membership.npy", folder / "reference_labels.npy"
    shape = (len(models), len(models[0]))
    membership = as_membership(reading.array(mask), shape, str(mask), reading.note)
    of_points = as_labels(reading.array(labels), shape[1], str(labels)) if labels.exists() else None
    reading.note(f"{shape[1]} further points, which nobody challenges, teach the attacks.")
    return SavedArrays(models, membership, None, [], [], pretraining_labels=of_points)


def _named(folder: Path, names: tuple[str, ...]) -> Path | None:
    """The first file of one of the names in a folder."""
    files = (folder / f"{name}{suffix}" for name in names for suffix in ARRAY_SUFFIXES)
    return next((file for file in files if file.is_file()), None)


def _numbered(folder: Path) -> list[Path]:
    """The files ``000.npy``, ``001.npy`` and so on of a folder, one per model, of which none may be missing."""
    files = sorted((file for file in folder.glob("*.npy") if file.stem.isdecimal()), key=lambda file: int(file.stem))
    missing = np.setdiff1d(np.arange(len(files)), [int(file.stem) for file in files])
    if missing.size:
        raise TmiError(f"{folder}: holds {len(files)} numbered files, but not that of model {missing[0]}")
    return files


LAYOUT = Layout(
    "tmi",
    "a .npy, .npz or .safetensors file [models, points, (augmentations,) classes], a run, or a folder of 000.npy, …",
    detect,
    read,
)
