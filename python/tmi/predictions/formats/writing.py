"""Writing arrays that were read from any layout as the files of this project's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tmi.errors import TmiError
from tmi.predictions.formats.reading import SavedArrays
from tmi.system.files import atomic

FILES = ("predictions.npy", "membership.npy", "labels.npy", "target.npy", "target_membership.npy")


def write_saved(arrays: SavedArrays, folder: Path, *, force: bool = False) -> list[Path]:
    """Write the arrays, the predictions one model at a time, so that they need not fit the memory.

    Args:
        arrays: what was read.
        folder: is made if it is missing.
        force: replace what is there; arrays of another conversion that have no successor are removed.

    Returns:
        The files written.

    Raises:
        TmiError: one of them is there already, or one that was read would be overwritten.
    """
    present = [folder / name for name in FILES if (folder / name).exists()]
    read = {file.resolve() for file in arrays.files}
    for file in present:
        if file.resolve() in read:
            raise TmiError(f"{file}: was read from and would be overwritten; name another folder")
        if not force:
            raise TmiError(f"{file}: exists already; name another folder, or replace it with --force")
    others = {
        "membership.npy": arrays.membership,
        "labels.npy": arrays.labels,
        "target.npy": arrays.target,
        "target_membership.npy": arrays.target_membership,
    }
    written = [folder / "predictions.npy"]
    _write_predictions(arrays, written[0])
    for name, array in others.items():
        if array is not None:
            written.append(folder / name)
            with atomic(written[-1]) as opened:
                np.save(opened, array, allow_pickle=False)
    for leftover in set(present) - set(written):
        leftover.unlink()
    return written


def _write_predictions(arrays: SavedArrays, path: Path) -> None:
    first = arrays.models[0]
    shape = (len(arrays.models), *first.shape)
    header = {"descr": np.lib.format.dtype_to_descr(first.dtype), "fortran_order": False, "shape": shape}
    with atomic(path) as file:
        np.lib.format.write_array_header_1_0(file, header)
        for model in arrays.models:
            file.write(np.ascontiguousarray(model).data)
