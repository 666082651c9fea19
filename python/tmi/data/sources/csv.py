"""``csv:FILE``: a table as text: a column of texts, or columns of numbers, and one of labels."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from tmi.data.arrays import checked_text, labelled, unlabelled, with_ids
from tmi.data.points import Points
from tmi.data.sources.text import decoded
from tmi.data.tables import INPUTS, LABELS
from tmi.errors import TmiError, did_you_mean, listed
from tmi.system.files import file_size
from tmi.system.memory import require_room

# NAME is a path, relative to the configuration's file.
READS_FILES = True
DELIMITERS = ",;\t"


def load(name: str, inputs: str | None = None, labels: str | None = None, ids: str | None = None) -> Points:
    """``csv:FILE``: a table with a first line of names, separated by commas, semicolons or tabs, in UTF-8.

    Args:
        name: the file.
        inputs: the column of the texts; if left out, one with a usual name, or the only one besides the labels. Where
            all columns besides the labels hold numbers, each row of them is a vector.
        labels: the column of the labels; one with a usual name if left out, none if there is none.
        ids: the column that says what each point is called, which is no part of a vector; none if left out.

    Raises:
        TmiError: the file is missing or no such table, a column is missing, or a cell is empty.
    """
    path = Path(name)
    names, rows = _table(path)
    for key, wanted in (("labels", labels), ("inputs", inputs), ("id", ids)):
        if wanted is not None and wanted not in names:
            raise TmiError(f"{path}: {key} is {wanted!r}, but there is no such column{did_you_mean(wanted, names)}")
    of_labels = labels or next((usual for usual in LABELS if usual in names), None)
    others = [column for column in names if column not in (of_labels, ids)]
    of_inputs = inputs or next((usual for usual in INPUTS if usual in others), None)
    vectors = None if of_inputs else _vectors([[row[names.index(column)] for column in others] for _, row in rows])
    if vectors is None and of_inputs is None:
        if len(others) != 1:
            raise TmiError(f"{path}: say with inputs which column to read, of {listed(others) or 'none'}")
        of_inputs = others[0]
    if of_inputs is None and vectors is not None:
        raw, kind = vectors, "vector"
    else:
        place = names.index(str(of_inputs))
        texts = [checked_text(row[place], f"{path}, line {line}: {of_inputs!r}") for line, row in rows]
        raw, kind = np.array(texts, dtype=object), "text"
    if of_labels is None:
        points = unlabelled(raw, kind)  # type: ignore[arg-type]
    else:
        found = np.array(_named(path, names, rows, of_labels), dtype=object)
        points = labelled(raw, kind, found, None, str(path), of_labels)  # type: ignore[arg-type]
    return points if ids is None else with_ids(points, _named(path, names, rows, ids), str(path), ids)


def _named(path: Path, names: list[str], rows: list[tuple[int, list[str]]], column: str) -> list[str]:
    """The cells of a column, of which none is empty."""
    place = names.index(column)
    return [checked_text(row[place], f"{path}, line {line}: {column!r}").strip() for line, row in rows]


def _table(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The names of the columns, and the rows with the number of the line in which each ends."""
    try:
        require_room(file_size(path), str(path))
        text = decoded(path.read_bytes(), path, 1)
    except FileNotFoundError:
        raise TmiError(f"{path}: there is no such file") from None
    except OSError as error:
        raise TmiError(f"{path}: cannot be read: {error}") from None
    head = text.partition("\n")[0]
    reader = csv.reader(text.splitlines(keepends=True), delimiter=max(DELIMITERS, key=head.count), strict=True)
    try:
        names = [name.strip() for name in next(reader, [])]
        rows = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise TmiError(f"{path}, line {reader.line_num}: not a table of separated values: {error}") from None
    if not names or len(set(names)) < len(names):
        raise TmiError(f"{path}: expected a first line with a different name for every column")
    for line, row in rows:
        if len(row) != len(names):
            raise TmiError(f"{path}, line {line}: has {len(row)} cells, expected {len(names)}, one per column")
    return names, rows


def _vectors(cells: list[list[str]]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]] | None:
    """Rows of finite numbers; None where a cell holds something else."""
    try:
        with np.errstate(over="ignore"):
            vectors = np.array(cells, dtype=np.float32)
    except ValueError:
        return None
    return vectors if vectors.ndim == 2 and vectors.shape[1] and np.isfinite(vectors).all() else None
