"""Sources of points that are made to take all memory, never to end, or to confuse a parser."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tmi.data.images import stack_images
from tmi.data.sources import load_points
from tmi.errors import TmiError
from tmi.system import memory


@pytest.mark.parametrize("kind", ["npz", "jsonl", "text", "parquet", "csv"])
def test_pipes_are_not_waited_for(tmp_path: Path, kind: str) -> None:
    os.mkfifo(tmp_path / "data")
    with pytest.raises(TmiError, match="data: is a pipe or device"):
        load_points(f"{kind}:{tmp_path / 'data'}")


def test_a_folder_of_images_with_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    os.mkfifo(tmp_path / "a" / "1.png")
    with pytest.raises(TmiError, match=r"1\.png: is a pipe or device"):
        load_points(f"imagefolder:{tmp_path}")


def test_an_archive_that_unpacks_to_much_more_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "data.npz"
    np.savez_compressed(path, inputs=np.zeros((1 << 10, 1 << 10), np.uint8).reshape(16, 256, 256), labels=np.arange(16))
    assert len(load_points(f"npz:{path}")) == 16
    monkeypatch.setattr(memory, "RATIO_MATTERS_FROM", 1 << 16)
    monkeypatch.setattr(memory, "LARGEST_RATIO", 100)
    with pytest.raises(TmiError, match=r"data\.npz: .* would unpack to 1,04\d,\d+ bytes, expected at most 100 times"):
        load_points(f"npz:{path}")


def test_more_elements_than_there_are_bytes(tmp_path: Path) -> None:
    stream = io.BytesIO()
    facts = {"descr": "<f4", "fortran_order": False, "shape": (10**15,)}
    np.lib.format.write_array_header_1_0(stream, facts)
    with zipfile.ZipFile(tmp_path / "data.npz", "w") as archive:
        archive.writestr("inputs.npy", stream.getvalue())
        archive.writestr("labels.npy", stream.getvalue())
    with pytest.raises(TmiError, match="its header says 4000000000000000 bytes"):
        load_points(f"npz:{tmp_path / 'data.npz'}")


@pytest.mark.parametrize("line", ["[" * 100_000, '{"text": "a", "label": ' + "1" * 5000 + "}"])
def test_a_line_that_no_parser_should_see(tmp_path: Path, line: str) -> None:
    (tmp_path / "data.jsonl").write_text('{"text": "a", "label": 1}\n' + line)
    with pytest.raises(TmiError, match=r"data\.jsonl, line 2: .*(deep|digits)"):
        load_points(f"jsonl:{tmp_path / 'data.jsonl'}")


def png(width: int, height: int) -> bytes:
    """The beginning of a PNG file of that size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"")


def test_images_are_refused_by_their_declared_size(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TmiError, match="first: has 81,000,000 pixels, expected at most 16,777,216"):
        stack_images([("first", png(9000, 9000))], 30)
    # The first image tells what all will take.
    content = png(2000, 2000)
    with pytest.raises(TmiError, match=r"first and the 29 others: .* would unpack to 360,000,000 bytes"):
        stack_images([("first", content)] * 30, 30)
    monkeypatch.setattr(memory, "total_memory", lambda: 1 << 20)
    with pytest.raises(TmiError, match="first and the 29 others takes 360,000,000 bytes of memory"):
        stack_images([("first", content)] * 30, 30)


def test_formats_that_start_programs_are_no_images() -> None:
    stream = io.BytesIO()
    Image.new("L", (4, 4)).save(stream, format="EPS")
    with pytest.raises(TmiError, match="first: not a readable image"):
        stack_images([("first", stream.getvalue())], 1)


def test_numbers_of_classes_and_of_inputs_that_nothing_holds(tmp_path: Path) -> None:
    vectors = np.ones((3, 2))
    np.savez(tmp_path / "data.npz", inputs=vectors, labels=np.array([0, 1, 1 << 40]))
    with pytest.raises(TmiError, match="'labels' holds 1099511627776, expected numbers below 1,048,576"):
        load_points(f"npz:{tmp_path / 'data.npz'}")
    np.savez(tmp_path / "data.npz", inputs=vectors, labels=np.arange(3), class_names=np.array("abc"))
    with pytest.raises(TmiError, match=r"'class_names' has shape \(\), expected \[classes\]"):
        load_points(f"npz:{tmp_path / 'data.npz'}")
    np.savez(tmp_path / "data.npz", inputs=1e300 * vectors, labels=np.arange(3))
    with pytest.raises(TmiError, match="'inputs' holds NaN or infinite values"):
        load_points(f"npz:{tmp_path / 'data.npz'}")
    (tmp_path / "data.csv").write_text("a,b\n1,1e300\n2,3\n")
    with pytest.raises(TmiError, match="say with inputs which column to read"):
        load_points(f"csv:{tmp_path / 'data.csv'}")
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    for values, sentence in (([[1e300]], "numbers beyond those of float32"), ([], "holds no points")):
        table = pyarrow.table({"vector": pyarrow.array(values, pyarrow.list_(pyarrow.float64()))})
        parquet.write_table(table, tmp_path / "data.parquet")
        with pytest.raises(TmiError, match=sentence):
            load_points(f"parquet:{tmp_path / 'data.parquet'}")
