from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tmi.config import Config
from tmi.data.membership import draw_finetuning_set, draw_membership
from tmi.data.points import Points
from tmi.data.sources import load_points
from tmi.data.split import load_task
from tmi.errors import TmiError


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
    with pytest.raises(TmiError, match=r"1 points in common with the pool .* \(point 5 of it, from 0\)"):
        load_task(tiny(**changes))
    changes |= {"downstream__size": None, "downstream__drop_shared": True}
    task = load_task(tiny(**changes))
    assert (len(task.downstream), task.left_out) == (79, 1)
    assert not {*task.downstream.digests} & {*task.pool.digests}


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


def write_cifar100(folder: Path, parts: dict[str, NDArray[np.uint8]]) -> None:
    """Images [points, 3072] in the binary layout; fine labels 0, 1, ..., 9, 0, ..., two fine ones in a coarse one."""
    folder.mkdir(exist_ok=True)
    for split, images in parts.items():
        fine = np.arange(len(images)) % 10
        np.column_stack([fine // 2, fine, images]).astype(np.uint8).tofile(folder / f"{split}.bin")


@pytest.fixture
def cifar(tiny: Callable[..., Config], tmp_path: Path) -> Callable[..., Config]:
    """A configuration for both splits of CIFAR-100; three test images are in the training part as well."""
    train = np.random.default_rng(0).integers(0, 256, (100, 3072), dtype=np.uint8)
    test = np.random.default_rng(1).integers(0, 256, (80, 3072), dtype=np.uint8)
    test[[4, 5, 60]] = train[[17, 18, 18]]
    write_cifar100(tmp_path / "data", {"train": train, "test": test})
    source = f"cifar100:{tmp_path / 'data'}"

    def make(**changes: Any) -> Config:
        usual = {"pool__source": source, "downstream__source": source, "pool__size": 100, "downstream__size": 60}
        document = tiny(**(usual | changes)).model_dump(exclude_none=True)
        if "downstream__relabel" not in changes:
            del document["downstream"]["relabel"]
        return Config.model_validate(document)

    return make


def test_two_splits_of_one_source_share_no_point(cifar: Callable[..., Config]) -> None:
    task = load_task(cifar(pool__split="train", downstream__split="test", downstream__size=77))
    assert len(task.pool) == 100
    assert not set(task.pool.digests) & set(task.downstream.digests)
    assert task.left_out == 3
    with pytest.raises(TmiError, match="its source has only 77 points"):
        load_task(cifar(pool__split="train", downstream__split="test", downstream__size=78))


def test_coarse_labels_beside_fine_ones(cifar: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[int] = []

    def counted(points: Points) -> list[bytes]:
        hashed.append(len(points))
        return [point.tobytes() for point in points.raw]

    counting = cached_property(counted)
    counting.__set_name__(Points, "digests")
    monkeypatch.setattr(Points, "digests", counting)
    task = load_task(cifar(downstream__labels="coarse"))
    assert not set(task.pool.digests) & set(task.downstream.digests)
    assert task.pool.fingerprint
    assert task.downstream.fingerprint
    # Once for pool, downstream task and fingerprints together.
    assert hashed == [180]
    assert task.downstream.class_names[0] == "aquatic_mammals"
    assert task.pool.class_names[0] == "apple"
    fine = load_task(cifar())
    assert (fine.downstream.raw == task.downstream.raw).all()
    assert (fine.downstream.labels // 2 == task.downstream.labels).all()


def test_what_is_left_out_is_counted_without_the_pool_itself(cifar: Callable[..., Config]) -> None:
    config = cifar(pool__size=90, pool__challenge_points=50)
    source, task = load_points(config.pool), load_task(config)
    pool, copies = Counter(task.pool.digests), Counter(source.digests)
    # Copies of pool points that were not drawn for the pool themselves.
    expected = sum(copies[digest] - times for digest, times in pool.items())
    assert expected > 0
    assert task.left_out == expected

    low = np.flatnonzero(source.labels < 8)
    # Image 18 of the training part is of class 8, one of its copies in the test part of class 0.
    changes = {"pool__classes": list(source.class_names[8:10]), "pool__size": 36, "pool__challenge_points": 10}
    task = load_task(cifar(**changes, downstream__classes=list(source.class_names[:8])))
    assert task.left_out == sum(digest in task.pool.digests for digest in source.take(low).digests)
    assert task.left_out > 0
    assert not set(task.pool.digests) & set(task.downstream.digests)


def test_other_classes_of_another_split(cifar: Callable[..., Config]) -> None:
    names = list(load_points(cifar().pool).class_names)
    changes: dict[str, Any] = {"pool__classes": names[:5], "downstream__classes": "others", "pool__size": 50}
    changes |= {"pool__split": "train", "downstream__split": "test", "downstream__size": 35}
    task = load_task(cifar(**changes))
    assert task.pool.class_names == tuple(names[:5])
    assert not set(task.pool.class_names) & set(task.downstream.class_names)
    with pytest.raises(TmiError, match="needs the same source and labels as the pool"):
        load_task(cifar(**changes, downstream__labels="coarse"))


def test_images_must_be_alike(tiny: Callable[..., Config], tmp_path: Path) -> None:
    def task_with(inputs: NDArray[Any]) -> None:
        np.savez(tmp_path / "other.npz", inputs=inputs, labels=np.arange(len(inputs)) % 10)
        load_task(tiny(downstream__source=f"npz:{tmp_path / 'other.npz'}", downstream__size=None))

    random = np.random.default_rng(0)
    with pytest.raises(
        TmiError, match=r"downstream.source holds images of 9 x 8 pixels with .*, the pool images of 8 x 8"
    ):
        task_with(random.random((80, 8, 9)))
    with pytest.raises(TmiError, match="with 3 channels, the pool images of 8 x 8 pixels with no axis for channels"):
        task_with(random.random((80, 3, 8, 8)))
    with pytest.raises(TmiError, match="holds vectors, the pool images"):
        task_with(random.random((80, 8)))


def test_shared_images_are_found_in_bytes_and_in_floats(tiny: Callable[..., Config], tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (100, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "bytes.npz", inputs=images, labels=np.arange(100) % 10)
    np.savez(tmp_path / "floats.npz", inputs=images[50:] / 255, labels=np.arange(50) % 10)
    sources = {
        f"{table}__source": f"npz:{tmp_path}/{name}.npz"
        for table, name in (("pool", "bytes"), ("downstream", "floats"))
    }
    listed = r"\(points 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 40 more of it, from 0\)"
    with pytest.raises(TmiError, match=f"has 50 points in common with the pool .* {listed}"):
        load_task(tiny(**sources, pool__size=100))


def test_relabelling_by_a_mapping_file(tiny: Callable[..., Config], tmp_path: Path) -> None:
    path = tmp_path / "mapping.json"
    path.write_text(json.dumps({str(digit): "odd" if digit % 2 else "even" for digit in range(10)}))
    task = load_task(tiny(downstream__relabel=str(path)))
    assert task.downstream.class_names == ("even", "odd")
    listed = load_task(tiny(downstream__relabel=[0, 1] * 5))
    assert (task.downstream.labels == listed.downstream.labels).all()
    # Classes that the task does not use may be in the file.
    task = load_task(tiny(downstream__relabel=str(path), downstream__classes=["1", "2", "3"]))
    assert task.downstream.class_names == ("odd", "even")
    assert set(task.downstream.labels) == {0, 1}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('{"0": "a", "1": "b"}', "the class '2' of the downstream task is missing (8 in all)"),
        (json.dumps({str(name): "a" for name in range(11)}), "the downstream source has no class '10' (did you mean"),
        ('{"0": "a", "0": "b"}', "the class '0' is listed 2 times"),
        ('{"0": 1}', "expected an object of strings"),
        ("[0, 1]", "expected an object of strings"),
        ("{", "not JSON: "),
    ],
)
def test_bad_mapping_files_are_named(tiny: Callable[..., Config], tmp_path: Path, content: str, sentence: str) -> None:
    path = tmp_path / "mapping.json"
    path.write_text(content)
    with pytest.raises(TmiError) as error:
        load_task(tiny(downstream__relabel=str(path)))
    assert sentence in str(error.value)
    assert str(path) in str(error.value)
    path.unlink()
    with pytest.raises(TmiError, match=r"downstream.relabel: .*mapping.json: there is no such file"):
        load_task(tiny(downstream__relabel=str(path)))


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
