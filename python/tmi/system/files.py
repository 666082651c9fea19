"""Files and directories that are written whole or not at all, and known by their content; and files of others.

What others wrote may be no file at all, or one that is made to take all memory or all stack: `file_size` is asked
before a file is opened, and JSON is parsed by `parse_json` alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tmi.errors import TmiError, first_line

# Ends the name of what is being written; see `temporary_of`.
TEMPORARY = ".tmp"
# Of JSON: bytes of a file, lists and objects within one another, and digits of a whole number. Results of a million
# points stay below the first; the others are where Python's own limits, or those of arrays, are far.
LARGEST_JSON = 1 << 28
DEEPEST_JSON = 100
LONGEST_NUMBER = 100
# Nanoseconds within which two changes of a file may be told as of the same time; file systems round.
COARSEST_CLOCK = 2_000_000_000

# By path, what the system said of a file when its SHA-256 was found, and that; of this process alone.
_hashes: dict[str, tuple[tuple[int, ...], str]] = {}


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
    """The SHA-256 of a file, read a piece at a time; a TmiError where it is a pipe or device."""
    file_size(path)
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


def file_state(status: os.stat_result) -> tuple[int, ...]:
    """What changes when a file is written to or replaced."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def known_hash(path: Path) -> str | None:
    """As `file_hash`; a file that is as this process last saw it is not read again, a directory always is."""
    try:
        status = path.stat()
    except OSError:
        return None
    seen = (*file_state(status), status.st_ctime_ns)
    before = _hashes.get(str(path))
    if before is not None and before[0] == seen:
        return before[1]
    found = file_hash(path)
    # What is written just now could change again and look the same.
    if found is not None and stat.S_ISREG(status.st_mode) and time.time_ns() - status.st_ctime_ns > COARSEST_CLOCK:
        _hashes[str(path)] = seen, found
    return found


def known_hashes(paths: Collection[Path]) -> dict[str, tuple[tuple[int, ...], str]]:
    """What this process knows of files, so that one that it starts need not read them again; see `learn_hashes`."""
    return {str(path): _hashes[str(path)] for path in paths if str(path) in _hashes}


def learn_hashes(known: Mapping[str, tuple[tuple[int, ...], str]]) -> None:
    """Take over what another process of this machine knew of files."""
    _hashes.update(known)


def size_of(path: Path) -> int:
    """The bytes of a file or of all files below a directory; 0 if there is neither."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file() and not file.is_symlink())


def temporary_of(name: str) -> str | None:
    """What a process was writing under a temporary name, or was replacing; None if the name is none of these."""
    found = re.fullmatch(rf"(.+)\.\d+(\.replaced)?{re.escape(TEMPORARY)}", name)
    return found and found[1]


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
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            # Of a full disk neither the system nor NumPy says which file it was, NumPy not even the reason.
            if error.errno is None:
                raise TmiError(f"{path}: cannot be written: {error}; is the disk full?") from None
            error.filename = str(path)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically as UTF-8."""
    with atomic(path) as file:
        # Half of a character, as names of files may have, must not lose what else is in a text.
        file.write(text.encode(errors="backslashreplace"))


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def write_sealed(path: Path, name: str, document: Mapping[str, Any]) -> None:
    """Write a JSON object with a hash of all that it says and of what it is about; see `read_sealed`."""
    plain = json.loads(json.dumps(document, allow_nan=False))
    write_json(path, plain | {"seal": content_key(name, plain)})


def read_sealed(path: Path, name: str, keys: Collection[str]) -> dict[str, Any] | None:
    """What `write_sealed` wrote under a name; None if there is no file. Earlier versions wrote no seal.

    Raises:
        TmiError: it is damaged or about something else: no JSON object, a key besides ``keys``, or a wrong seal.
    """
    document = read_json(path)
    if document is None:
        if not os.path.lexists(path):
            return None
        raise TmiError(f"{path} is damaged: it is no JSON object")
    seal = document.pop("seal", None)
    if further := sorted(set(document) - set(keys)):
        raise TmiError(f"{path} is damaged: it has the key {further[0]!r}, expected {', '.join(keys)}")
    try:
        is_sealed = seal is None or seal == content_key(name, document)
    except ValueError:  # an infinite number
        is_sealed = False
    if not is_sealed:
        raise TmiError(f"{path} is damaged: it does not say what was written there about {name}")
    return document


def file_size(path: Path) -> int:
    """The bytes of a file, before it is opened.

    Raises:
        OSError: it is missing or may not be looked at.
        TmiError: it is a folder, or a pipe or device, which would be waited for or read for ever.
    """
    try:
        status = path.stat()
    except ValueError as error:
        raise TmiError(f"{str(path)!r}: is no path: {error}") from None
    if not stat.S_ISREG(status.st_mode):
        found = "folder" if stat.S_ISDIR(status.st_mode) else "pipe or device, which need not end"
        raise TmiError(f"{path}: is a {found}; expected a file")
    return status.st_size


def require_files(folder: Path) -> None:
    """Refuse a folder that holds a pipe or device, for which whatever opens its files would wait."""
    for entry in folder.iterdir():
        if not entry.is_dir():
            file_size(entry)


def read_text(path: Path, largest: int) -> str:
    """A text file in UTF-8, without the byte order mark that some editors write.

    Raises:
        OSError: it is missing or cannot be read.
        TmiError: it is no file, has more than ``largest`` bytes, or is not UTF-8.
    """
    if (size := file_size(path)) > largest:
        raise TmiError(f"{path}: has {size} bytes, expected at most {largest}")
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TmiError(f"{path}: not UTF-8 text: byte {error.start}: {error.reason}") from None


def parse_json(text: str, where: str, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """What a JSON text holds.

    Args:
        text: of unknown origin.
        where: begins every error message.
        pairs: makes of the entries of an object what stands for it; a dictionary if left out.

    Raises:
        TmiError: it is not JSON, is nested more than ``DEEPEST_JSON`` deep, or has a whole number of more than
            ``LONGEST_NUMBER`` digits: what is read can be copied, compared and written again.
    """
    try:
        value = json.loads(text, parse_int=_whole_number, object_pairs_hook=pairs)
    except RecursionError:
        value = None
        depth = DEEPEST_JSON + 1
    except ValueError as error:
        raise TmiError(f"{where}: not JSON: {first_line(error)}") from None
    else:
        # Walking is only worth it where there are so many brackets at all.
        depth = depth_of(value) if text.count("[") + text.count("{") > DEEPEST_JSON else 0
    if depth > DEEPEST_JSON:
        raise TmiError(f"{where}: its JSON is nested more than {DEEPEST_JSON} deep")
    return value


def _whole_number(digits: str) -> int:
    if len(digits) > LONGEST_NUMBER:
        raise ValueError(f"a number of {len(digits)} digits, expected at most {LONGEST_NUMBER}")
    return int(digits)


def depth_of(value: Any) -> int:
    """How many lists and dictionaries lie within one another; found without recursion."""
    level, depth = [value], 0
    while inner := [each for each in level if isinstance(each, list | dict)]:
        depth += 1
        level = [entry for each in inner for entry in (each.values() if isinstance(each, dict) else each)]
    return depth


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON object; None if the file is missing or holds none."""
    try:
        value = parse_json(read_text(path, LARGEST_JSON), str(path))
    except (FileNotFoundError, NotADirectoryError, TmiError):
        return None
    return value if isinstance(value, dict) else None
