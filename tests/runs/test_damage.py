"""A damaged file of a run is named, and made anew or refused; never is anything computed from it."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from made.commands import SETTINGS, refused, scores_of, tiny_attack, tmi
from tmi.system.files import read_json, write_json

FAST = ("--set", 'attack.names=["gaussian"]', "--set", "query.reference_points=4", "--set", "pool.challenge_points=36")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("damage") / "run"
    tiny_attack(out, *FAST)
    return out


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


@pytest.mark.parametrize(
    ("before", "after"), [("train_accuracy", "train_accurady"), ('"test_accuracy": ', '"test_accuracy": 1')]
)
def test_facts_are_those_that_were_written(run: Path, finished: Path, before: str, after: str) -> None:
    path = run / "finetuned" / "000.json"
    written = path.read_text()
    path.write_text(written.replace(before, after))
    assert "finetuned/000.json is damaged" in refused("report", run)
    assert "finetuned/000.safetensors is damaged" in tiny_attack(run, *FAST)
    assert path.read_text() == written
    path.unlink()
    assert "finetuned/000.safetensors: has no 000.json beside it" in refused("report", run)


def test_the_manifest_is_made_anew(run: Path, finished: Path) -> None:
    path = run / "manifest.json"
    path.write_text(path.read_text().replace('"seconds"', '"secondr"'))
    assert "manifest.json is damaged" in refused("compare", run, finished)
    assert "manifest.json is damaged: made anew" in tmi("report", run)
    assert scores_of(run) == scores_of(finished)
    tmi("compare", run, finished)


@pytest.mark.parametrize("name", ["results.json", "config.toml"])
def test_runs_are_not_compared_by_other_figures(run: Path, finished: Path, name: str) -> None:
    path = run / name
    written = path.read_text()
    path.write_text(re.sub(r"(confidence\W+)0.95", r"\g<1>0.75", written))
    assert path.read_text() != written
    assert f"{name} is damaged" in refused("compare", finished, run)
    output = tmi("report", run)
    assert "config.toml is damaged or was edited: made anew" in output or name != "config.toml"
    assert re.search(r"confidence\W+0.95", path.read_text())
    tmi("compare", finished, run)


def killed(*arguments: str | Path, before: str) -> None:
    """Run a command in a process that dies before it renames a file to a name."""

    def renamed(path: Path, to: Path) -> Path:
        if Path(to).name == before:
            os._exit(9)
        return replace(path, to)

    if (child := os.fork()) == 0:
        replace = Path.replace
        with contextlib.suppress(BaseException), mock.patch.object(Path, "replace", renamed):
            tmi(*arguments)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("before", ["config.toml", "manifest.json", "challenge_points.json"])
@pytest.mark.parametrize("further", [(), ("--fresh",)])
def test_the_same_command_works_after_a_kill(run: Path, finished: Path, before: str, further: tuple[str, ...]) -> None:
    place = run if further else run / "new"
    killed("attack", "digits", "--out", place, *SETTINGS, *FAST, *further, before=before)
    tiny_attack(place, *FAST, *further)
    assert scores_of(place) == scores_of(finished)
    assert not [*place.rglob("*.tmp")]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fresh_run_is_killed_while_it_removes(run: Path, finished: Path) -> None:
    def removed(path: Path) -> None:
        if path.name == "scores":
            os._exit(9)
        rmdir(path)

    if (child := os.fork()) == 0:
        rmdir = Path.rmdir
        with contextlib.suppress(BaseException), mock.patch.object(Path, "rmdir", removed):
            tiny_attack(run, *FAST, "--fresh")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert not (run / "config.toml").exists()
    tiny_attack(run, *FAST, "--fresh")
    assert scores_of(run) == scores_of(finished)


def test_runs_of_earlier_versions_still_open(run: Path) -> None:
    (run / ".tmi-run").unlink()
    for path in run.rglob("*.json"):
        document = read_json(path) or {}
        if document.pop("seal", None):
            write_json(
                path, {key: value for key, value in document.items() if key not in ("files", "config", "results")}
            )
    before = scores_of(run)
    tmi("report", run)
    tmi("score", run)
    assert scores_of(run) == before
    tmi("compare", run, run)
