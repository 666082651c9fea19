"""Predictions larger than the working memory: the same scores, and no more memory than was allowed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from made.simulated import ATTACKS
from tmi.attacks.registry import attack_named
from tmi.attacks.scoring import join, parts, score, score_part
from tmi.config import Config, load_config
from tmi.errors import TmiError
from tmi.predictions.arrays import Predictions
from tmi.predictions.attack_input import AttackInput
from tmi.predictions.rows import FileRows, unmapped
from tmi.system.memory import parse_memory

ROOT = Path(__file__).parents[2]
POINT_BY_POINT = [name for name in ATTACKS if attack_named(name).point_by_point]


def answers_of(models: int = 12, points: int = 90, seed: int = 0) -> AttackInput:
    random = np.random.default_rng(seed)
    logits = random.normal(size=(2, models, points, 3, 4)).astype(np.float32)
    return AttackInput(
        Predictions(list(logits[0])), random.random((models, points)) < 0.5, Predictions(list(logits[1]))
    )


# --------------------------------------------------------------------------------------------- sizes


@pytest.mark.parametrize(
    ("text", "size"),
    [("64M", 64 << 20), ("1G", 1 << 30), ("1.5g", 3 << 29), ("70000K", 70000 << 10), ("2 GiB", 2 << 30)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1T", "unit K, M or G"),
        ("", "unit K, M or G"),
        ("lots", "unit K, M or G"),
        ("1000000000", "unit K, M or G"),
        ("-1G", "unit K, M or G"),
        ("63M", "at least 64M"),
        ("0G", "at least 64M"),
    ],
)
def test_sizes_that_make_no_sense(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_memory(text)
    with pytest.raises(TmiError, match=re.escape(f"the key 'compute.memory' is {text!r}: expected ") + f".*{message}"):
        load_config("digits", {"compute.memory": text})


def test_the_memory_is_a_free_choice(tiny) -> None:
    config: Config = tiny(compute__memory="80M")
    assert config.compute.memory_bytes == 80 << 20


# --------------------------------------------------------------------------------------------- files


def test_rows_of_a_file_are_read_when_wanted(tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(size=(50, 3, 4)).astype(np.float16)
    np.save(tmp_path / "a.npy", array)
    rows = unmapped(np.load(tmp_path / "a.npy", mmap_mode="r"))
    assert isinstance(rows, FileRows)
    for chosen in (slice(None), slice(7, 20), slice(-3, None), slice(40, 90), slice(5, 5)):
        part = rows[chosen]
        found = np.empty(part.shape, part.dtype)
        part.read_into(found)
        np.testing.assert_array_equal(found, array[chosen])
    nested = np.empty((2, 3, 4), np.float16)
    rows[10:30][5:9][1:3].read_into(nested)
    np.testing.assert_array_equal(nested, array[16:18])


def test_what_is_no_whole_read_only_map_stays_as_it_is(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((6, 2, 2), np.float32))
    np.save(tmp_path / "f.npy", np.asfortranarray(np.zeros((6, 2, 2), np.float32)))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    writable = np.load(tmp_path / "a.npy", mmap_mode="c")
    fortran = np.load(tmp_path / "f.npy", mmap_mode="r")
    for array in (np.zeros(3), writable, mapped[2:], fortran):
        kept = unmapped(array)
        assert isinstance(kept, np.ndarray)
        assert np.shares_memory(kept, array)


def test_a_file_that_changes_meanwhile_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((6, 2, 2), np.float32))
    rows = unmapped(np.load(path, mmap_mode="r"))
    assert isinstance(rows, FileRows)
    np.save(tmp_path / "b.npy", np.ones((6, 2, 2), np.float32))
    (tmp_path / "b.npy").replace(path)
    with pytest.raises(TmiError, match="was changed while it was in use"):
        rows.read_into(np.empty((6, 2, 2), np.float32))
    path.unlink()
    with pytest.raises(TmiError, match="cannot be read"):
        rows.read_into(np.empty((6, 2, 2), np.float32))


# -------------------------------------------------------------------------------------------- blocks


@pytest.mark.parametrize("name", POINT_BY_POINT)
def test_attacks_that_go_point_by_point_do(name: str) -> None:
    """Scores at some points are the same when the attack sees no others."""
    answers, targets = answers_of(), range(2)
    whole = attack_named(name).score(answers, targets)
    here = slice(20, 33)
    np.testing.assert_array_equal(attack_named(name).score(answers.at(here), targets), whole[:, here])


@pytest.mark.parametrize("name", POINT_BY_POINT)
def test_little_memory_changes_no_score(name: str) -> None:
    answers, targets = answers_of(), range(2)
    expected = attack_named(name).score(answers, targets)
    answers = answers_of()
    for predictions in (answers.predictions, answers.pretrained):
        assert predictions is not None
        predictions.memory = 50_000
    assert 1 < answers.points_in_memory < 45
    np.testing.assert_array_equal(score(attack_named(name), answers, targets), expected)


@pytest.mark.parametrize("name", ["gaussian", "tmi-pointwise", "tmi"])
@pytest.mark.parametrize("workers", [1, 3])
def test_parts_cover_all_scores(name: str, workers: int) -> None:
    attack, answers = attack_named(name), answers_of()
    jobs = parts(attack, len(answers.membership), 6, 90, workers)
    assert sum(job.size for job in jobs) == 6 * 90
    joined = join([(job, score_part(attack, answers, job)) for job in jobs])
    np.testing.assert_array_equal(joined, attack.score(answers, range(6)))


def test_a_block_is_at_least_a_point() -> None:
    answers = answers_of()
    answers.predictions.memory = 1
    assert answers.points_in_memory == 1
    assert len(list(answers.predictions.blocks())) == 90


# ------------------------------------------------------------------------------------ a limited process


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux to tell a process's memory")
def test_the_peak_stays_below_the_bound(tmp_path: Path) -> None:
    """160 MB of predictions and 400 MB of arrays made of them in 64 MB, with the scores of an unlimited run."""
    reports = [attack_in_process(tmp_path, memory) for memory in ("64M", "4G")]
    limited = reports[0]
    assert limited["bytes"] > 2 * (64 << 20)
    for found in limited["attacks"].values():
        assert found["peak"] - limited["resident_before"] < 64 << 20
    scores = [{name: found["scores_sha256"] for name, found in report["attacks"].items()} for report in reports]
    assert scores[0] == scores[1]
    assert len(set(scores[0].values())) == 2, "two attacks, two hashes"


def attack_in_process(folder: Path, memory: str) -> dict:
    """The report of the demonstration at a small size."""
    command = [sys.executable, str(ROOT / "benches" / "larger_than_memory.py"), "--folder", str(folder)]
    size = ["--models", "200", "--points", "10000", "--targets", "1", "--memory", memory, "--json", "-"]
    return json.loads(subprocess.run([*command, *size], check=True, stdout=subprocess.PIPE).stdout)
