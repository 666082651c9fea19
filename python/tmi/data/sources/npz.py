"""``npz:FILE``: points from a user's own file of arrays."""

from __future__ import annotations

from pathlib import Path

from tmi.data.arrays import points_from_arrays, with_ids
from tmi.data.points import Points
from tmi.errors import TmiError, listed
from tmi.predictions.formats.files import OpenedNpz

# NAME is a path, relative to the configuration's file.
READS_FILES = True


def load(name: str, inputs: str | None = None, labels: str | None = None, ids: str | None = None) -> Points:
    """``npz:FILE``: arrays ``inputs`` and ``labels``, and optionally ``class_names`` and ``ids``.

    ``inputs`` holds images (uint8, or float in [0, 1]; ``[points, height, width]`` or ``[points, channels, height,
    width]``), vectors (float ``[points, dimensions]``) or texts (a string array ``[points]``).

    Args:
        name: the file.
        inputs: another array to take the inputs from.
        labels: another array to take the labels from; its class names are in ``LABELS_names`` if there is such an
            array, and else the numbers.
        ids: another array to take from what each point is called, whole numbers or strings.

    Raises:
        TmiError: the file is missing or damaged, or an array is missing or has another shape or type.
    """
    path = Path(name)
    inputs_key, labels_key = inputs or "inputs", labels or "labels"
    names_key = "class_names" if labels_key == "labels" else f"{labels_key}_names"
    with OpenedNpz(path) as archive:
        for key in (inputs_key, labels_key, *([ids] if ids else [])):
            if key not in archive.names:
                found = listed(sorted(archive.names)) or "none"
                raise TmiError(f"{path}: the array {key!r} is missing, found {found}")
        keys = [key for key in (inputs_key, labels_key, names_key, ids or "ids") if key in archive.names]
        arrays = archive.read(keys, may_be_empty=True)
    points = points_from_arrays(
        arrays[inputs_key], arrays[labels_key], arrays.get(names_key), str(path), (inputs_key, labels_key)
    )
    named = arrays.get(ids or "ids")
    return points if named is None else with_ids(points, named, str(path), ids or "ids")
