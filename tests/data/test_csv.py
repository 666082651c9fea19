from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tmi.config import SourceConfig
from tmi.data.points import Points
from tmi.data.sources import load_points
from tmi.errors import TmiError


def read(tmp_path: Path, text: str | bytes, **options: str) -> Points:
    path = tmp_path / "t.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_points(SourceConfig(source=f"csv:{path}", **options))


def test_texts_with_labels_in_quotes_over_several_lines(tmp_path: Path) -> None:
    found = read(tmp_path, 'id,text,label\r\n7,"one, ""two""\r\nthree",b\r\n8,four,a\r\n')
    assert found.raw.tolist() == ['one, "two"\r\nthree', "four"]
    assert (found.class_names, found.labels.tolist(), found.kind) == (("a", "b"), [1, 0], "text")
    other = read(tmp_path, "text,title,topic\nx,y,z\n", inputs="title", labels="text")
    assert (other.raw.tolist(), other.class_names) == (["y"], ("x",))


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_numbers_are_vectors(tmp_path: Path, mark: str) -> None:
    rows = [("a", "y", "b"), ("1", "no", "2.5"), ("-3e2", "yes", "0")]
    found = read(tmp_path, b"\xef\xbb\xbf" + "\n".join(map(mark.join, rows)).encode())
    np.testing.assert_array_equal(found.raw, np.array([[1, 2.5], [-300, 0]], dtype=np.float32))
    assert (found.kind, found.class_names) == ("vector", ("no", "yes"))
    assert found.raw.dtype == np.float32


def test_a_single_column_is_that_of_texts_without_labels(tmp_path: Path) -> None:
    found = read(tmp_path, "body\none two\n\nthree\n")
    assert (found.raw.tolist(), found.class_names, found.kind) == (["one two", "three"], ("unlabelled",), "text")


@pytest.mark.parametrize(
    ("text", "options", "sentence"),
    [
        ("a,b\nx,y\n", {}, "say with inputs which column to read, of a, b"),
        ('"a\nb",' + "c" * 99 + "\nx,y\n", {}, "which column to read, of 'a.nb', " + "c" * 60 + "…"),
        ("text,label\nx\n", {}, "line 2: has 1 cells, expected 2"),
        ("text,label\nx,y\n,z\n", {}, "line 3: 'text': the text is empty"),
        ("text,label\nx,\n", {}, "line 2: 'label': the text is empty"),
        ("text,text\nx,y\n", {}, "expected a first line with a different name for every column"),
        ("", {}, "expected a first line"),
        ("text\nx\n", {"labels": "labl"}, "labels is 'labl', but there is no such column"),
        ("text\nx\n", {"inputs": "tex"}, r"inputs is 'tex', but there is no such column \(did you mean 'text'"),
        ('text\n"x\n', {}, "not a table of separated values"),
        (b"text\n\xff\n", {}, "line 2: not UTF-8"),
        ("a,b\n1,nan\n", {}, "say with inputs"),
        ("text\n", {}, "holds no points"),
    ],
)
def test_what_is_no_such_table_is_told(
    tmp_path: Path, text: str | bytes, options: dict[str, str], sentence: str
) -> None:
    with pytest.raises(TmiError, match=sentence):
        read(tmp_path, text, **options)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(TmiError, match=r"x\.csv: there is no such file"):
        load_points(f"csv:{tmp_path / 'x.csv'}")
