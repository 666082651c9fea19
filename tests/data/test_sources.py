from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tmi.config import SourceConfig
from tmi.data.points import Points, as_floats
from tmi.data.sources import load_points
from tmi.errors import TmiError


def points_of(raw: np.ndarray[Any, Any]) -> Points:
    return Points(raw, np.arange(len(raw)) % 2, ("a", "b"), "image")


@pytest.mark.parametrize(
    ("source", "option", "sentence"),
    [
        ("sklearn:digits", {"split": "train"}, "sklearn has no split, nor any other option"),
        ("pydoc:topics", {"labels": "x"}, "pydoc has no labels"),
        ("cifar10:x", {"labels": "coarse"}, "labels is 'coarse', but cifar10 has no labels, only split"),
        ("imagefolder:x", {"inputs": "x"}, "imagefolder has no inputs"),
        ("npz:x", {"split": "train"}, "npz has no split, only inputs and labels"),
        ("python:a.b", {"split": "train"}, "python has no split"),
    ],
)
def test_options_that_a_source_does_not_have_are_refused(source: str, option: dict[str, str], sentence: str) -> None:
    with pytest.raises(TmiError) as error:
        load_points(SourceConfig(source=source, **option))
    assert sentence in str(error.value)
    assert repr(source) in str(error.value)


def test_a_string_is_a_source_without_options() -> None:
    assert load_points("sklearn:digits").fingerprint == load_points(SourceConfig(source="sklearn:digits")).fingerprint


def test_an_image_has_the_same_digest_in_bytes_and_in_floats() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    images = np.concatenate([levels, levels.transpose(0, 2, 1)])
    assert (as_floats(images) == images.astype(np.float32) / 255).all()
    assert points_of(images).digests == points_of((images / 255).astype(np.float32)).digests
    assert len(set(points_of(images).digests)) == 2
    # The order of the bytes in memory is no part of the content.
    assert points_of(np.asfortranarray(images)).digests == points_of(images).digests


def test_digests_are_computed_once_and_follow_the_points(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 4, 4), dtype=np.uint8)
    whole, fresh = points_of(images), points_of(images)
    order = np.array([4, 1, 1])
    expected = fresh.take(order).digests
    assert whole.digests
    monkeypatch.setattr("tmi.data.points._content", None)
    assert whole.take(order).digests == expected
    relabelled = whole.relabelled(np.zeros(6, dtype=np.int64), ("z",))
    assert relabelled.digests == whole.digests
    assert relabelled.fingerprint != whole.fingerprint
    assert whole.take(images[:, 0, 0] >= 0).digests == whole.digests


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"labels": np.arange(3)}, "the array 'inputs' is missing, found labels"),
        ({"inputs": np.zeros((3, 2)), "labels": np.arange(2)}, "'labels' has shape (2,), expected (3,)"),
        ({"inputs": np.zeros((3, 2)), "labels": np.arange(3.0)}, "'labels' has type float64"),
        ({"inputs": np.zeros((3, 2)), "labels": np.arange(3) - 1}, "'labels' holds -1"),
        ({"inputs": np.full((3, 2), np.nan), "labels": np.arange(3)}, "NaN"),
        ({"inputs": np.full((3, 2, 2), 2.0), "labels": np.arange(3)}, "outside [0, 1]"),
        ({"inputs": np.zeros((3, 2), int), "labels": np.arange(3)}, "'inputs' has type int64"),
        ({"inputs": np.zeros((3, 2)), "labels": np.arange(3), "class_names": np.array(["a"])}, "has 1 entries"),
        ({"inputs": np.zeros((3, 8, 8, 3)), "labels": np.arange(3)}, "inputs.transpose(0, 3, 1, 2)"),
        ({"inputs": np.zeros((0, 8)), "labels": np.arange(0)}, "holds no points"),
    ],
)
def test_bad_npz_files_are_named(tmp_path: Path, arrays: dict[str, Any], sentence: str) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, **arrays)
    with pytest.raises(TmiError) as error:
        load_points(f"npz:{path}")
    assert sentence in str(error.value)
    assert str(path) in str(error.value)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(TmiError, match="not a readable"):
        load_points(f"npz:{path}")


def test_npz_of_images_and_of_texts(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, inputs=np.full((2, 3, 3), 255, np.uint8), labels=np.array(["cat", "ant"]))
    images = load_points(f"npz:{path}")
    assert (images.kind, images.class_names, images.labels.tolist()) == ("image", ("ant", "cat"), [1, 0])
    assert (images.raw.dtype, images.raw.max()) == (np.uint8, 255)
    np.savez(path, inputs=np.array(["a b", "c"]), labels=np.array([0, 1]))
    assert load_points(f"npz:{path}").raw.tolist() == ["a b", "c"]


