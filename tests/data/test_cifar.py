from __future__ import annotations

import json
import pickle
import re
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from tmi.config import SourceConfig
from tmi.data.cifar import load_record
from tmi.data.points import Points
from tmi.data.sources import load_points
from tmi.errors import TmiError

PER_FILE = 4
FILES = {"train": PER_FILE, "test": 3}


def images(number: int, seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (number, 3072), dtype=np.uint8)


def python2(value: Any) -> bytes:
    """The opcodes with which Python 2's cPickle and NumPy 1 write a value in protocol 2."""
    if isinstance(value, bytes):
        return (b"U" + bytes([len(value)]) if len(value) < 256 else b"T" + struct.pack("<i", len(value))) + value
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, list):
        return b"](" + b"".join(map(python2, value)) + b"e"
    if isinstance(value, dict):
        return b"}(" + b"".join(python2(key) + python2(entry) for key, entry in value.items()) + b"u"
    assert isinstance(value, np.ndarray)
    dtype = b"cnumpy\ndtype\n" + python2(value.dtype.str[1:].encode()) + b"K\x00K\x01\x87R"
    dtype += b"(K\x03" + python2(value.dtype.str[:1].encode()) + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    empty = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + python2(b"b") + b"\x87R"
    shape = b"(" + b"".join(map(python2, value.shape)) + b"t"
    return empty + b"(K\x01" + shape + dtype + b"\x89" + python2(value.tobytes()) + b"tb"


def write_record(path: Path, record: dict[str, Any], writer: str) -> None:
    entries = {key.encode(): value for key, value in record.items()}
    if writer == "python 2":
        path.write_bytes(b"\x80\x02" + python2(entries) + b".")
    else:
        path.write_bytes(pickle.dumps(entries, protocol=2))


def write_cifar100(root: Path, layout: Literal["python", "binary"], writer: str = "python 3") -> Path:
    folder = root / f"cifar-100-{layout}"
    folder.mkdir(parents=True)
    for seed, (split, number) in enumerate(FILES.items()):
        data, fine = images(number, seed), np.arange(number) + 10 * seed
        coarse = fine % 20
        if layout == "binary":
            np.column_stack([coarse, fine, data]).astype(np.uint8).tofile(folder / f"{split}.bin")
        else:
            record = {"data": data, "fine_labels": fine.tolist(), "coarse_labels": coarse.tolist()}
            write_record(folder / split, record | {"batch_label": b"batch"}, writer)
    if layout == "python":
        names = {
            "fine_label_names": [f"fine {i}".encode() for i in range(100)],
            "coarse_label_names": [f"coarse {i}".encode() for i in range(20)],
        }
        write_record(folder / "meta", names, writer)
    return folder


def write_cifar10(root: Path, layout: Literal["py", "bin"]) -> Path:
    folder = root / f"cifar-10-batches-{layout}"
    folder.mkdir(parents=True)
    for seed, name in enumerate([f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]):
        data, labels = images(PER_FILE, seed), np.arange(PER_FILE) + seed
        if layout == "bin":
            np.column_stack([labels, data]).astype(np.uint8).tofile(folder / f"{name}.bin")
        else:
            write_record(folder / name, {"data": data, "labels": labels.tolist()}, "python 3")
    if layout == "py":
        write_record(folder / "batches.meta", {"label_names": [f"name {i}".encode() for i in range(10)]}, "python 3")
    return folder


def load(root: Path, **options: str) -> Points:
    return load_points(SourceConfig(source=f"cifar100:{root}", **options))


@pytest.mark.parametrize("writer", ["python 2", "python 3"])
def test_cifar100_in_the_python_layout(tmp_path: Path, writer: str) -> None:
    folder = write_cifar100(tmp_path, "python", writer)
    everything = load(tmp_path)
    assert everything.raw.dtype == np.uint8
    assert everything.raw.shape == (7, 3, 32, 32)
    # The red plane comes first, then row after row.
    assert (everything.raw[5].ravel() == images(3, 1)[1]).all()
    assert everything.labels.tolist() == [0, 1, 2, 3, 10, 11, 12]
    assert everything.class_names == tuple(f"fine {i}" for i in range(100))
    test = load(folder, split="test", labels="coarse")
    assert (test.raw == everything.raw[4:]).all()
    assert (test.labels.tolist(), test.class_names[19]) == ([10, 11, 12], "coarse 19")
    assert load(tmp_path, split="train").labels.tolist() == [0, 1, 2, 3]


