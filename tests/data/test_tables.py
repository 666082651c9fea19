from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tmi.config import SourceConfig
from tmi.data.points import Points
from tmi.data.sources import load_points
from tmi.errors import TmiError

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


def encoded(pixels: np.ndarray, suffix: str = "PNG") -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, suffix)
    return content.getvalue()


def pixels(number: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (number, 4, 5, 3), dtype=np.uint8)


def load(path: Path, **options: str) -> Points:
    return load_points(SourceConfig(source=f"parquet:{path}", **options))


def written(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    parquet.write_table(pyarrow.table(columns), path, **options)
    return path


def test_images_as_the_hub_stores_them(tmp_path: Path) -> None:
    drawn = pixels(3)
    Image.fromarray(drawn[2]).save(tmp_path / "third.png")
    cells = [{"bytes": encoded(image), "path": "somewhere.png"} for image in drawn[:2]]
    cells.append({"bytes": None, "path": str(tmp_path / "third.png")})
    path = written(tmp_path / "data.parquet", {"img": cells, "fine_label": [2, 0, 1], "coarse_label": [1, 1, 0]})
    points = load(path)
    assert (points.kind, points.raw.dtype, points.labels.tolist()) == ("image", np.uint8, [2, 0, 1])
    assert (points.raw == drawn.transpose(0, 3, 1, 2)).all()
    assert load(path, labels="coarse_label").labels.tolist() == [1, 1, 0]
    plain = written(tmp_path / "plain.parquet", {"image": [encoded(image) for image in drawn], "label": list("bab")})
    assert (load(plain).raw == points.raw).all()
    assert (load(plain).class_names, load(plain).labels.tolist()) == (("a", "b"), [1, 0, 1])


def test_texts_and_vectors(tmp_path: Path) -> None:
    columns = {"text": ["a b", "c"], "embedding": [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], "label": [1, 0]}
    path = written(tmp_path / "data.parquet", columns)
    assert load(path).raw.tolist() == ["a b", "c"]
    vectors = load(path, inputs="embedding")
    assert (vectors.kind, vectors.raw.dtype, vectors.raw.tolist()) == ("vector", np.float32, columns["embedding"])
    fixed = pyarrow.array(columns["embedding"], type=pyarrow.list_(pyarrow.float32(), 3))
    path = written(tmp_path / "fixed.parquet", {"vector": fixed, "y": pyarrow.array(["u", "v"]).dictionary_encode()})
    assert load(path).raw.tolist() == columns["embedding"]
    assert load(path).class_names == ("u", "v")


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    for index, name in enumerate(("inner/b.parquet", "a.parquet")):
        # Several row groups, so that columns come in chunks.
        columns = {"vector": [[float(index), row] for row in range(3)], "label": [index] * 3}
        written(tmp_path / name, columns, row_group_size=2)
    points = load(tmp_path)
    assert points.labels.tolist() == [1, 1, 1, 0, 0, 0]
    assert points.raw[:, 1].tolist() == [0, 1, 2, 0, 1, 2]
    written(tmp_path / "c.parquet", {"vector": [[0.5]], "label": ["x"]})
    with pytest.raises(TmiError, match=r"c.parquet: has other columns or types than .*a.parquet"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("columns", "options", "sentence"),
    [
        ({"words": ["a"], "label": [0]}, {}, "say with inputs which column to read, of words, label"),
        ({"text": ["a", " \n"]}, {}, "column 'text', row 1: the text is empty"),
        ({"text": ["a"], "label": [0]}, {"labels": "lable"}, "labels is 'lable', but there is no such column (did you"),
        ({"text": ["a", None], "label": [0, 1]}, {}, "column 'text' is empty in 1 rows"),
        ({"text": ["a", "b"], "label": [0, None]}, {}, "column 'label' is empty in 1 rows"),
        ({"text": ["a", "b"], "label": [0, -1]}, {}, "'label' holds -1"),
        ({"text": ["a", "b"], "label": [0.5, 1]}, {}, "'label' has type double"),
        ({"inputs": [1, 2], "label": [0, 1]}, {}, "column 'inputs' has type int64, expected images"),
        ({"inputs": [[1.0], [1.0, 2.0]], "label": [0, 1]}, {}, "row 1: has 2 numbers, row 0 has 1"),
        ({"inputs": [[1.0], [float("nan")]], "label": [0, 1]}, {}, "holds NaN, infinite or empty values"),
        ({"inputs": [[1.0], [None]], "label": [0, 1]}, {}, "holds NaN, infinite or empty values"),
        ({"image": [b"no image"], "label": [0]}, {}, "column 'image', row 0: not a readable image"),
        ({"image": [{"bytes": None, "path": "no.png"}], "label": [0]}, {}, "row 0: there is no such file"),
        ({"text": pyarrow.array([], pyarrow.string()), "label": pyarrow.array([], pyarrow.int64())}, {}, "no points"),
    ],
)
def test_bad_tables_are_named(tmp_path: Path, columns: dict[str, Any], options: dict[str, str], sentence: str) -> None:
    path = written(tmp_path / "data.parquet", columns)
    with pytest.raises(TmiError) as error:
        load(path, **options)
    assert sentence in str(error.value).replace("float64", "double")
    assert str(path) in str(error.value)


def test_texts_that_are_not_utf_8_are_named(tmp_path: Path) -> None:
    content = pyarrow.array([b"a", b"\xff"])
    texts = pyarrow.Array.from_buffers(pyarrow.string(), 2, content.buffers())
    sentence = (
        r"data\.parquet: not a readable Parquet file, column 'text': In chunk 0: .*UTF8 sequence at string index 1"
    )
    with pytest.raises(TmiError, match=sentence):
        load(written(tmp_path / "data.parquet", {"text": texts}))


def test_a_table_may_have_no_labels(tmp_path: Path) -> None:
    points = load(written(tmp_path / "data.parquet", {"text": ["a", "b"], "mood": ["x", "y"]}))
    assert (points.labels.tolist(), points.class_names) == ([0, 0], ("unlabelled",))
    assert load(tmp_path / "data.parquet", labels="mood").class_names == ("x", "y")
    with pytest.raises(TmiError, match="labels is 'label', but there is no such column"):
        load(tmp_path / "data.parquet", labels="label")
    assert load(written(tmp_path / "data.parquet", {"vector": [[1.0], [2.0]]})).class_names == ("unlabelled",)


def test_bad_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(TmiError, match="none: there is no such file"):
        load(tmp_path / "none")
    with pytest.raises(TmiError, match=r"holds no files \*.parquet"):
        load(tmp_path)
    path = written(tmp_path / "data.parquet", {"text": ["a"], "label": [0]})
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(TmiError, match=r"data.parquet: not a readable Parquet file"):
        load(path)


@pytest.mark.parametrize(
    ("source", "package"), [("parquet:data.parquet", "pyarrow"), ("hf:mnist", "datasets")], ids=["parquet", "hf"]
)
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, source: str, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(TmiError, match=f"'{source}' needs .*pip install {package}"):
        load_points(source)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    datasets.disable_progress_bars()
    return datasets


def splits(datasets: Any) -> Any:
    """Train: texts 0 to 3, of which the first two are kept by an index; test: text 4."""
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    columns = {"text": [f"text {i}" for i in range(5)], "label": [0, 1, 0, 1, 1]}
    whole = datasets.Dataset.from_dict(columns, features=features)
    return datasets.DatasetDict({"test": whole.select([4]), "train": whole.select([2, 1])})


def test_saved_data_sets(tmp_path: Path, hub: Any) -> None:
    made = splits(hub)
    made.save_to_disk(tmp_path / "both")
    made["train"].save_to_disk(tmp_path / "one")
    everything = load_points(f"hf:{tmp_path / 'both'}")
    # The training part comes first, wherever it was saved.
    assert everything.raw.tolist() == ["text 2", "text 1", "text 4"]
    assert (everything.labels.tolist(), everything.class_names) == ([0, 1, 1], ("no", "yes"))
    test = load_points(SourceConfig(source=f"hf:{tmp_path / 'both'}", split="test"))
    assert test.raw.tolist() == ["text 4"]
    assert load_points(f"hf:{tmp_path / 'one'}").raw.tolist() == ["text 2", "text 1"]
    for folder, sentence in (("both", r"split is 'tset' \(did you mean 'test'"), ("one", "split is 'tset', but one")):
        with pytest.raises(TmiError, match=sentence):
            load_points(SourceConfig(source=f"hf:{tmp_path / folder}", split="tset"))


def test_a_data_set_without_labels(tmp_path: Path, hub: Any) -> None:
    hub.Dataset.from_dict({"id": [3, 4], "text": ["a", "b"]}).save_to_disk(tmp_path / "plain")
    points = load_points(f"hf:{tmp_path / 'plain'}")
    assert (points.raw.tolist(), points.class_names) == (["a", "b"], ("unlabelled",))


def test_a_folder_as_it_is_downloaded(tmp_path: Path, hub: Any) -> None:
    folder = tmp_path / "repository" / "data"
    folder.mkdir(parents=True)
    for split, dataset in splits(hub).items():
        dataset.to_parquet(folder / f"{split}-00000-of-00001.parquet")
    source = f"hf:{tmp_path / 'repository'}"
    assert load_points(source).raw.tolist() == ["text 2", "text 1", "text 4"]
    assert load_points(SourceConfig(source=source, split="test")).class_names == ("no", "yes")
    with pytest.raises(TmiError, match="cannot be loaded: ValueError: Unknown split"):
        load_points(SourceConfig(source=source, split="validation"))
    # The same files without the package: the class names are in them.
    assert load_points(f"parquet:{folder}").class_names == ("no", "yes")


def test_images_of_a_data_set(tmp_path: Path, hub: Any) -> None:
    drawn = pixels(3)
    features = hub.Features({"img": hub.Image(), "label": hub.ClassLabel(names=["a", "b"])})
    images = [Image.fromarray(image) for image in drawn]
    hub.Dataset.from_dict({"img": images, "label": [0, 1, 0]}, features=features).save_to_disk(tmp_path / "images")
    points = load_points(f"hf:{tmp_path / 'images'}")
    assert (points.raw == drawn.transpose(0, 3, 1, 2)).all()


def test_without_network_the_download_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: Any) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise ConnectionError("Couldn't reach 'someone/photos' on the Hub\nand more")

    monkeypatch.setattr(hub, "load_dataset", unreachable)
    with pytest.raises(TmiError) as error:
        load_points("hf:someone/photos:large")
    assert "source 'hf:someone/photos:large': cannot be loaded: ConnectionError: Couldn't reach" in str(error.value)
    assert "`hf download someone/photos --repo-type dataset --local-dir DIR`" in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.raises(TmiError, match="there is no such directory"):
        load_points(f"hf:{tmp_path / 'none'}")
