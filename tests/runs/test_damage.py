"""A damaged file of a run is named, and made anew or refused; never is anything computed from it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from made.commands import refused, scores_of, tiny_attack, tmi
from tmi.system.files import read_json, sidecar, write_json

FAST = ("--set", 'attack.names=["gaussian"]', "--set", "query.reference_points=4", "--set", "pool.challenge_points=36")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("damage") / "run"
    tiny_attack(out, *FAST)
    return out


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def invert(path: Path) -> None:
    members = np.load(path)
    members[:, ::2] ^= True
    np.save(path, members)


def reverse(path: Path) -> None:
    np.save(path, np.load(path)[::-1])


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("membership.npy", invert),
        ("challenge_points.npy", reverse),
        ("pretraining_labels.npy", reverse),
        ("reference_membership.npy", invert),
        ("reference_labels.npy", reverse),
    ],
)
def test_nothing_is_scored_or_judged_by_what_was_drawn_otherwise(
    run: Path, finished: Path, name: str, damage: Callable[[Path], None]
) -> None:
    damage(run / name)
    for path in (run / "scores").iterdir():
        path.unlink()
    for command in ("score", "report"):
        assert f"{name} is damaged; run `tmi train" in refused(command, run)
    assert not [*(run / "scores").iterdir()]
    assert f"{name} is damaged" in tiny_attack(run, *FAST)
    assert (run / name).read_bytes() == (finished / name).read_bytes()
    assert scores_of(run) == scores_of(finished)


@pytest.mark.parametrize(("before", "after"), [("train_accuracy", "train_accurady"), ('"test_accuracy": ', '"test_accuracy": 1')])
def test_facts_are_those_that_were_written(run: Path, finished: Path, before: str, after: str) -> None:
    path = run / "finetuned" / "000.json"
    written = path.read_text()
    path.write_text(written.replace(before, after))
    assert "finetuned/000.json is damaged" in refused("report", run)
    assert "finetuned/000.safetensors is damaged" in tiny_attack(run, *FAST)
    assert path.read_text() == written
    path.unlink()
    assert "finetuned/000.safetensors: has no 000.json beside it" in refused("report", run)


def test_runs_of_earlier_versions_still_open(run: Path) -> None:
    for path in run.rglob("*.json"):
        document = read_json(path) or {}
        if document.pop("seal", None):
            write_json(path, document)
    before = scores_of(run)
    tmi("report", run)
    sidecar(run / "scores" / "gaussian.npy").touch()
    tmi("score", run)
    assert scores_of(run) == before