def test_npz_with_several_labels(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    arrays = {"labels": np.array([0, 1, 2]), "class_names": np.array(["a", "b", "c"]), "coarse": np.array([0, 0, 1])}
    np.savez(path, pixels=np.zeros((3, 4, 4)), inputs=np.ones((3, 2)), **arrays)
    coarse = load_points(SourceConfig(source=f"npz:{path}", inputs="pixels", labels="coarse"))
    # The names of one set of labels are never those of another.
    assert (coarse.kind, coarse.class_names, coarse.labels.tolist()) == ("image", ("0", "1"), [0, 0, 1])
    np.savez(path, inputs=np.ones((3, 2)), coarse_names=np.array(["x", "y"]), **arrays)
    assert load_points(SourceConfig(source=f"npz:{path}", labels="coarse")).class_names == ("x", "y")
    with pytest.raises(TmiError, match="the array 'fine' is missing, found class_names, coarse, coarse_names"):
        load_points(SourceConfig(source=f"npz:{path}", labels="fine"))


def test_jsonl(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text('{"text": "a", "label": "x"}\n\n{"text": "b", "label": 3}\n')
    points = load_points(f"jsonl:{path}")
    assert (points.raw.tolist(), points.class_names, points.labels.tolist()) == (["a", "b"], ("3", "x"), [1, 0])
    for line, sentence in (("{", "not JSON: JSONDecodeError"), ('{"text": 1}', "'text'"), ('{"text": "a"}', "'label'")):
        path.write_text(f'{{"text": "a", "label": "x"}}\n{line}\n')
        with pytest.raises(TmiError, match=f"line 2: .*{sentence}"):
            load_points(f"jsonl:{path}")
    path.write_text("\n")
    with pytest.raises(TmiError, match="holds no points"):
        load_points(f"jsonl:{path}")


def test_jsonl_with_other_keys(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text('{"title": "t", "text": "a", "label": "x", "topic": "q"}\n')
    points = load_points(SourceConfig(source=f"jsonl:{path}", inputs="title", labels="topic"))
    assert (points.raw.tolist(), points.class_names) == (["t"], ("q",))
    with pytest.raises(TmiError, match="string 'body', found the keys 'title', 'text', 'label'"):
        load_points(SourceConfig(source=f"jsonl:{path}", inputs="body"))


FUNCTIONS = """
import numpy as np
from tmi.data.points import Points

def texts():
    return ["a b", "c"], ["x", "y"]

def named():
    return np.zeros((2, 3, 4, 4), np.uint8), np.array([0, 2]), ["p", "q", "r"]

def points():
    return Points(np.ones((2, 3), np.float32), np.array([1, 0]), ("n", "y"), "vector")

def nothing():
    return None

def bad_labels():
    return np.ones((2, 3)), [0, -1]

def ragged():
    return [[1.0], [1.0, 2.0]], [0, 1]

def fails():
    import beside
    raise KeyError(beside.VALUE)
"""


def test_python_functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "functions_of_mine.py").write_text(FUNCTIONS)
    (tmp_path / "beside.py").write_text("VALUE = 'imported late'\n")
    (tmp_path / "module_that_fails.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)

    texts = load_points("python:functions_of_mine.texts")
    assert (texts.kind, texts.raw.tolist(), texts.class_names) == ("text", ["a b", "c"], ("x", "y"))
    named = load_points("python:functions_of_mine.named")
    assert (named.kind, named.raw.dtype, named.class_names) == ("image", np.uint8, ("p", "q", "r"))
    made = load_points("python:functions_of_mine.points")
    assert (made.kind, made.labels.tolist(), made.class_names) == ("vector", [1, 0], ("n", "y"))
    for name, sentence in (
        ("functions_of_mine.nothing", "returned a NoneType"),
        ("functions_of_mine.bad_labels", "'labels' holds -1"),
        ("functions_of_mine.ragged", "returned no arrays"),
        ("functions_of_mine.fails", "raised KeyError: 'imported late'"),
        ("functions_of_mine.none", "has no function 'none'"),
        ("module_that_fails.f", "ZeroDivisionError"),
        ("no_such_module.f", "'no_such_module' cannot be imported"),
        ("alone", "expected module.function"),
    ):
        with pytest.raises(TmiError) as error:
            load_points(f"python:{name}")
        assert sentence in str(error.value)
        assert f"source 'python:{name}'" in str(error.value)


def test_the_current_directory_is_importable_only_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    (tmp_path / "only_meanwhile.py").write_text("def points():\n    return [[0.0], [1.0]], [0, 1]\n")
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    assert len(load_points("python:only_meanwhile.points")) == 2
    assert sys.path == before
