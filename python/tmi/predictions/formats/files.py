"""Arrays and tables from files of unknown origin, without running or unpacking anything that they should not.

No pickle is read. A ``.npy`` header must fit its file and an archive is looked through before it is unpacked: either
could otherwise ask for more memory than there is. What is missing, damaged or too large is a `TmiError`. Sources of
points, answers of a target and the arrays of a run are read here as well.
"""

from __future__ import annotations

import csv
import lzma
import math
import re
import struct
import sys
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from tmi.errors import MOST_OF_A_MESSAGE, TmiError
from tmi.predictions.intake import as_ids
from tmi.predictions.tokens import TOKEN
from tmi.system.files import file_size, read_text
from tmi.system.memory import require_room

ARRAY_SUFFIXES = (".npy", ".npz", ".safetensors")
TABLE_SUFFIXES = (".csv", ".parquet")
PICKLE_SUFFIXES = (".pt", ".pth", ".pkl", ".pickle", ".joblib", ".bin")

MAGIC = b"\x93NUMPY"
# The longest header that NumPy itself reads without being told to trust the file; those of arrays have about 100 bytes.
LONGEST_HEADER = 10_000
# The three entries of a header, of which nothing is evaluated. Python 2 wrote lengths as 12L.
ENTRIES = {
    "descr": re.compile(r"""['"]descr['"]\s*:\s*['"]([^'"]{1,20})['"]"""),
    "fortran_order": re.compile(r"""['"]fortran_order['"]\s*:\s*(True|False)"""),
    "shape": re.compile(r"""['"]shape['"]\s*:\s*\(([\d\sL,]*)\)"""),
}
LENGTH = re.compile(r"(\d{1,30})L?")
# Booleans, numbers and texts.
DTYPE = re.compile(r"[<>|=]?[biufcSU]\d{1,9}")
# How NumPy writes the one type that has parts.
OF_TOKENS = f"'descr': {np.lib.format.dtype_to_descr(TOKEN)!r}"
# Of a file of ids, in bytes.
LARGEST_TEXT = 1 << 28
# No number has as many characters; a column of texts is as wide as its longest.
LONGEST_CELL = 1000
# As many as there are ways in which an archive can be damaged.
DAMAGES = (
    OSError,
    ValueError,
    EOFError,
    RuntimeError,
    MemoryError,
    OverflowError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)


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


def read_ids(path: Path, points: int) -> tuple[str, ...]:
    """What the owner of the data calls each point: an array ``ids``, or lines of a ``.txt`` file.

    Raises:
        TmiError: the file is missing or damaged, or holds no id per point.
    """
    if path.suffix != ".txt":
        return as_ids(read_array(path, ["ids"]), points, str(path))
    try:
        lines = read_text(path, LARGEST_TEXT).splitlines()
    except OSError as error:
        raise _unreadable(path, "text in UTF-8", error) from None
    return as_ids(np.array(lines, dtype=object), points, str(path))


def open_npy(path: Path, *, may_be_empty: bool = False) -> NDArray[Any]:
    """A ``.npy`` file as a read-only memory map."""
    try:
        length = file_size(path)
        with path.open("rb") as file:
            shape, fortran, dtype = _header(file, str(path))
            start = file.tell()
        size, found = dtype.itemsize * math.prod(shape), length - start
        if size > found:
            raise TmiError(f"{path}: its header says {size} bytes {shape}, the file holds {found}: it is cut off")
        if size == 0 and not may_be_empty:
            raise TmiError(f"{path}: has shape {shape}, expected an array that is not empty")
        array: NDArray[Any] = np.memmap(path, dtype, "r", start, shape, "F" if fortran else "C")
        _require_values(array, str(path))
    except (OSError, ValueError, OverflowError, MemoryError) as error:
        raise _unreadable(path, ".npy file", error) from None
    return array


def read_table(path: Path) -> dict[str, NDArray[Any]]:
    """The columns of a ``.csv`` or ``.parquet`` file; those that are numbers or true and false as float64."""
    columns = _read_parquet(path) if path.suffix == ".parquet" else _read_csv(path)
    return {name: _numbers(column) for name, column in columns.items()}


