from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tmi.config import Config
from tmi.datasets import load_points
from tmi.errors import TmiError
from tmi.membership import draw_finetuning_set, draw_membership
from tmi.task import load_task


@pytest.mark.parametrize("preset", ["digits", "pydoc"])
def test_pool_and_downstream_share_no_point(tiny: Callable[..., Config], preset: str) -> None:
    config = tiny(preset) if preset == "digits" else tiny(preset, pool__challenge_points=30)
    task = load_task(config)
    assert len(task.pool) == 40
    assert not set(task.pool.digests) & set(task.downstream.digests)
    assert task.pool.labels.max() < len(task.pool.class_names)
    assert task.downstream.labels.max() < len(task.downstream.class_names)


def test_other_classes_are_disjoint(tiny: Callable[..., Config]) -> None:
    task = load_task(tiny("pydoc", pool__challenge_points=30))
    assert len(task.pool.class_names) == 20
    assert not set(task.pool.class_names) & set(task.downstream.class_names)


def test_the_seed_decides_the_pool(tiny: Callable[..., Config]) -> None:
    first, again, other = (load_task(tiny(seed=seed)).pool.fingerprint for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_duplicates_are_no_challenge_points(tiny: Callable[..., Config], tmp_path: Path) -> None:
    inputs = np.random.default_rng(0).random((80, 5)).astype(np.float32)
    inputs[7] = inputs[3]
    np.savez(tmp_path / "data.npz", inputs=inputs, labels=np.arange(80) % 4)
    source = f"npz:{tmp_path / 'data.npz'}"
    changes: dict[str, Any] = {
        "pool__source": source,
        "downstream__source": "sklearn:digits",
        "pool__size": 80,
        "query__augmentation": "none",
        "query__count": 1,
    }
    with pytest.raises(TmiError, match="holds images, the pool vectors"):
        load_task(tiny(**changes))
    other = np.random.default_rng(1).random((80, 5)).astype(np.float32)
    np.savez(tmp_path / "other.npz", inputs=other, labels=np.arange(80) % 4)
    changes |= {"downstream__source": f"npz:{tmp_path / 'other.npz'}", "downstream__relabel": [0, 1, 0, 1]}
    task = load_task(tiny(**changes))
    assert task.duplicates == 2
    assert len(task.challenge_points) == 78
    assert task.downstream.class_names == ("0/2", "1/3")
    with pytest.raises(TmiError, match="only 78 points that are no duplicates"):
        load_task(tiny(**changes, pool__challenge_points=79))

    other[5] = inputs[11]
    np.savez(tmp_path / "other.npz", inputs=other, labels=np.arange(80) % 4)
    with pytest.raises(TmiError, match="1 points in common with the pool"):
        load_task(tiny(**changes))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"pool__size": 2000}, "pool.size is 2000, but its source has only 1797 points"),
        ({"downstream__size": 1790}, "downstream.size is 1790, but its source has only 17"),
        ({"downstream__points_per_model": 60}, "downstream.points_per_model is 60, expected fewer than the 60"),
        ({"pool__classes": 11}, "pool.classes is 11, expected 2 to 10"),
        ({"pool__classes": ["0", "x"]}, "pool.classes: the source has no class 'x'"),
        ({"downstream__relabel": [0, 1]}, "downstream.relabel has 2 entries, expected 10"),
        ({"pool__source": "sklearn:iris"}, "there is no such data set"),
        ({"pool__source": "sklern:digits"}, "unknown kind 'sklern' (did you mean 'sklearn'?"),
        ({"pool__source": "npz:none.npz"}, "none.npz: there is no such file"),
    ],
)
def test_bad_tasks_are_named(tiny: Callable[..., Config], change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(TmiError) as error:
        load_task(tiny(**change))
    assert sentence in str(error.value)


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
    ],
)
def test_bad_npz_files_are_named(tmp_path: Path, arrays: dict[str, Any], sentence: str) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, **arrays)
    with pytest.raises(TmiError) as error:
        load_points(f"npz:{path}")
    assert sentence in str(error.value)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(TmiError, match="not a readable"):
        load_points(f"npz:{path}")


def test_npz_of_images_and_of_texts(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, inputs=np.full((2, 3, 3), 255, np.uint8), labels=np.array(["cat", "ant"]))
    images = load_points(f"npz:{path}")
    assert (images.kind, images.class_names, images.labels.tolist()) == ("image", ("ant", "cat"), [1, 0])
    assert images.raw.max() == 1
    np.savez(path, inputs=np.array(["a b", "c"]), labels=np.array([0, 1]))
    assert load_points(f"npz:{path}").raw.tolist() == ["a b", "c"]


def test_jsonl(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text('{"text": "a", "label": "x"}\n\n{"text": "b", "label": 3}\n')
    points = load_points(f"jsonl:{path}")
    assert (points.raw.tolist(), points.class_names, points.labels.tolist()) == (["a", "b"], ("3", "x"), [1, 0])
    for line, sentence in (("{", "not a JSON object"), ('{"text": 1}', "'text'"), ('{"text": "a"}', "'label'")):
        path.write_text(f'{{"text": "a", "label": "x"}}\n{line}\n')
        with pytest.raises(TmiError, match=f"line 2: .*{sentence}"):
            load_points(f"jsonl:{path}")


def test_every_model_draws_an_exact_half_of_its_own() -> None:
    membership = draw_membership(seed=3, models=400, points=31)
    assert (membership.sum(axis=1) == 15).all()
    np.testing.assert_array_equal(membership[:7], draw_membership(seed=3, models=7, points=31))
    # Independent halves: members per point spread as a binomial would, neither balanced nor in pairs.
    per_point = membership.sum(axis=0)
    assert 5 < per_point.std() < 15
    assert not (membership[0::2] == ~membership[1::2]).all(axis=1).any()


def test_finetuning_sets_differ_between_models() -> None:
    first, second = (draw_finetuning_set(0, model, points=100, size=50) for model in (0, 1))
    assert len(set(first)) == 50
    assert first.tolist() != second.tolist()
