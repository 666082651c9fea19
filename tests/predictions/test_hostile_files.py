from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from tmi.errors import TmiError
from tmi.predictions.formats.files import open_npy, read_array, read_arrays, read_table
from tmi.system import memory


def npy(shape: tuple[int, ...], content: bytes, descr: str = "<f4") -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
    return stream.getvalue() + content


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def header(text: bytes) -> bytes:
    """A file of version 2 with that header, and numbers."""
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", len(text)) + text + bytes(400)


class Evil:
    """An object whose pickle leaves a trace when it is read."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return (Path.touch, (self.trace,))


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_pickles_are_never_read(tmp_path: Path, suffix: str) -> None:
    trace = tmp_path / "trace"
    objects = np.array([Evil(trace)], dtype=object)
    file = tmp_path / f"a{suffix}"
    np.save(file, objects, allow_pickle=True) if suffix == ".npy" else np.savez(file, a=objects, allow_pickle=True)
    with pytest.raises(TmiError, match=r"Python objects|holds several"):
        read_array(file, ["a"])
    bare = tmp_path / "bare.npy"
    bare.write_bytes(pickle.dumps(Evil(trace)))
    with pytest.raises(TmiError, match="not a readable"):
        open_npy(bare)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy((1 << 40, 1 << 40), b""), "cut off"),
        (npy((1 << 70,), b""), "cut off"),
        (npy((3, 4), bytes(40)), "cut off"),
        (npy((3, 0), b""), "not empty"),
        (npy((-3, -4), bytes(48)), "not that of an array"),
        (npy((10**15,), bytes(48)), "cut off"),
        (npy((3,), bytes(48)).replace(b"(3,)", b"(True,)"), "not that of an array"),
        (npy((3,), bytes(48)).replace(b"(3,)", b"(3.0,)"), "not that of an array"),
        (npy((3,), bytes(48)).replace(b"<f4", b"f4,f4"), "not that of an array"),
        (npy((3,), bytes(48)).replace(b"<f4", b"<f7"), "type '<f7', which there is not"),
        (npy((1 << 40,), b"", "|S0"), "have no bytes, so that there may be any number of them"),
        (header(b"(" * 9000), "not that of an array"),
        (header(b"-" * 9000), "not that of an array"),
        (header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (" + b"1," * 4000 + b"), }"), "not a readable"),
        (b"", "not a readable"),
        (b"\x93NUMPY\x01\x00" + struct.pack("<H", 60000), "not a readable"),
        (b"\x93NUMPY\x09\x00" + bytes(100), "version"),
    ],
)
def test_headers_that_lie(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "a.npy"
    file.write_bytes(content)
    with pytest.raises(TmiError, match=message):
        open_npy(file)
    if content and message != "not empty":
        with pytest.raises(TmiError):
            read_array(archive(tmp_path / "a.npz", {"a.npy": content}), ["a"])


def test_zip_bombs_are_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "RATIO_MATTERS_FROM", 1 << 20)
    monkeypatch.setattr(memory, "LARGEST_RATIO", 100)
    bomb = archive(tmp_path / "a.npz", {"a.npy": npy((1 << 20,), bytes(4 << 20))})
    with pytest.raises(TmiError, match="would unpack to"):
        read_array(bomb, ["a"])
    monkeypatch.setattr(memory, "LARGEST_RATIO", 10**9)
    assert read_array(bomb, ["a"]).shape == (1 << 20,)
    monkeypatch.setattr(memory, "total_memory", lambda: 4 << 20)
    with pytest.raises(
        TmiError, match=r"a\.npz takes 4,194,432 bytes of memory, expected at most 2,097,152 bytes, half"
    ):
        read_array(bomb, ["a"])


def test_names_that_leave_the_archive_write_nothing(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    file = archive(inner / "a.npz", {"../escaped.npy": npy((1,), bytes(4)), "a.npy": npy((1,), bytes(4))})
    assert list(read_arrays(file, ["a"])) == ["a"]
    assert [path.name for path in tmp_path.iterdir()] == ["inner"]


def test_damaged_archives(tmp_path: Path) -> None:
    whole = archive(tmp_path / "a.npz", {"a.npy": npy((500,), np.random.default_rng(0).bytes(2000))}).read_bytes()
    (tmp_path / "a.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TmiError, match="not a readable"):
        read_array(tmp_path / "a.npz", ["a"])
    damaged = bytearray(whole)
    damaged[400] ^= 255
    (tmp_path / "a.npz").write_bytes(damaged)
    with pytest.raises(TmiError, match="not a readable"):
        read_array(tmp_path / "a.npz", ["a"])
    packed = tmp_path / "b.npz"
    for method in (zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2):
        with zipfile.ZipFile(packed, "w", method) as file:
            file.writestr("a.npy", npy((500,), np.random.default_rng(0).bytes(2000)))
        assert read_array(packed, ["a"]).shape == (500,)
        content = bytearray(packed.read_bytes())
        content[60:80] = bytes(20)
        packed.write_bytes(content)
        with pytest.raises(TmiError, match="not a readable"):
            read_array(packed, ["a"])
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", 1 << 60) + b"{}")
    with pytest.raises(TmiError, match="not a readable"):
        read_array(tmp_path / "a.safetensors", ["a"])


def test_tables_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n3\n")
    with pytest.raises(TmiError, match="row 2 has 1 cells, expected 2"):
        read_table(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TmiError, match="not a readable"):
        read_table(tmp_path / "b.csv")
    pytest.importorskip("pyarrow")
    (tmp_path / "c.parquet").write_bytes(b"PAR1")
    with pytest.raises(TmiError, match="not a readable"):
        read_table(tmp_path / "c.parquet")


@settings(max_examples=60, deadline=None)
@given(content=st.binary(max_size=200), start=st.sampled_from([b"", b"\x93NUMPY\x01\x00", b"PK\x03\x04"]))
def test_any_bytes_are_an_array_or_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, start: bytes
) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    for suffix in (".npy", ".npz", ".safetensors"):
        file = folder / f"a{suffix}"
        file.write_bytes(start + content)
        with pytest.raises(TmiError) as told:
            read_array(file, ["a"])
        assert "\n" not in str(told.value)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "|b1", "<U3", "<c16", "|u1"])
def test_arrays_are_read_as_numpy_reads_them(tmp_path: Path, order: str, dtype: str) -> None:
    array = np.asarray(np.arange(24).reshape(2, 3, 4) % 5).astype(dtype, order=order)
    np.save(tmp_path / "a.npy", array)
    np.savez_compressed(tmp_path / "a.npz", a=array)
    for found in (open_npy(tmp_path / "a.npy"), read_array(tmp_path / "a.npz", ["a"])):
        np.testing.assert_array_equal(found, array)
        assert found.dtype == array.dtype
        assert found.flags.f_contiguous == (order == "F")


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.safetensors", "a.csv", "a.parquet"])
def test_pipes_are_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    read = read_table if name.endswith(("csv", "parquet")) else lambda path: read_array(path, ["a"])
    with pytest.raises(TmiError, match=f"{name}: is a pipe or device, which need not end; expected a file"):
        read(tmp_path / name)


def test_a_table_of_long_cells_is_not_made_as_wide_as_its_longest(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a\n" + "1\n" * 10 + "x" * 100_000 + "\n")
    with pytest.raises(TmiError, match="row 11 has a cell of 100000 characters, expected numbers"):
        read_table(tmp_path / "a.csv")


def test_a_parquet_file_of_equal_cells_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pyarrow.table({"a": np.zeros(1 << 20)})
    parquet.write_table(table, tmp_path / "a.parquet")
    assert len(read_table(tmp_path / "a.parquet")["a"]) == 1 << 20
    monkeypatch.setattr(memory, "RATIO_MATTERS_FROM", 1 << 20)
    with pytest.raises(TmiError, match="would unpack to"):
        read_table(tmp_path / "a.parquet")


@pytest.mark.parametrize("suffix", ["npy", "npz", "safetensors"])
def test_bytes_that_are_neither_true_nor_false(tmp_path: Path, suffix: str) -> None:
    """NumPy takes such a byte for true here and for another number there."""
    path, array = tmp_path / f"a.{suffix}", np.array([0, 1, 2], dtype=np.uint8).view(np.bool_)
    if suffix == "safetensors":
        safetensors.numpy.save_file({"a": array}, path)
    else:
        path.write_bytes(npy((3,), array.tobytes(), "|b1"))
        if suffix == "npz":
            archive(path, {"a.npy": path.read_bytes()})
    with pytest.raises(
        TmiError, match=rf"a\.{suffix}.*: holds the byte 2 as a boolean, expected 0 and 1: it is damaged"
    ):
        read_array(path, ["a"])


@pytest.mark.parametrize("order", "<>")
def test_characters_that_there_are_not(tmp_path: Path, order: str) -> None:
    content = np.array([97, 0x110000], dtype=f"{order}u4").tobytes()
    (tmp_path / "a.npy").write_bytes(npy((2,), content, f"{order}U1"))
    with pytest.raises(TmiError, match=r"a\.npy: holds the character 0x110000, which there is not: it is damaged"):
        open_npy(tmp_path / "a.npy")


def test_columns_of_one_name_and_texts_that_are_none(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    column = pyarrow.array([0.5, 1.0])
    parquet.write_table(pyarrow.Table.from_arrays([column, column], ["a", "a"]), tmp_path / "a.parquet")
    with pytest.raises(TmiError, match=r"a\.parquet: has several columns named 'a', expected different names"):
        read_table(tmp_path / "a.parquet")
    texts = pyarrow.array([b"\xff\xfe"], pyarrow.binary()).cast(pyarrow.string(), safe=False)
    parquet.write_table(pyarrow.table({"a": texts}), tmp_path / "a.parquet")
    with pytest.raises(TmiError, match=r"a\.parquet: not a readable Parquet file, column 'a': .*UTF8"):
        read_table(tmp_path / "a.parquet")


def test_what_a_library_says_of_a_file_is_cut(tmp_path: Path) -> None:
    header = b'{"a": "' + b"x" * 5000 + b'"}'
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(TmiError, match="not a readable") as told:
        read_array(tmp_path / "a.safetensors", ["a"])
    assert len(str(told.value)) < 500
