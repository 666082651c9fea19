"""``npz:FILE``: points from a user's own file of arrays."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmi.data.arrays import points_from_arrays
from tmi.data.points import Points
from tmi.errors import TmiError

# NAME is a path, relative to the configuration's file.
READS_FILES = True


def load(name: str, inputs: str | None = None, labels: str | None = None) -> Points:
    """``npz:FILE``: arrays ``inputs`` and ``labels``, and optionally ``class_names``.

    ``inputs`` holds images (uint8, or float in [0, 1]; ``[points, height, width]`` or ``[points, channels, height,
    width]``), vectors (float ``[points, dimensions]``) or texts (a string array ``[points]``).

    Args:
        name: the file.
        inputs: another array to take the inputs from.
        labels: another array to take the labels from; its class names are in ``LABELS_names`` if there is such an
            array, and else the numbers.

    Raises:
        TmiError: the file is missing or damaged, or an array is missing or has another shape or type.
    """
    path = Path(name)
    inputs_key, labels_key = inputs or "inputs", labels or "labels"
    names_key = "class_names" if labels_key == "labels" else f"{labels_key}_names"
    arrays = _read_arrays(path, (inputs_key, labels_key), names_key)
    return points_from_arrays(
        arrays[inputs_key], arrays[labels_key], arrays.get(names_key), str(path), (inputs_key, labels_key)
    )


def _read_arrays(path: Path, required: tuple[str, ...], optional: str) -> dict[str, NDArray[Any]]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            for key in required:
                if key not in archive.files:
                    found = ", ".join(sorted(archive.files)) or "none"
                    raise TmiError(f"{path}: the array {key!r} is missing, found {found}")
            return {key: archive[key] for key in (*required, optional) if key in archive.files}
    except FileNotFoundError:
        raise TmiError(f"{path}: there is no such file") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise TmiError(f"{path}: not a readable .npz file of plain arrays: {error}") from None
