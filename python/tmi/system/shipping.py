"""Files and directories as something that can be sent to another machine, and written there whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmi.system.files import atomic, whole_tree


@dataclass(frozen=True)
class Entry:
    """A file, a directory or a symbolic link.

    Attributes:
        name: relative to what was packed; empty for the file itself.
        content: of a file: its bytes, or what stands for them; None for a directory or a link.
        link: what a link points to.
    """

    name: str
    content: Any = None
    link: str | None = None


# A file, or all below a directory; None where there is neither.
Packed = Sequence[Entry] | None


def pack(path: Path, sent: Callable[[Path], Any]) -> Packed:
    """What lies at a path, each file as ``sent`` returns it."""
    if path.is_file():
        return [Entry("", sent(path))]
    if not path.is_dir():
        return None
    entries = [Entry(".")]
    for each in sorted(path.rglob("*")):
        name = each.relative_to(path).as_posix()
        if each.is_symlink():
            entries.append(Entry(name, link=str(each.readlink())))
        else:
            entries.append(Entry(name) if each.is_dir() else Entry(name, sent(each)))
    return entries


def content_of(path: Path) -> NDArray[np.uint8]:
    """The bytes of a file, which are read when they are looked at; no more of them is in memory than that takes."""
    if path.stat().st_size == 0:
        return np.empty(0, dtype=np.uint8)
    # A plain array, whose bytes are sent from where they lie and not copied before.
    return np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))


def unpack(packed: Packed, path: Path, write: Callable[[Any, Path], Any]) -> None:
    """Put at a path, where nothing is, what was packed; ``write`` puts what ``sent`` returned into a file."""
    if packed is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    for entry in packed:
        there = path / entry.name if entry.name else path
        if entry.link is not None:
            there.symlink_to(entry.link)
        elif entry.content is None:
            there.mkdir(exist_ok=True)
        else:
            write(entry.content, there)


def replace_with(packed: Packed, path: Path) -> None:
    """Replace what lies at a path by files that were sent with their bytes, whole or not at all."""
    if packed is None:
        remove(path)
    elif packed[0].name:
        with whole_tree(path, str(path)) as directory:
            unpack(packed, directory, lambda content, there: there.write_bytes(content))
    else:
        with atomic(path) as file:
            file.write(packed[0].content)


def remove(path: Path) -> None:
    """Remove a file or a directory, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
