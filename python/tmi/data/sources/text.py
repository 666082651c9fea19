"""``text:PATH``: plain texts in UTF-8, without labels."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from tmi.data.arrays import checked_text, unlabelled, with_ids
from tmi.data.points import Points
from tmi.errors import TmiError
from tmi.system.files import file_size
from tmi.system.memory import require_room

# NAME is a path, relative to the configuration's file.
READS_FILES = True
BLANK_LINES = re.compile(r"\n\s*\n")


def load(name: str) -> Points:
    """``text:PATH``: plain texts in UTF-8, without labels.

    Args:
        name: a file whose paragraphs, separated by blank lines, are the points; or a folder whose files ``*.txt`` are,
            each a point that is called by its path, in the order of their names.

    Raises:
        TmiError: there is no such file or folder, a folder without such files, or a file that is empty or not UTF-8.
    """
    path = Path(name)
    if path.is_dir():
        files = _texts_of_folder(path)
        points = unlabelled(np.array([*files.values()], dtype=object), "text")
        return with_ids(points, [file.relative_to(path).as_posix() for file in files], str(path))
    texts = [paragraph.strip() for paragraph in BLANK_LINES.split(_content(path)) if paragraph.strip()]
    return unlabelled(np.array(texts, dtype=object), "text")


def _texts_of_folder(folder: Path) -> dict[Path, str]:
    files = sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() == ".txt" and not file.name.startswith(".") and file.is_file()
    )
    if not files:
        raise TmiError(f"{folder}: holds no files *.txt")
    return {file: checked_text(_content(file), str(file)).strip() for file in files}


def _content(path: Path) -> str:
    """The text of a file, its lines ended as in Python's text mode."""
    try:
        require_room(file_size(path), str(path))
        content = path.read_bytes()
    except FileNotFoundError:
        raise TmiError(f"{path}: there is no such file or directory") from None
    except OSError as error:
        raise TmiError(f"{path}: cannot be read: {error}") from None
    return decoded(content, path, 1).replace("\r\n", "\n").replace("\r", "\n")


def decoded(content: bytes, path: Path, first_line: int) -> str:
    """UTF-8 as text, without the byte order mark that some editors write."""
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = first_line + content.count(b"\n", 0, error.start)
        byte = content[error.start]
        raise TmiError(f"{path}, line {line}: not UTF-8 text: byte 0x{byte:02x}: {error.reason}") from None
