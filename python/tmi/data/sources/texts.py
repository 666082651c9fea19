"""Points from a user's own files of texts, with labels or without."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tmi.data.points import Points
from tmi.data.sources.arrays import checked_text, unlabelled, with_named_labels
from tmi.errors import TmiError

BLANK_LINES = re.compile(r"\n\s*\n")


def load_text(name: str) -> Points:
    """``text:PATH``: plain texts in UTF-8, without labels.

    Args:
        name: a file whose paragraphs, separated by blank lines, are the points; or a folder whose files ``*.txt`` are,
            each a point, in the order of their names.

    Raises:
        TmiError: there is no such file or folder, a folder without such files, or a file that is empty or not UTF-8.
    """
    path = Path(name)
    texts = _texts_of_folder(path) if path.is_dir() else _paragraphs(_content(path))
    return unlabelled(np.array(texts, dtype=object), "text")


def load_jsonl(name: str, inputs: str | None = None, labels: str | None = None) -> Points:
    """``jsonl:FILE``: one object per line with the strings ``text`` and ``label`` (a number is taken as a name).

    If no line has a ``label``, and no other key was asked for, the points have no labels.

    Args:
        name: the file.
        inputs: another key to take the texts from.
        labels: another key to take the labels from.

    Raises:
        TmiError: the file is missing, or a line is not such an object (the line is named).
    """
    path = Path(name)
    text_key, label_key = inputs or "text", labels or "label"
    texts: list[str] = []
    names: list[str] = []
    without_label: list[str] = []
    for where, line in _lines(path):
        record = _record(line, where)
        texts.append(_text(record, text_key, where))
        if label_key in record:
            names.append(_label(record, label_key, where))
        else:
            without_label.append(where)
    raw = np.array(texts, dtype=object)
    if without_label and (names or labels is not None):
        raise TmiError(
            f"{without_label[0]}: has no {label_key!r}, expected a string or whole number {label_key!r} in every line"
        )
    return with_named_labels(raw, names, "text") if names else unlabelled(raw, "text")


def _texts_of_folder(folder: Path) -> list[str]:
    files = sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() == ".txt" and not file.name.startswith(".") and file.is_file()
    )
    if not files:
        raise TmiError(f"{folder}: holds no files *.txt")
    return [checked_text(_content(file), str(file)).strip() for file in files]


def _paragraphs(text: str) -> list[str]:
    return [paragraph.strip() for paragraph in BLANK_LINES.split(text) if paragraph.strip()]


def _content(path: Path) -> str:
    """The text of a file, its lines ended as in Python's text mode."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise TmiError(f"{path}: there is no such file or directory") from None
    except OSError as error:
        raise TmiError(f"{path}: cannot be read: {error}") from None
    return _decoded(content, path, 1).replace("\r\n", "\n").replace("\r", "\n")


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """The lines of a file that are not blank, and what each is called in error messages."""
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield f"{path}, line {number}", _decoded(line, path, number)
    except FileNotFoundError:
        raise TmiError(f"{path}: there is no such file") from None
    except OSError as error:
        raise TmiError(f"{path}: cannot be read: {error}") from None


def _decoded(content: bytes, path: Path, first_line: int) -> str:
    """UTF-8 as text, without the byte order mark that some editors write."""
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = first_line + content.count(b"\n", 0, error.start)
        byte = content[error.start]
        raise TmiError(f"{path}, line {line}: not UTF-8 text: byte 0x{byte:02x}: {error.reason}") from None


def _record(line: str, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise TmiError(f"{where}: not a JSON object: {error}") from None
    if not isinstance(record, dict):
        raise TmiError(f"{where}: expected a JSON object, found a {type(record).__name__}")
    return record


def _text(record: dict[str, Any], key: str, where: str) -> str:
    if not isinstance(record.get(key), str):
        raise TmiError(f"{where}: expected an object with a string {key!r}")
    return checked_text(record[key], where)


def _label(record: dict[str, Any], key: str, where: str) -> str:
    if not isinstance(record[key], str | int):
        raise TmiError(f"{where}: expected an object with a string or whole number {key!r}")
    return str(record[key])