def test_cifar100_in_the_binary_layout_is_the_same(tmp_path: Path) -> None:
    folder = write_cifar100(tmp_path / "binary", "binary")
    write_cifar100(tmp_path / "python", "python")
    for options in ({}, {"split": "test"}, {"labels": "coarse", "split": "train"}):
        binary, python = load(tmp_path / "binary", **options), load(tmp_path / "python", **options)
        assert (binary.raw == python.raw).all()
        assert (binary.labels == python.labels).all()
    assert load(folder).class_names[:2] == ("apple", "aquarium_fish")
    assert len(set(load(folder).class_names)) == 100
    assert len(set(load(folder, labels="coarse").class_names)) == 20
    (folder / "coarse_label_names.txt").write_text("\n".join(f"c{i}" for i in range(20)) + "\n\n")
    assert load(folder, labels="coarse").class_names[19] == "c19"
    (folder / "coarse_label_names.txt").write_text("one\n")
    with pytest.raises(TmiError, match=r"coarse_label_names.txt: has 1 names .* expected 20"):
        load(folder, labels="coarse")


def test_the_python_layout_comes_first(tmp_path: Path) -> None:
    write_cifar100(tmp_path, "binary")
    assert load(tmp_path).class_names[0] == "apple"
    write_cifar100(tmp_path, "python")
    assert load(tmp_path).class_names[0] == "fine 0"


@pytest.mark.parametrize("layout", ["py", "bin"])
def test_cifar10(tmp_path: Path, layout: Literal["py", "bin"]) -> None:
    folder = write_cifar10(tmp_path, layout)
    train, test = (load_points(SourceConfig(source=f"cifar10:{folder}", split=split)) for split in ("train", "test"))
    assert train.raw.shape == (20, 3, 32, 32)
    assert (train.raw.reshape(20, -1) == np.concatenate([images(PER_FILE, seed) for seed in range(5)])).all()
    assert test.labels.tolist() == [5, 6, 7, 8]
    assert train.class_names[9] == ("name 9" if layout == "py" else "truck")
    assert len(load_points(f"cifar10:{tmp_path}")) == 24


def refused(source: str, **options: str) -> str:
    with pytest.raises(TmiError) as error:
        load_points(SourceConfig(source=source, **options))
    return str(error.value)


def test_half_downloaded_data_is_named(tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path, "py")
    source = f"cifar10:{tmp_path}"
    (folder / "data_batch_3").unlink()
    assert f"{folder / 'data_batch_3'}: is missing" in refused(source)
    assert len(load_points(SourceConfig(source=source, split="test"))) == PER_FILE
    whole = (folder / "test_batch").read_bytes()
    for size in (0, 1, 50, 5000, len(whole) - 1):
        (folder / "test_batch").write_bytes(whole[:size])
        assert f"{folder / 'test_batch'}: truncated or damaged" in refused(source, split="test")
    (folder / "batches.meta").unlink()
    assert f"{folder / 'batches.meta'}: is missing" in refused(source, split="test")
    assert "there is no such directory" in refused(f"cifar10:{tmp_path / 'none'}")
    (tmp_path / "empty").mkdir()
    assert "holds neither cifar-10-batches-py nor cifar-10-batches-bin" in refused(f"cifar10:{tmp_path / 'empty'}")
    assert "split is 'val' (known: train, test)" in refused(source, split="val")
    assert "labels is 'corse' (did you mean 'coarse'?" in refused(f"cifar100:{tmp_path}", labels="corse")


@pytest.mark.parametrize("size", [0, 3073, 3074 * 2 - 1])
def test_truncated_binary_files_are_named(tmp_path: Path, size: int) -> None:
    path = write_cifar100(tmp_path, "binary") / "test.bin"
    path.write_bytes(path.read_bytes()[:size])
    assert f"{path}: has {size:,} bytes, expected a multiple of 3,074" in refused(f"cifar100:{tmp_path}")


