"""Saved predictions in the layouts of other tools, read as the arrays that attacks take, and written in the own one.

A module per family of tools, which says how its layout is recognised and read. Adding one is adding a module and its
entry in `LAYOUTS`. Nothing here imports torch or reads a pickle.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmi.errors import TmiError, did_you_mean
from tmi.predictions.formats import leakpro, lira, plain, privacy_meter, privacyguard, tmi_pets24
from tmi.predictions.formats.files import PICKLE_SUFFIXES, read_array
from tmi.predictions.formats.reading import (
    PREDICTIONS,
    PRETRAINING_LABELS,
    TARGET,
    Layout,
    Reading,
    SavedArrays,
    in_numeric_order,
)
from tmi.predictions.intake import Meaning, as_model, as_pretraining_labels
from tmi.system.files import atomic

__all__ = ["LAYOUTS", "Layout", "SavedArrays", "read_saved", "read_target", "write_saved"]

LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        plain.LAYOUT,
        lira.TENSORFLOW_PRIVACY,
        lira.LIRA_PYTORCH,
        privacy_meter.LAYOUT,
        leakpro.LAYOUT,
        tmi_pets24.LAYOUT,
        privacyguard.LAYOUT,
    )
}


def read_saved(
    predictions: Path,
    membership: Path | None = None,
    labels: Path | None = None,
    layout: str | None = None,
    *,
    pretraining_labels: Path | None = None,
    meaning: Meaning = "logits",
) -> SavedArrays:
    """Read predictions, the membership of the models, and labels if there are any.

    Labels that are classes of the predictions are never taken for those of pretraining, nor the other way round.

    Args:
        predictions: a file or a folder.
        membership: a file, for layouts that have none of their own; wins over one that they have.
        labels: a file, likewise.
        layout: a name in `LAYOUTS`; found out from names and shapes if left out.
        pretraining_labels: a file, for all layouts; wins over one beside the predictions.
        meaning: what the numbers are; log-probabilities of tokens are in no layout of other tools.

    Raises:
        TmiError: a file is missing, damaged or unsafe, arrays do not fit, or the layout cannot be told.
    """
    predictions = Path(predictions)
    membership, labels = membership and Path(membership), labels and Path(labels)
    for path in filter(None, (predictions, membership, labels, pretraining_labels)):
        _require_readable(path)
    found = _layout(predictions, membership, layout)
    if meaning == "logits":
        arrays = replace(found.read(predictions, membership, labels), version=found.version)
    elif found is plain.LAYOUT:
        arrays = plain.read(predictions, membership, labels, meaning)
    else:
        raise TmiError(f"{predictions}: is of the layout {found.name}, which has no log-probabilities of tokens")
    if pretraining_labels is None:
        return arrays
    array = read_array(pretraining_labels, PRETRAINING_LABELS)
    of_points = as_pretraining_labels(array, arrays.membership.shape[1], str(pretraining_labels))
    return replace(arrays, pretraining_labels=of_points, files=[*arrays.files, pretraining_labels])


def read_target(path: Path, point_ids: NDArray[np.int64] | None = None, meaning: Meaning = "logits") -> NDArray[Any]:
    """The answers of one model, ``[points, augmentations, classes]``, from a file or its folder of the LiRA codes.

    The rows of a file that says which points they are about are put in the order of the shadow models' ``point_ids``.

    Raises:
        TmiError: a file is missing, damaged or unsafe, or of another shape.
    """
    path = Path(path)
    _require_readable(path)
    checkpoints = [path]
    if path.is_dir():
        checkpoints = in_numeric_order(list((path / "logits").glob("*.npy"))) or list(path.glob("logits.npy"))
    if not checkpoints:
        raise TmiError(f"{path}: holds neither logits.npy nor logits/*.npy, expected the answers of one model")
    file = checkpoints[-1]
    reading = Reading()
    if leakpro.row_numbers(file) is not None:
        return leakpro.read_rows(reading, file, point_ids)
    return as_model(reading.array(file, (*TARGET, *PREDICTIONS)), str(file), reading.note, meaning)


def write_saved(arrays: SavedArrays, folder: Path, *, force: bool = False) -> list[Path]:
    """Write arrays that were read from any layout as files of the own one, which are returned.

    The predictions are written one model at a time, so that they need not fit the memory. With ``force`` files that
    are there are replaced, and those of another conversion that have no successor removed.

    Raises:
        TmiError: one of them is there already, or one that was read would be overwritten.
    """
    others = {
        folder / "membership.npy": arrays.membership,
        folder / "labels.npy": arrays.labels,
        folder / "pretraining_labels.npy": arrays.pretraining_labels,
        folder / "target.npy": arrays.target,
        folder / "target_membership.npy": arrays.target_membership,
    }
    predictions = folder / "predictions.npy"
    present = [file for file in (predictions, *others) if file.exists()]
    read = {file.resolve() for file in arrays.files}
    for file in present:
        if file.resolve() in read:
            raise TmiError(f"{file}: was read from and would be overwritten; name another folder")
        if not force:
            raise TmiError(f"{file}: exists already; name another folder, or replace it with --force")
    first = arrays.models[0]
    shape = (len(arrays.models), *first.shape)
    with atomic(predictions) as opened:
        header = {"descr": np.lib.format.dtype_to_descr(first.dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(opened, header)
        for model in arrays.models:
            opened.write(np.ascontiguousarray(model).data)
    written = [predictions]
    for file, array in others.items():
        if array is not None:
            with atomic(file) as opened:
                np.save(opened, array, allow_pickle=False)
            written.append(file)
    for leftover in set(present) - set(written):
        leftover.unlink()
    return written


def _require_readable(path: Path) -> None:
    if path.suffix in PICKLE_SUFFIXES:
        raise TmiError(
            f"{path}: is a pickle, which can run code when it is read, and is not read; load it where you trust it "
            'and write numpy.save("NAME.npy", array)'
        )
    if not path.exists():
        raise TmiError(f"{path}: there is no such file or directory")


def _layout(predictions: Path, membership: Path | None, name: str | None) -> Layout:
    if name is not None:
        if name not in LAYOUTS:
            raise TmiError(f"there is no layout named {name!r}{did_you_mean(name, list(LAYOUTS))}")
        return LAYOUTS[name]
    fitting = [layout for layout in LAYOUTS.values() if layout.detect(predictions, membership)]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        if any(file for level in ("*", "*/*") for file in predictions.glob(f"{level}/indices_train.pkl")):
            raise TmiError(
                f"{predictions}: SACRO-ML keeps shadow models in pickles, which are not read; the page on saved "
                "predictions has a few lines that write their answers as .npy files"
            )
        raise TmiError(f"{predictions}: is of no layout that is known; say which with --layout: {', '.join(LAYOUTS)}")
    names = " and ".join(layout.name for layout in fitting)
    raise TmiError(f"{predictions}: may be of the layouts {names}; say which with --layout {fitting[0].name}")
