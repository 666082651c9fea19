"""Points from the columns of an Arrow table, which Parquet files and data sets of the hub hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmi.data.arrays import checked_text, labelled, unlabelled, with_ids
from tmi.data.images import stack_images
from tmi.data.points import PointKind, Points
from tmi.errors import TmiError, did_you_mean, listed

# What columns are commonly called; the first that is there is used.
INPUTS = ("inputs", "image", "img", "images", "text", "sentence", "content", "features", "embedding", "vector")
LABELS = ("labels", "label", "fine_label", "class", "target", "category", "topic", "y")


def points_from_table(
    table: Any,
    class_names: dict[str, list[str]],
    where: str,
    inputs: str | None = None,
    labels: str | None = None,
    ids: str | None = None,
) -> Points:
    """Points from two columns of an Arrow table, and one of what they are called.

    Args:
        table: a ``pyarrow.Table``.
        class_names: of the columns whose numbers have names.
        where: begins every error message.
        inputs: a column of images (``{bytes, path}`` of an encoded image, or its bytes), strings or lists of floats;
            if left out, the first of ``INPUTS`` that is there.
        labels: a column of whole numbers or strings; if left out, the first of ``LABELS`` that is there, and if there
            is none, all points are of the single class `tmi.data.arrays.UNLABELLED`.
        ids: a column of whole numbers or strings.

    Raises:
        TmiError: a column is missing, has empty cells or texts, or is of another type.
    """
    input_column = _chosen(table, inputs, INPUTS, "inputs", where)
    if input_column is None:
        raise TmiError(f"{where}: say with inputs which column to read, of {listed(table.column_names) or 'none'}")
    label_column = _chosen(table, labels, LABELS, "labels", where)
    raw, kind = _read_inputs(table.column(input_column), f"{where}: column {input_column!r}")
    if label_column is None:
        points = unlabelled(raw, kind)
    else:
        names = class_names.get(label_column)
        points = labelled(raw, kind, _read_labels(table.column(label_column)), names, where, label_column)
    named = _chosen(table, ids, (), "id", where)
    return points if named is None else with_ids(points, table.column(named).to_pylist(), where, named)


def _chosen(table: Any, wanted: str | None, usual: tuple[str, ...], key: str, where: str) -> str | None:
    """The column to read, which is there and has no empty cells; None if none is wanted nor has a usual name."""
    columns: list[str] = table.column_names
    if wanted is not None and wanted not in columns:
        raise TmiError(f"{where}: {key} is {wanted!r}, but there is no such column{did_you_mean(wanted, columns)}")
    found = wanted or next((name for name in usual if name in columns), None)
    if found is not None and (empty := table.column(found).null_count):
        raise TmiError(f"{where}: column {found!r} is empty in {empty} rows, expected none")
    return found


def _read_inputs(column: Any, where: str) -> tuple[NDArray[Any], PointKind]:
    from pyarrow import types

    kind = column.type
    if types.is_string(kind) or types.is_large_string(kind):
        return np.array([_text(cell, f"{where}, row {row}") for row, cell in enumerate(column)], dtype=object), "text"
    if types.is_struct(kind) and "bytes" in [field.name for field in kind]:
        return _read_images(column, where), "image"
    if types.is_binary(kind) or types.is_large_binary(kind):
        return _read_images(column, where), "image"
    is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    if is_list and types.is_floating(kind.value_type):
        return _read_vectors(column, where), "vector"
    raise TmiError(f"{where} has type {kind}, expected images ({{bytes, path}}), strings or lists of floats")


def _text(cell: Any, where: str) -> str:
    try:
        text: str = cell.as_py()
    except UnicodeDecodeError as error:
        raise TmiError(f"{where}: not UTF-8 text: {error.reason}") from None
    return checked_text(text, where)


def _read_images(column: Any, where: str) -> NDArray[np.uint8]:
    rows = ((f"{where}, row {row}", cell.as_py()) for row, cell in enumerate(column))
    return stack_images(((name, _encoded_image(cell, name)) for name, cell in rows), len(column))


def _encoded_image(cell: dict[str, Any] | bytes, where: str) -> Path | bytes:
    """The image in a cell, or the file that it names."""
    if isinstance(cell, bytes):
        return cell
    content: bytes | None = cell["bytes"]
    if content is not None:
        return content
    if not cell.get("path"):
        raise TmiError(f"{where}: has neither an image nor the path of one")
    return Path(cell["path"])


def _read_vectors(column: Any, where: str) -> NDArray[np.float32]:
    from pyarrow import compute

    lengths = compute.list_value_length(column).to_numpy()
    if (lengths != lengths[:1]).any():
        row = int(np.argmax(lengths != lengths[0]))
        raise TmiError(f"{where}, row {row}: has {lengths[row]} numbers, row 0 has {lengths[0]}: expected the same")
    values = compute.list_flatten(column)
    if values.null_count or not compute.all(compute.is_finite(values), min_count=0).as_py():
        raise TmiError(f"{where} holds NaN, infinite or empty values")
    with np.errstate(over="ignore"):
        vectors: NDArray[np.float32] = values.to_numpy().astype(np.float32)
    if not np.isfinite(vectors).all():
        raise TmiError(f"{where} holds numbers beyond those of float32")
    return vectors.reshape(len(column), int(lengths[0]) if len(lengths) else 0)


def _read_labels(column: Any) -> NDArray[Any]:
    from pyarrow import types

    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if types.is_string(column.type) or types.is_large_string(column.type):
        return np.array(column.to_pylist(), dtype=object)
    labels: NDArray[Any] = column.to_numpy()
    return labels.astype(np.int64) if labels.dtype == np.bool_ else labels