def test_labels_out_of_range_are_named(tmp_path: Path) -> None:
    path = write_cifar100(tmp_path, "binary") / "test.bin"
    content = bytearray(path.read_bytes())
    content[0] = 20
    path.write_bytes(content)
    assert load(tmp_path).labels.max() == 12
    assert f"{path}: 'coarse_labels' range from 11 to 20, expected 0 to 19" in refused(
        f"cifar100:{tmp_path}", labels="coarse"
    )


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"labels": [0, 1, 2]}, "'labels' has 3 entries, expected 4"),
        ({"labels": [0, 1, 2, 10]}, "'labels' range from 0 to 10, expected 0 to 9"),
        ({"labels": [0, 1, 2, -1]}, "'labels' range from -1 to 2"),
        ({"labels": [0, 1, 2, 2**70]}, "'labels' is no list of whole numbers"),
        ({"labels": b"0123"}, "'labels' is no list of whole numbers"),
        ({"data": images(4, 0)[:, :100]}, "'data' is uint8 (4, 100), expected an array uint8 [images, 3072]"),
        ({"data": images(4, 0).astype(np.int64)}, "'data' is int64 (4, 3072)"),
        ({"data": b"x"}, "'data' is a bytes"),
        ({"data": images(4, 0).astype(np.float64)}, "holds an array of type 'f8'"),
    ],
)
def test_bad_batches_are_named(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    path = write_cifar10(tmp_path, "py") / "test_batch"
    write_record(path, {"data": images(4, 0), "labels": [0, 1, 2, 3]} | change, "python 3")
    message = refused(f"cifar10:{tmp_path}", split="test")
    assert sentence in message
    assert str(path) in message
    write_record(path, {"data": images(4, 0), "fine_labels": [0]}, "python 3")
    assert "the key 'labels' is missing, found 'data', 'fine_labels'" in refused(f"cifar10:{tmp_path}", split="test")


class Calls:
    """Pickled as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


@pytest.mark.parametrize("protocol", range(6))
def test_a_malicious_pickle_is_refused_and_not_executed(tmp_path: Path, protocol: int) -> None:
    marker = tmp_path / "executed.npy"
    path = write_cifar10(tmp_path, "py") / "test_batch"
    for name, call in {
        "eval": Calls(eval, f"open({str(marker)!r}, 'w').close()"),
        "call": Calls(subprocess.call, ["touch", str(marker)]),
        "save": Calls(np.save, str(marker), 0),
    }.items():
        path.write_bytes(pickle.dumps({b"labels": call, b"data": images(4, 0)}, protocol=protocol))
        message = refused(f"cifar10:{tmp_path}", split="test")
        assert re.search(rf"{re.escape(str(path))}: a pickle that calls [\w.]+\.{name}, expected", message)
        assert not marker.exists()
        # Such a call is something that would be noticed.
        function, arguments = call.call
        function(*arguments)
        marker.unlink()


@pytest.mark.parametrize(
    ("program", "sentence"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", "calls os.system"),
        (b"cnumpy\nload\n(S'x'\ntR.", "calls numpy.load"),
        (b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.", "calls numpy.ndarray.tofile"),
        (b"c_codecs\nencode\n(X\x01\x00\x00\x00xX\x05\x00\x00\x00rot13tR.", "encodes as 'rot13'"),
        (b"cnumpy\ndtype\n(X\x01\x00\x00\x00OI00\nI01\ntR.", "array of type 'O', expected whole numbers"),
        # Room for more memorised objects than there is memory, and for more numbers than the file holds.
        (b"\x80\x02]r\xff\xff\xff\x7f.", "holds a list, expected the dictionary"),
        (b"cnumpy\nndarray\n((J\x00\x00\x00\x01M\x00\x0cttR.", "without saying what it holds"),
        (
            b"\x80\x05\x96" + struct.pack("<Q", 1 << 31),
            "truncated or damaged, not a pickled file of CIFAR: KeyError: 150",
        ),
        # A type of whole numbers that says of itself that they are addresses of objects.
        (
            b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x02\x85cnumpy\ndtype\n"
            b"U\x02i8K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x3ftb\x89](K\x05K\x05etb.",
            "a bytes-like object is required",
        ),
        (b"(lp0\n.", "holds a list, expected the dictionary"),
        (b"Pname\n.", "truncated or damaged"),
        (b"no pickle", "truncated or damaged"),
    ],
)
def test_other_programs_are_refused(tmp_path: Path, program: bytes, sentence: str) -> None:
    path = tmp_path / "meta"
    path.write_bytes(program)
    with pytest.raises(TmiError) as error:
        load_record(path)
    assert sentence in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.slow
def test_the_published_images_in_both_layouts(tmp_path: Path, shared: Path) -> None:
    subprocess.run([sys.executable, shared / "data" / "unpack.py", tmp_path, "cifar100"], check=True)
    python, binary = load(tmp_path / "cifar-100-python"), load(tmp_path / "cifar-100-binary")
    assert len(python) == 60_000
    assert (python.raw == binary.raw).all()
    assert (python.labels == binary.labels).all()
    # The names that come with the files are those that the binary layout gets.
    assert python.class_names == binary.class_names
    coarse = [load(tmp_path / f"cifar-100-{layout}", labels="coarse").class_names for layout in ("python", "binary")]
    assert coarse[0] == coarse[1]

    listed = json.loads((tmp_path / "cifar-100-duplicates.json").read_text())
    rows = sorted(50_000 + test if train is None else train for train, test in listed)
    occurrences = Counter(python.digests)
    assert [row for row, digest in enumerate(python.digests) if occurrences[digest] > 1] == rows
