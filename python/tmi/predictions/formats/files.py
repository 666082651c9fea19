"""Arrays and tables from files of unknown origin, without running or unpacking anything that they should not.

No pickle is read. A ``.npy`` header must fit its file and an archive is looked through before it is unpacked: either
could otherwise ask for more memory than there is. What is missing, damaged or too large is a `TmiError`.
"""

from __future__ import annotations

import csv
import math
import zipfile
import zlib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from tmi.errors import TmiError

ARRAY_SUFFIXES = (".npy", ".npz", ".safetensors")
TABLE_SUFFIXES = (".csv", ".parquet")
PICKLE_SUFFIXES = (".pt", ".pth", ".pkl", ".pickle", ".joblib", ".bin")

# What an archive may unpack to: so much, or so many times the size of the file. No real logits shrink a thousandfold,
# but small files of zeros do.
LARGEST_ARCHIVE = 64 << 30
LARGEST_RATIO = 1000
RATIO_MATTERS_FROM = 64 << 20


def read_arrays(path: Path, wanted: Collection[str]) -> dict[str, NDArray[Any]]:
    """The arrays of a file by name, those in ``wanted`` alone; if it has a single one, that.

    A ``.npy`` file is opened as a read-only memory map, under the name ``""``.
    """
    if path.suffix == ".npy":
        return {"": open_npy(path)}
    if path.suffix == ".npz":
        return _read_npz(path, wanted)
    if path.suffix == ".safetensors":
        return _read_safetensors(path, wanted)
    raise TmiError(f"{path}: expected a file that ends in {', '.join(ARRAY_SUFFIXES)}")


def read_array(path: Path, names: Sequence[str]) -> NDArray[Any]:
    """The array of a file under the first of ``names`` that it has, or the only one that it has."""
    arrays = read_arrays(path, names)
    for name in (*names, *arrays):
        if name in arrays:
            return arrays[name]
    raise TmiError(f"{path}: holds several arrays, none of which is named {' or '.join(names)}")


def open_npy(path: Path) -> NDArray[Any]:
    """A ``.npy`` file as a read-only memory map."""
    try:
        with path.open("rb") as file:
            shape, fortran, dtype = _header(file, str(path))
            start = file.tell()
        size, found = dtype.itemsize * math.prod(shape), path.stat().st_size - start
        if size > found:
            raise TmiError(f"{path}: its header says {size} bytes {shape}, the file holds {found}: it is cut off")
        if size == 0:
            raise TmiError(f"{path}: has shape {shape}, expected an array that is not empty")
        array: NDArray[Any] = np.memmap(path, dtype, "r", start, shape, "F" if fortran else "C")
    except (OSError, ValueError, OverflowError, MemoryError) as error:
        raise _unreadable(path, ".npy file", error) from None
    return array


def read_table(path: Path) -> dict[str, NDArray[Any]]:
    """The columns of a ``.csv`` or ``.parquet`` file; those that are numbers or true and false as float64."""
    columns = _read_parquet(path) if path.suffix == ".parquet" else _read_csv(path)
    return {name: _numbers(column) for name, column in columns.items()}


def _header(file: IO[bytes], where: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """The header of a ``.npy`` file; the stream then stands at the first number."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise TmiError(f"{where}: is a .npy file of version {version}, expected 1.0 or 2.0")
    if dtype.hasobject:
        raise TmiError(f"{where}: holds Python objects, which are pickles and not read; expected numbers")
    if any(length < 0 for length in shape):
        raise TmiError(f"{where}: its header says shape {shape}, expected no negative lengths")
    return shape, fortran, dtype


def _read_npz(path: Path, wanted: Collection[str]) -> dict[str, NDArray[Any]]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            declared, packed = sum(member.file_size for member in members.values()), path.stat().st_size
            if declared > LARGEST_ARCHIVE or declared > max(RATIO_MATTERS_FROM, LARGEST_RATIO * packed):
                raise TmiError(
                    f"{path}: {packed} bytes would unpack to {declared}, expected at most {LARGEST_ARCHIVE >> 30} GiB "
                    f"and {LARGEST_RATIO} times the file; save large arrays as .npy"
                )
            names = list(members) if len(members) == 1 else [name for name in members if name in wanted]
            return {name: _read_member(archive, members[name], f"{path}: array {name!r}") for name in names}
    except (OSError, ValueError, EOFError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise _unreadable(path, ".npz file", error) from None


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, where: str) -> NDArray[Any]:
    """One array of an archive; never more bytes than the archive declares, and none written anywhere."""
    with archive.open(member) as file:
        shape, fortran, dtype = _header(file, where)
        size = dtype.itemsize * math.prod(shape)
        if not 0 < size < member.file_size:
            raise TmiError(f"{where}: its header says {size} bytes {shape}, the archive holds {member.file_size}")
        content = file.read(size)
        if len(content) < size:
            raise TmiError(f"{where}: is cut off after {len(content)} of {size} bytes")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")


def _read_safetensors(path: Path, wanted: Collection[str]) -> dict[str, NDArray[Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            keys = list(file.keys())
            names = keys if len(keys) == 1 else [name for name in keys if name in wanted]
            return {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError, TypeError, ValueError, AttributeError) as error:
        raise _unreadable(path, ".safetensors file", error) from None


def _read_csv(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file)
            names = next(rows, [])
            cells = [row for row in rows if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _unreadable(path, ".csv file", error) from None
    for number, row in enumerate(cells):
        if len(row) != len(names):
            raise TmiError(f"{path}: row {number + 1} has {len(row)} cells, expected {len(names)} as in the header")
    return {name: np.array([row[index] for row in cells]) for index, name in enumerate(names)}


def _read_parquet(path: Path) -> dict[str, NDArray[Any]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise TmiError(f'{path}: reading .parquet files needs pyarrow: pip install "tmi-audit[data]"') from None
    try:
        table = parquet.ParquetFile(path).read()
        return {name: table.column(name).to_numpy() for name in table.column_names}
    except (OSError, pyarrow.ArrowException) as error:
        raise _unreadable(path, ".parquet file", error) from None


def _numbers(column: NDArray[Any]) -> NDArray[Any]:
    """A column as float64 if its cells are numbers or true and false, else as it is."""
    if column.dtype.kind == "U":
        lowered = np.char.lower(column)
        if np.isin(lowered, ("true", "false")).all():
            truths: NDArray[np.float64] = (lowered == "true").astype(np.float64)
            return truths
    try:
        return column.astype(np.float64)
    except (TypeError, ValueError):
        return column


def _unreadable(path: Path, kind: str, error: Exception) -> TmiError:
    if isinstance(error, FileNotFoundError):
        return TmiError(f"{path}: there is no such file")
    said = str(error).strip().splitlines()
    return TmiError(f"{path}: not a readable {kind}: {said[0] if said else type(error).__name__}")
