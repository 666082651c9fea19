"""Files and directories that are written whole or not at all, and known by their content."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tmi.errors import TmiError

# Ends the name of what is being written; see `tmi.runs.directory`.
TEMPORARY = ".tmp"


def tree_hash(path: Path) -> str:
    """The SHA-256 of everything below a directory: relative names, in their order, and content.

    A symbolic link counts by its name and by what is written in it; it is never followed.
    """
    digest = hashlib.sha256()
    for entry in sorted(path.rglob("*"), key=lambda entry: entry.relative_to(path).as_posix()):
        name = entry.relative_to(path).as_posix()
        if entry.is_symlink():
            kind, content = "link", hashlib.sha256(os.fsencode(entry.readlink())).hexdigest()
        elif entry.is_dir():
            kind, content = "directory", ""
        else:
            kind, content = "file", content_hash(entry)
        # No name holds a zero byte, so that no two trees read alike.
        digest.update(b"\0".join([kind.encode(), os.fsencode(name), content.encode(), b""]))
    return digest.hexdigest()


@contextmanager
def whole_tree(path: Path, where: str) -> Iterator[Path]:
    """A directory to write into that appears as ``path``, in place of what was there, only when the block is done.

    Raises:
        TmiError: nothing was written, or something that a copy of the directory would not hold: a link that leaves it
            or starts at the root, or what is neither a file nor a directory.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY}")
    replaced = path.with_name(f"{path.name}.{os.getpid()}.replaced{TEMPORARY}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        _require_self_contained(temporary, where)
        if path.is_dir():
            path.replace(replaced)
        temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


def _require_self_contained(root: Path, where: str) -> None:
    entries = list(root.rglob("*"))
    if not entries:
        raise TmiError(f"{where}: the function wrote nothing into its directory, expected the model")
    for entry in entries:
        name = entry.relative_to(root)
        if entry.is_symlink():
            target = entry.readlink()
            inside = Path(os.path.normpath(entry.parent.resolve() / target)).is_relative_to(root.resolve())
            if target.is_absolute() or not inside:
                raise TmiError(
                    f"{where}: the function wrote {name}, a symbolic link to {target}, expected files, or relative "
                    "links that stay in its directory"
                )
        elif not (entry.is_dir() or entry.is_file()):
            raise TmiError(f"{where}: the function wrote {name}, which is neither a file nor a directory")


def content_hash(path: Path) -> str:
    """The SHA-256 of a file, read a piece at a time."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def content_key(*parts: Any) -> str:
    """A hash of JSON-like values: equal for equal content, whatever the order of dictionary keys."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def file_hash(path: Path) -> str | None:
    """The SHA-256 of a file or of everything below a directory, or None if there is neither."""
    if path.is_dir():
        return tree_hash(path)
    try:
        return content_hash(path)
    except FileNotFoundError:
        return None


def sidecar(path: Path) -> Path:
    """The path of an artefact's sidecar."""
    return path.with_suffix(".json")


@contextmanager
def atomic(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for writing that appears under its name only when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        with temporary.open("wb") as file:
            yield file
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically as UTF-8."""
    with atomic(path) as file:
        file.write(text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON object; None if the file is missing or holds none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError, json.JSONDecodeError):
        return None
    return value if isinstance(value, dict) else None
