from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tmi.config import SourceConfig
from tmi.data.points import Points, pieces
from tmi.data.sources import load_points
from tmi.errors import TmiError


def written(path: Path, *records: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return f"jsonl:{path}"


def in_pieces(source: str, words: int) -> Points:
    return load_points(SourceConfig(source=source, chunk_words=words))


def test_paragraphs_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_bytes("\ufeff\r\n  First line,\r\nsecond line.\r\n \t\r\n\r\n    Größe – \r\n\r\n".encode())
    points = load_points(f"text:{path}")
    assert points.raw.tolist() == ["First line,\nsecond line.", "Größe –"]
    assert (points.kind, points.labels.tolist(), points.class_names) == ("text", [0, 0], ("unlabelled",))
    path.write_text(" \n\n")
    with pytest.raises(TmiError, match=r"source 'text:.*texts.txt': holds no points"):
        load_points(f"text:{path}")


def test_files_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    for name, text in (("b.txt", "two\n\nparagraphs\n"), ("inner/a.TXT", "in"), ("a.txt", "one"), ("c.md", "no")):
        (tmp_path / name).write_text(text)
    (tmp_path / "._a.txt").write_bytes(b"\xff")
    assert load_points(f"text:{tmp_path}").raw.tolist() == ["one", "two\n\nparagraphs", "in"]


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({}, ": holds no files *.txt"),
        ({"a.txt": b"\n"}, "a.txt: the text is empty, expected at least one word"),
        ({"a.txt": b"\xef\xbb\xbfa\nb\n\xe9t\xe9"}, "a.txt, line 3: not UTF-8 text: byte 0xe9: invalid continuation"),
    ],
)
def test_bad_folders_of_texts_are_named(tmp_path: Path, files: dict[str, bytes], sentence: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(TmiError) as error:
        load_points(f"text:{tmp_path}")
    assert sentence in str(error.value)
    assert str(tmp_path) in str(error.value)
    with pytest.raises(TmiError, match=r"none.txt: there is no such file or directory"):
        load_points(f"text:{tmp_path / 'none.txt'}")
    with pytest.raises(TmiError, match="labels is 'x', but text has no labels"):
        load_points(SourceConfig(source=f"text:{tmp_path}", labels="x"))


def test_jsonl_without_labels(tmp_path: Path) -> None:
    source = written(tmp_path / "data.jsonl", {"text": "a", "topic": "x"}, {"text": "b", "topic": "y"})
    points = load_points(source)
    assert (points.raw.tolist(), points.labels.tolist(), points.class_names) == (["a", "b"], [0, 0], ("unlabelled",))
    assert load_points(SourceConfig(source=source, labels="topic")).class_names == ("x", "y")
    with pytest.raises(TmiError, match=r"data.jsonl, line 1: has no 'label', expected"):
        load_points(SourceConfig(source=source, labels="label"))


@pytest.mark.parametrize("with_label", [[0, 3], [1, 2], [3]])
def test_jsonl_with_some_labels_is_refused_at_the_first_line_without(tmp_path: Path, with_label: list[int]) -> None:
    records = [{"text": "a"} | ({"label": "x"} if line in with_label else {}) for line in range(4)]
    first = 1 + min(set(range(4)) - set(with_label))
    with pytest.raises(TmiError, match=f"line {first}: has no 'label', expected a string or whole number 'label' in"):
        load_points(written(tmp_path / "data.jsonl", *records))


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (b'{"text": " ", "label": 1}', "the text is empty"),
        (b'{"text": "a\\ud800", "label": 1}', "the text holds '\\ud800', half of a character"),
        (b'{"text": "\xfcber", "label": 1}', "not UTF-8 text: byte 0xfc"),
        (b'{"text": "a", "label": 1.5}', "expected an object with a string or whole number 'label'"),
        (b'{"text": "a", "label": null}', "expected an object with a string or whole number 'label'"),
        (b'["a", 1]', "expected a JSON object, found a list"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, line: bytes, sentence: str) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(b'{"text": "a", "label": 1}\n\n' + line + b"\n")
    with pytest.raises(TmiError) as error:
        load_points(f"jsonl:{path}")
    assert str(error.value).startswith(f"{path}, line 3: ")
    assert sentence in str(error.value)


def test_empty_texts_of_arrays_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", inputs=np.array(["a", ""]), labels=np.arange(2))
    with pytest.raises(TmiError, match=r"data.npz: 'inputs', point 1: the text is empty"):
        load_points(f"npz:{tmp_path / 'data.npz'}")


@settings(max_examples=200)
@given(st.text(st.sampled_from("ab \n\t\u00a0\u2003"), max_size=60), st.integers(1, 7))
def test_pieces_cover_a_text_without_overlap(text: str, words: int) -> None:
    cut = pieces(text, words)
    assert all(len(piece.split()) == words for piece in cut)
    covered = " ".join(cut).split()
    rest = text.split()[len(covered) :]
    assert covered + rest == text.split()
    assert len(rest) < words


def test_pieces_have_the_label_of_their_text(tmp_path: Path) -> None:
    texts = {"long": "a b  c\nd e f g", "short": "h i", "middle": "j k l"}
    source = written(tmp_path / "data.jsonl", *({"text": text, "label": label} for label, text in texts.items()))
    points = in_pieces(source, 3)
    assert points.raw.tolist() == ["a b c", "d e f", "j k l"]
    assert [points.class_names[label] for label in points.labels] == ["long", "long", "middle"]
    assert points.labels.dtype == np.int64
    assert len(points.digests) == 3
    assert len(in_pieces(source, 7)) == 1
    with pytest.raises(TmiError, match="chunk_words is 8, but its longest text has 7 words: expected fewer"):
        in_pieces(source, 8)
    with pytest.raises(TmiError, match="'sklearn:digits': chunk_words is 3, which is for texts; it holds images"):
        in_pieces("sklearn:digits", 3)


def test_real_articles_and_descriptions(shared: Path, tmp_path: Path) -> None:
    for name, part in (("wikipedia", "wikipedia_en"), ("dbpedia", "dbpedia14")):
        subprocess.run([sys.executable, shared / "data" / "unpack.py", tmp_path, name], check=True, capture_output=True)
        source = f"jsonl:{tmp_path / part}.jsonl"
        whole = load_points(source)
        cut = in_pieces(source, 50)
        assert len(cut) == sum(len(text.split()) // 50 for text in whole.raw)
        assert cut.class_names == whole.class_names
        assert len(whole.class_names) == (1 if name == "wikipedia" else 14)
