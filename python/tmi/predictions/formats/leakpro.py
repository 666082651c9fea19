"""LeakPro: ``attack_cache/sm_<i>_<population>_logits.npy`` and ``target_<model>_logits.npy``, ``[points, classes]``.

``_indices.npy`` beside each says which point of the population each row is about; earlier versions wrote neither these
nor the hashes. Who was trained on what lies in pickles, which are not read here: the user exports it once.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmi.errors import TmiError
from tmi.predictions.formats.reading import Layout, Reading, SavedArrays, in_numeric_order
from tmi.predictions.intake import as_model

# The number of the shadow model and, since hashes are written, that of the population that it was asked about.
SHADOW = re.compile(r"sm_(\d+)(?:_(\w+))?_logits\.npy")
ENDING = "_logits.npy"


def _cache(path: Path) -> Path:
    if path.is_file():
        return path.parent
    inner = path / "attack_cache"
    return inner if inner.is_dir() else path


def _populations(path: Path) -> dict[str, list[Path]]:
    """The shadow models' files by the hash of their population, in the order of the models; of one file, its own."""
    populations: dict[str, list[Path]] = {}
    # Of one population the names differ in the number of the model alone, whatever digits its hash has.
    for file in in_numeric_order(list(_cache(path).glob(f"sm_*{ENDING}"))):
        if found := SHADOW.fullmatch(file.name):
            populations.setdefault(found[2] or "", []).append(file)
    if path.is_file():
        return {population: files for population, files in populations.items() if path in files}
    return populations


def detect(path: Path, membership: Path | None) -> bool:
    """A folder of cached logits of shadow models, or one of its files."""
    return bool(_populations(path))


def read(path: Path, membership: Path | None, labels: Path | None) -> SavedArrays:
    """Read the cache, points in ascending order of their indices; the target becomes `SavedArrays.target`."""
    reading = Reading()
    populations = _populations(path)
    if not populations:
        raise TmiError(f"{path}: holds no files sm_*_logits.npy, as LeakPro writes them")
    if len(populations) > 1:
        found = ", ".join(f"{len(files)} like {files[0].name}" for files in populations.values())
        raise TmiError(
            f"{path}: holds shadow models of {len(populations)} populations, which are not to be mixed ({found}); name "
            "one of the files instead of the folder"
        )
    if membership is None:
        raise TmiError(
            f"{path}: LeakPro keeps membership in pickles, which are not read; save what "
            "ShadowModelHandler().get_in_indices_mask(...) returns with numpy.save and name the file with --membership"
        )
    (files,) = populations.values()
    points = row_numbers(files[0])
    models = [read_rows(reading, file, points) for file in files]
    names = ", ".join(str(int(file.name.split("_")[1])) for file in files)
    reading.note(f"Models are the files sm_{names} in this order, which is taken to be that of the membership.")
    if points is not None:
        reading.note("Points are in ascending order of _indices.npy, which is taken to be that of the membership.")
    shape = (len(models), len(models[0]))
    beside = _cache(path) / "labels.npy"
    mask, classes = reading.given(membership, labels or (beside if beside.is_file() else None), shape)
    assert mask is not None
    target = _target(reading, _cache(path), points)
    return reading.result("LeakPro", models, mask, classes, target=target, point_ids=points)


def row_numbers(file: Path) -> NDArray[np.int64] | None:
    """Which points the rows of a file of logits are about, in ascending order; None if nothing beside it says so."""
    rows = _indices(Reading(), file)
    return None if rows is None else np.sort(rows)


def read_rows(reading: Reading, file: Path, points: NDArray[np.int64] | None) -> NDArray[Any]:
    """The answers in a file ``*_logits.npy``, its rows in the order of ``points``; None where no file says which."""
    array, rows = reading.array(file), _indices(reading, file)
    # LeakPro squeezes: a single class leaves no axis behind.
    model = as_model(array[:, None] if array.ndim == 1 else array, str(file), reading.note)
    if rows is None and points is None:
        return model
    if rows is None or points is None:
        raise TmiError(
            f"{file}: has {'no ' * (rows is None)}_indices.npy beside it, unlike the files of the shadow models"
        )
    if len(rows) != len(model):
        raise TmiError(f"{file}: has {len(model)} rows, but {len(rows)} indices beside it")
    order = np.argsort(rows)
    if not np.array_equal(rows[order], points):
        raise TmiError(
            f"{file}: is about other points: {len(np.setdiff1d(points, rows))} of the {len(points)} points of the "
            f"other files are not among its {len(rows)} indices"
        )
    if np.array_equal(rows, points):
        return model
    reading.note(f"The rows of {file.name} were put in the order of the others.")
    return np.ascontiguousarray(model[order])


def _indices(reading: Reading, file: Path) -> NDArray[np.int64] | None:
    beside = file.with_name(f"{file.name.removesuffix(ENDING)}_indices.npy")
    if not beside.is_file():
        return None
    rows = reading.array(beside)
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or len(np.unique(rows)) < len(rows):
        raise TmiError(f"{beside}: has type {rows.dtype} and shape {rows.shape}, expected different whole numbers")
    return rows.astype(np.int64)


def _target(reading: Reading, cache: Path, points: NDArray[np.int64] | None) -> NDArray[Any] | None:
    """The one target that is about the same points; its file is named after a hash of its weights."""
    files = sorted({*cache.glob(f"target_*{ENDING}"), *cache.glob("target_logits.npy")})
    fitting = []
    for file in files:
        rows = row_numbers(file)
        if (rows is None) == (points is None) and np.array_equal(rows, points):  # type: ignore[arg-type]
            fitting.append(file)
        else:
            reading.note(f"{file.name} is about other points than the shadow models and was left out.")
    if len(fitting) == 1:
        reading.note(f"{fitting[0].name} is the model under attack; what it was trained on is not told.")
        return read_rows(reading, fitting[0], points)
    if fitting:
        names = ", ".join(file.name for file in fitting)
        reading.note(f"There are {len(fitting)} targets ({names}): none was read; name one with --target.")
    return None


LAYOUT = Layout(
    "leakpro",
    "attack_cache/sm_*_logits.npy, target_*_logits.npy and _indices.npy; membership exported by you",
    detect,
    read,
    version=2,
)
