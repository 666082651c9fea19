from __future__ import annotations

import io
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tmi.errors import TmiError
from tmi.predictions.formats import files
from tmi.predictions.formats.files import open_npy, read_array, read_arrays, read_table


def npy(shape: tuple[int, ...], content: bytes, descr: str = "<f4") -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
    return stream.getvalue() + content


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


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
        (npy((-3, -4), bytes(48)), "no negative"),
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
    if content:
        with pytest.raises(TmiError):
            read_array(archive(tmp_path / "a.npz", {"a.npy": content}), ["a"])


def test_zip_bombs_are_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "RATIO_MATTERS_FROM", 1 << 20)
    monkeypatch.setattr(files, "LARGEST_RATIO", 100)
    bomb = archive(tmp_path / "a.npz", {"a.npy": npy((1 << 20,), bytes(4 << 20))})
    with pytest.raises(TmiError, match="would unpack to"):
        read_array(bomb, ["a"])
    monkeypatch.setattr(files, "LARGEST_RATIO", 10**9)
    assert read_array(bomb, ["a"]).shape == (1 << 20,)
    monkeypatch.setattr(files, "LARGEST_ARCHIVE", 1 << 20)
    with pytest.raises(TmiError, match="would unpack to"):
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
