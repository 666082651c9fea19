"""Rows of arrays that lie in files, read when they are wanted; and rows that are laid into one until they are."""

from __future__ import annotations

import math
import os
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmi.errors import TmiError
from tmi.system.files import file_state

# Bytes of numbers about all models and points that are held in memory.
LARGEST_HELD = 1 << 28


@dataclass
class FileRows:
    """Rows of an array in a file, read when they are wanted and not through a memory map.

    Pages of a map that were touched count as memory of this process until the system wants them back, which it may do
    late or, under a limit, by ending the process; with large pages that is megabytes around every row. Letting go of
    them early costs more than reading.

    The array is in C order and begins ``offset`` bytes into the file; another `file_state` than ``state`` is an error.
    """

    path: str
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    state: tuple[int, ...]

    def __getitem__(self, rows: slice) -> FileRows:
        """Some consecutive rows, not read yet."""
        chosen = range(self.shape[0])[rows]
        offset = self.offset + chosen.start * self.dtype.itemsize * math.prod(self.shape[1:])
        return FileRows(self.path, offset, (len(chosen), *self.shape[1:]), self.dtype, self.state)

    def read_into(self, rows: NDArray[Any]) -> None:
        """Read into a C-contiguous array of the same shape and type."""
        try:
            # Not through `Path`, which takes as long as reading a small block does.
            with open(self.path, "rb", buffering=0) as file:  # noqa: PTH123
                is_whole = file_state(os.fstat(file.fileno())) == self.state
                file.seek(self.offset)
                # A raw read may stop early where it is very large; such blocks are not asked for.
                is_whole &= file.readinto(rows.reshape(-1).view(np.uint8).data) == rows.nbytes
        except OSError as error:
            raise TmiError(f"{self.path}: cannot be read: {error}") from None
        if not is_whole:
            raise TmiError(f"{self.path}: was changed while it was in use")


class HeldRows:
    """Numbers about every model and point: in memory, or where they are many in a file that has no name.

    The file lies where the system has its temporary files (``TMPDIR``) and is gone when this is. It is read a few
    points at a time, and not through a memory map, see `FileRows`.

    Args:
        shape: ``(models, points, values)``.

    Raises:
        TmiError: there is no room for the file.
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.shape = shape
        self._is_large = 8 * math.prod(shape) > LARGEST_HELD
        self._rows = np.empty((0, 0, 0) if self._is_large else shape)
        if self._is_large:
            with self._writing():
                # As long as this; with a buffer, since without one the system may write a part and not fail.
                self._file = tempfile.TemporaryFile()  # noqa: SIM115
            weakref.finalize(self, self._file.close)

    def put(self, models: range, points: range, rows: NDArray[np.float64]) -> None:
        """Lay down ``[models, points, values]`` of some consecutive models at some consecutive points."""
        if not self._is_large:
            self._rows[models.start : models.stop, points.start : points.stop] = rows
            return
        with self._writing():
            for model, row in zip(models, rows, strict=True):
                self._file.seek(self._place(model, points))
                self._file.write(np.ascontiguousarray(row).data)
            self._file.flush()

    def at(self, *points: range) -> NDArray[np.float64]:
        """What was laid down about all models at some points, ``[models, points, values]``, a copy."""
        found = np.empty((self.shape[0], sum(map(len, points)), self.shape[2]))
        start = 0
        for some in points:
            here = slice(start, start := start + len(some))
            if not self._is_large:
                found[:, here] = self._rows[:, some.start : some.stop]
                continue
            for model, row in enumerate(found[:, here]):
                self._file.seek(self._place(model, some))
                self._file.readinto(row.view(np.uint8).data)
        return found

    def _place(self, model: int, points: range) -> int:
        _, every, values = self.shape
        return 8 * values * (model * every + points.start)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TmiError(
                f"{tempfile.gettempdir()}: {8 * math.prod(self.shape):,} bytes cannot be held there: {error.strerror}; "
                "expected room for them, or another folder in TMPDIR"
            ) from None


def unmapped(array: NDArray[Any]) -> NDArray[Any] | FileRows:
    """A read-only memory map as rows of its file; any other array, also a part of a map, as it is."""
    if not isinstance(array, np.memmap) or (file := _file_of(array)) is None:
        return np.asarray(array)
    return FileRows(file, array.offset, array.shape, array.dtype, file_state(Path(file).stat()))


def mapped_part(array: NDArray[Any], first: int, shape: tuple[int, ...]) -> NDArray[Any] | None:
    """Some consecutive numbers of a read-only map of a file as a map of its own, from number ``first`` on.

    None of any other array. `unmapped` knows where such a map lies in its file, but not where a slice of one does.
    """
    if not isinstance(array, np.memmap) or (file := _file_of(array)) is None:
        return None
    part: NDArray[Any] = np.memmap(file, array.dtype, "r", array.offset + first * array.itemsize, shape)
    return part


def _file_of(array: np.memmap[Any, Any]) -> str | None:
    # A part of a map knows the file but not where in it the part begins: its base is the map.
    is_whole = not isinstance(array.base, np.ndarray) and array.flags.c_contiguous
    return str(array.filename) if array.mode == "r" and array.filename is not None and is_whole else None