def _header(file: IO[bytes], where: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """The header of a ``.npy`` file; the stream then stands at the first number.

    NumPy's own reader evaluates the header as Python, which a hostile one overflows.

    Raises:
        ValueError: it is no header of an array.
        TmiError: it is one of an array that is not read.
    """
    start = file.read(8)
    if len(start) < 8 or not start.startswith(MAGIC):
        raise ValueError("it does not begin as one")
    version = start[6], start[7]
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise TmiError(f"{where}: is a .npy file of version {version}, expected 1.0, 2.0 or 3.0")
    width = 2 if version == (1, 0) else 4
    length = int.from_bytes(file.read(width), "little")
    if length > LONGEST_HEADER:
        raise ValueError(f"its header has {length} bytes, expected at most {LONGEST_HEADER}")
    content = file.read(length)
    if len(content) < length:
        raise ValueError("its header is cut off")
    text = content.decode("utf-8" if version == (3, 0) else "latin-1")
    found = {name: entry.search(text) for name, entry in ENTRIES.items()}
    descr, fortran, shape = (None if each is None else each[1] for each in found.values())
    if descr is None and OF_TOKENS in text:
        descr = OF_TOKENS
    if descr is not None and descr.lstrip("|") == "O":
        raise TmiError(f"{where}: holds Python objects, which are pickles and not read; expected numbers")
    lengths = [LENGTH.fullmatch(part.strip()) for part in (shape or "").split(",") if part.strip()]
    is_known = descr is not None and (descr == OF_TOKENS or DTYPE.fullmatch(descr))
    if descr is None or fortran is None or shape is None or not all(lengths) or not is_known:
        raise ValueError("its header is not that of an array of numbers or texts")
    try:
        dtype = TOKEN if descr == OF_TOKENS else np.dtype(descr)
    except TypeError:
        raise ValueError(f"its numbers are of type {descr!r}, which there is not") from None
    if not dtype.itemsize:
        raise ValueError(
            f"its entries are of type {descr!r} and have no bytes, so that there may be any number of them"
        )
    return tuple(int(each[1]) for each in lengths if each is not None), fortran == "True", dtype


def _read_npz(path: Path, wanted: Collection[str]) -> dict[str, NDArray[Any]]:
    with OpenedNpz(path) as archive:
        names = archive.names if len(archive.names) == 1 else [name for name in archive.names if name in wanted]
        return archive.read(names)


class OpenedNpz:
    """A ``.npz`` file whose arrays are looked at before some are read.

    Raises:
        TmiError: it is missing or damaged, or what is to be read does not fit.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._packed = file_size(path)
            self._archive = zipfile.ZipFile(path)
        except DAMAGES as error:
            raise _unreadable(path, ".npz file", error) from None
        self._members = {info.filename.removesuffix(".npy"): info for info in self._archive.infolist()}
        self.names = list(self._members)

    def __enter__(self) -> OpenedNpz:
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()

    def read(self, names: Sequence[str], *, may_be_empty: bool = False) -> dict[str, NDArray[Any]]:
        """The arrays of these names, unless together they unpack to more than there is room for."""
        require_room(sum(self._members[name].file_size for name in names), str(self._path), self._packed)
        try:
            arrays = {name: self._array(self._members[name], f"{self._path}: array {name!r}") for name in names}
        except DAMAGES as error:
            raise _unreadable(self._path, ".npz file", error) from None
        for name, array in arrays.items():
            if array.size == 0 and not may_be_empty:
                raise TmiError(f"{self._path}: array {name!r} has shape {array.shape}, expected one that is not empty")
        return arrays

    def _array(self, member: zipfile.ZipInfo, where: str) -> NDArray[Any]:
        """One array; never more bytes than the archive declares, and none written anywhere."""
        with self._archive.open(member) as file:
            shape, fortran, dtype = _header(file, where)
            size = dtype.itemsize * math.prod(shape)
            if size >= member.file_size:
                raise TmiError(f"{where}: its header says {size} bytes {shape}, the archive holds {member.file_size}")
            array = np.empty(shape, dtype, "F" if fortran else "C")
            memory = array.reshape(-1, order="A").view(np.uint8).data if size else memoryview(b"")
            done = 0
            while done < size:
                block = file.read(min(size - done, 1 << 20))
                if not block:
                    raise TmiError(f"{where}: is cut off after {done} of {size} bytes")
                memory[done : done + len(block)] = block
                done += len(block)
        _require_values(array, where)
        return array


def _require_values(array: NDArray[Any], where: str) -> None:
    """Refuse booleans other than 0 and 1 and characters that there are not: NumPy reads them, nothing expects them."""
    if array.dtype == np.bool_ and array.size and (found := int(array.view(np.uint8).max())) > 1:
        raise TmiError(f"{where}: holds the byte {found} as a boolean, expected 0 and 1: it is damaged")
    if array.dtype.kind == "U" and array.nbytes:
        characters = np.ascontiguousarray(array).reshape(-1).view(array.dtype.byteorder + "u4")
        if (found := int(characters.max())) > sys.maxunicode:
            raise TmiError(f"{where}: holds the character {found:#x}, which there is not: it is damaged")


def _read_safetensors(path: Path, wanted: Collection[str]) -> dict[str, NDArray[Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        file_size(path)
        with safe_open(path, framework="numpy") as file:
            keys = list(file.keys())
            names = keys if len(keys) == 1 else [name for name in keys if name in wanted]
            arrays = {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError, TypeError, ValueError, AttributeError) as error:
        raise _unreadable(path, ".safetensors file", error) from None
    for name, array in arrays.items():
        _require_values(array, f"{path}: array {name!r}")
    return arrays


def _read_csv(path: Path) -> dict[str, NDArray[Any]]:
    try:
        file_size(path)
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file)
            names = next(rows, [])
            cells = [row for row in rows if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _unreadable(path, ".csv file", error) from None
    for number, row in enumerate(cells):
        if len(row) != len(names):
            raise TmiError(f"{path}: row {number + 1} has {len(row)} cells, expected {len(names)} as in the header")
        if (longest := max(map(len, row))) > LONGEST_CELL:
            raise TmiError(f"{path}: row {number + 1} has a cell of {longest} characters, expected numbers")
    return {name: np.array([row[index] for row in cells]) for index, name in enumerate(names)}


def _read_parquet(path: Path) -> dict[str, NDArray[Any]]:
    try:
        table = read_parquet(path)
    except ImportError:
        raise TmiError(f'{path}: reading .parquet files needs pyarrow: pip install "tmi-audit[data]"') from None
    return {name: table.column(name).to_numpy() for name in table.column_names}


def read_parquet(path: Path) -> Any:
    """A ``.parquet`` file as a table of pyarrow.

    Raises:
        ImportError: pyarrow is not installed.
        TmiError: the file is missing or damaged, or unpacks to more than there is room for.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        packed = file_size(path)
        with parquet.ParquetFile(path) as file:
            facts = file.metadata
            groups = [facts.row_group(index) for index in range(facts.num_row_groups)]
            # Equal cells are stored once, and each takes 8 bytes at least when it is read.
            size = max(sum(group.total_byte_size for group in groups), 8 * facts.num_rows * facts.num_columns)
            require_room(size, str(path), packed)
            table = file.read()
    except (OSError, ValueError, MemoryError, pyarrow.ArrowException) as error:
        raise _unreadable(path, "Parquet file", error) from None
    if twice := [name for name, times in Counter(table.column_names).items() if times > 1]:
        raise TmiError(f"{path}: has several columns named {twice[0]!r}, expected different names")
    name = ""
    try:
        # Whether texts are UTF-8 and lists end within their values nobody has looked at yet.
        for name in table.column_names:
            table.column(name).validate(full=True)
    except pyarrow.ArrowException as error:
        raise _unreadable(path, f"Parquet file, column {name!r}", error) from None
    return table


def _numbers(column: NDArray[Any]) -> NDArray[Any]:
    """A column as float64 if its cells are numbers or true and false, else as it is."""
    if column.dtype.kind == "U":
        lowered = np.char.lower(column)
        if np.isin(lowered, ("true", "false")).all():
            truths: NDArray[np.float64] = (lowered == "true").astype(np.float64)
            return truths
    try:
        with np.errstate(invalid="ignore"):
            return column.astype(np.float64)
    except (TypeError, ValueError):
        return column


def _unreadable(path: Path, kind: str, error: Exception) -> TmiError:
    if isinstance(error, FileNotFoundError):
        return TmiError(f"{path}: there is no such file")
    said = str(error).strip().splitlines()
    return TmiError(f"{path}: not a readable {kind}: {said[0][:MOST_OF_A_MESSAGE] if said else type(error).__name__}")
