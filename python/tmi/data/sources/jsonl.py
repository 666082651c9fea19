"""``jsonl:FILE``: texts with labels or without, a JSON object a line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tmi.data.arrays import checked_text, unlabelled, with_ids, with_named_labels
from tmi.data.points import Points
from tmi.data.sources.text import decoded
from tmi.errors import TmiError
from tmi.system.files import file_size, parse_json
from tmi.system.memory import require_room

# NAME is a path, relative to the configuration's file.
READS_FILES = True
# Of an object that lacks one.
KEYS_SHOWN = 6


def load(name: str, inputs: str | None = None, labels: str | None = None, ids: str | None = None) -> Points:
    """``jsonl:FILE``: one object per line with the strings ``text`` and ``label`` (a number is taken as a name).

    If no line has a ``label``, and no other key was asked for, the points have no labels.

    Args:
        name: the file.
        inputs: another key to take the texts from.
        labels: another key to take the labels from.
        ids: a key to take from what each point is called, a string or whole number.

    Raises:
        TmiError: the file is missing, or a line is not such an object (the line is named).
    """
    path = Path(name)
    text_key, label_key = inputs or "text", labels or "label"
    texts: list[str] = []
    names: list[str] = []
    named: list[str] = []
    without_label: list[str] = []
    for where, line in _lines(path):
        record = _record(line, where)
        texts.append(_text(record, text_key, where))
        if ids is not None:
            named.append(_label(record, ids, where))
        if label_key in record:
            names.append(_label(record, label_key, where))
        else:
            without_label.append(where)
    raw = np.array(texts, dtype=object)
    if without_label and (names or labels is not None):
        raise TmiError(
            f"{without_label[0]}: has no {label_key!r}, expected a string or whole number {label_key!r} in every line"
        )
    points = with_named_labels(raw, names, "text") if names else unlabelled(raw, "text")
    return points if ids is None else with_ids(points, named, str(path), ids)


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """The lines of a file that are not blank, and what each is called in error messages."""
    try:
        require_room(file_size(path), str(path))
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield f"{path}, line {number}", decoded(line, path, number)
    except FileNotFoundError:
        raise TmiError(f"{path}: there is no such file") from None
    except OSError as error:
        raise TmiError(f"{path}: cannot be read: {error}") from None


def _record(line: str, where: str) -> dict[str, Any]:
    record = parse_json(line, where)
    if not isinstance(record, dict):
        raise TmiError(f"{where}: expected a JSON object, found a {type(record).__name__}")
    return record


def _text(record: dict[str, Any], key: str, where: str) -> str:
    if not isinstance(record.get(key), str):
        raise TmiError(f"{where}: expected an object with a string {key!r}, {_found(record, key)}")
    return checked_text(record[key], where)


def _label(record: dict[str, Any], key: str, where: str) -> str:
    if not isinstance(record.get(key), str | int):
        raise TmiError(f"{where}: expected an object with a string or whole number {key!r}, {_found(record, key)}")
    return str(record[key])


def _found(record: dict[str, Any], key: str) -> str:
    if key in record:
        return f"found a {type(record[key]).__name__}"
    keys = ", ".join(map(repr, list(record)[:KEYS_SHOWN])) or "none"
    return f"found the keys {keys}: where they have other names, these are said in the configuration"
