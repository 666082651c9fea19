"""What points are called by their owner, whatever they come from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tmi.config import Config, PoolConfig
from tmi.data.points import Points
from tmi.data.sources import load_points
from tmi.data.split import load_task
from tmi.errors import TmiError


def ids_of(source: str, **options: str | int | bool) -> list[str] | None:
    points = load_points(PoolConfig.model_validate({"source": source} | options))
    return None if points.ids is None else points.ids.tolist()


def test_arrays_named_ids_and_others(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    arrays = {"inputs": np.zeros((3, 4), dtype=np.float32), "labels": np.arange(3)}
    np.savez(path, **arrays, ids=[7, 9, 8], names=["a", "b", "b"], floats=np.zeros(3))
    assert ids_of(f"npz:{path}") == ["7", "9", "8"]
    assert ids_of(f"npz:{path}", id="names") == ["a", "b", "b"]
    with pytest.raises(TmiError, match="'floats': has type float64, expected integers or strings, an id per point"):
        ids_of(f"npz:{path}", id="floats")
    with pytest.raises(TmiError, match="the array 'x' is missing, found floats, ids, inputs, labels, names"):
        ids_of(f"npz:{path}", id="x")
    np.savez(path, **arrays)
    assert ids_of(f"npz:{path}") is None


def test_columns_and_keys(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "data.parquet"
    parquet.write_table(pyarrow.table({"text": ["a b", "c"], "record": ["r-1", "r-2"], "number": [3, None]}), path)
    assert ids_of(f"parquet:{path}") is None
    assert ids_of(f"parquet:{path}", id="record") == ["r-1", "r-2"]
    with pytest.raises(TmiError, match=r"id is 'recrd', but there is no such column.*did you mean 'record'"):
        ids_of(f"parquet:{path}", id="recrd")
    with pytest.raises(TmiError, match="column 'number' is empty in 1 rows"):
        ids_of(f"parquet:{path}", id="number")
    lines = tmp_path / "data.jsonl"
    lines.write_text("\n".join(json.dumps({"text": text, "key": key}) for text, key in (("a", 5), ("b", "six"))))
    assert ids_of(f"jsonl:{lines}", id="key") == ["5", "six"]
    with pytest.raises(TmiError, match="line 1: expected an object with a string or whole number 'kye'"):
        ids_of(f"jsonl:{lines}", id="kye")


def test_an_id_in_a_table_of_numbers_is_no_part_of_the_vectors(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("record,x,y,label\n101,0.5,1,a\n102,0.25,2,b\n")
    points = load_points(PoolConfig(source=f"csv:{path}", id="record"))
    assert points.ids is not None
    assert points.ids.tolist() == ["101", "102"]
    assert points.raw.tolist() == [[0.5, 1], [0.25, 2]]
    assert load_points(PoolConfig(source=f"csv:{path}")).raw.shape == (2, 3)
    with pytest.raises(TmiError, match=r"id is 'recrd', but there is no such column.*did you mean 'record'"):
        load_points(PoolConfig(source=f"csv:{path}", id="recrd"))


def test_names_of_files(tmp_path: Path) -> None:
    for name in ("cats/1.png", "cats/2.png", "dogs/1.png"):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / "images" / name)
    assert ids_of(f"imagefolder:{tmp_path / 'images'}") == ["cats/1.png", "cats/2.png", "dogs/1.png"]
    (tmp_path / "texts" / "x").mkdir(parents=True)
    (tmp_path / "texts" / "x" / "letter.txt").write_text("dear sir or madam")
    assert ids_of(f"text:{tmp_path / 'texts'}") == ["x/letter.txt"]
    assert ids_of(f"text:{tmp_path / 'texts'}", chunk_words=2) == ["x/letter.txt#0", "x/letter.txt#1"]
    assert ids_of(f"text:{tmp_path / 'texts'}", words_only=True) == ["x/letter.txt"]


def test_sources_that_have_none_say_so() -> None:
    with pytest.raises(TmiError, match="id is 'x', but sklearn has no id"):
        ids_of("sklearn:digits", id="x")


def test_they_follow_the_points_into_the_pool_and_change_no_hash(tiny: Callable[..., Config]) -> None:
    everything = load_points("sklearn:digits")
    task = load_task(tiny())
    assert task.pool.ids is not None
    for place in (0, 17):
        row = int(task.pool.ids[place])
        np.testing.assert_array_equal(task.pool.raw[place], everything.raw[row])
    assert task.pool.fingerprint == Points(*vars_of(task.pool)).fingerprint


def vars_of(points: Points) -> tuple[object, ...]:
    return points.raw, points.labels, points.class_names, points.kind


def test_known_members_and_non_members_keep_theirs(tmp_path: Path, tiny: Callable[..., Config]) -> None:
    draw = np.random.default_rng(0)
    for name, ids in (("members", {"ids": [f"m{number}" for number in range(20)]}), ("others", {})):
        inputs = draw.random((20, 8, 8)).astype(np.float32)
        np.savez(tmp_path / f"{name}.npz", inputs=inputs, labels=np.arange(20) % 3, **ids)
    sources = {"source": f"npz:{tmp_path / 'members.npz'}", "non_members": f"npz:{tmp_path / 'others.npz'}"}
    config = tiny()
    pool = config.pool.model_copy(update=sources | {"classes": None, "size": None})
    checkpoint = config.model.model_copy(update={"checkpoint": "unused"})
    task = load_task(config.model_copy(update={"pool": pool, "model": checkpoint}))
    assert task.pool.ids is not None
    assert task.known_members is not None
    assert {name[0] for name in task.pool.ids[task.known_members]} == {"m"}
    assert {name.rpartition(" ")[0] for name in task.pool.ids[~task.known_members]} == {"non-member"}
