"""Runs that are given more: models and attacks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from made.commands import SETTINGS, refused, scores_of, tiny_attack, tmi
from tmi.runs.directory import RunDirectory
from tmi.system.files import read_json, sidecar

FAST = ("--set", "attack.names=[]", "--attack", "confidence")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of six models with a single quick attack."""
    out = tmp_path_factory.mktemp("finished") / "run"
    tiny_attack(out, *FAST)
    return out


def attacks_of(run: Path) -> list[str]:
    return list(json.loads((run / "results.json").read_text())["attacks"])


def test_more_models_are_added_and_end_in_the_scores_of_a_run_of_so_many(run: Path, tmp_path: Path) -> None:
    kept = [run / "pretrained" / "003.safetensors", run / "predictions" / "000.npy"]
    before, members = [path.stat().st_mtime_ns for path in kept], np.load(run / "membership.npy")
    tiny_attack(run, *FAST, "--models", "10")
    assert [path.stat().st_mtime_ns for path in kept] == before
    assert np.load(run / "membership.npy").shape == (10, 40)
    assert (np.load(run / "membership.npy")[:6] == members).all()
    assert json.loads((run / "results.json").read_text())["models"]["count"] == 10
    tiny_attack(tmp_path / "at once", *FAST, "--models", "10")
    assert scores_of(run) == scores_of(tmp_path / "at once")
    # As the same models, and may be given more again.
    tiny_attack(run, *FAST, "--models", "10")
    tmi("report", run)
    times = [path.stat().st_mtime_ns for path in sorted(run.glob("pretrained/*.safetensors"))]
    tiny_attack(run, *FAST, "--models", "12")
    assert [path.stat().st_mtime_ns for path in sorted(run.glob("pretrained/*.safetensors"))][:8] == times[:8]
    assert "grown_from = 6" in (run / "config.toml").read_text()


def test_fewer_models_are_refused_in_a_sentence(run: Path) -> None:
    sentence = refused("attack", "digits", "--out", run, *settings_with(models=5))
    assert "the run has 6 models, more than the 5 asked for: say --models 6" in sentence


def settings_with(**values: int) -> list[str]:
    return [*SETTINGS, *(part for key, value in values.items() for part in (f"--{key}", str(value)))]


def test_more_models_of_another_seed_are_another_run(run: Path) -> None:
    sentence = refused("attack", "digits", "--out", run, *settings_with(models=8, seed=3))
    assert "holds a run of another configuration: seed was 0, now 3;" in sentence


def test_models_are_not_added_where_membership_would_be_drawn_otherwise(run: Path) -> None:
    path = run / "membership.npy"
    RunDirectory(run).save_array(path, ~np.load(path), (read_json(sidecar(path)) or {})["key"])
    sentence = refused("attack", "digits", "--out", run, *settings_with(models=8))
    assert "the members of the 6 models are not those that would be drawn today" in sentence
    assert "models = 6" in (run / "config.toml").read_text()


def test_an_attack_is_added_to_those_of_the_run(run: Path) -> None:
    tiny_attack(run, "--attack", "gaussian")
    assert attacks_of(run) == ["confidence", "gaussian"]
    tmi("score", run, "--attack", "lira-online")
    tmi("report", run)
    assert attacks_of(run) == ["confidence", "gaussian", "lira-online"]
    # What was added stays where none is named, and exactly those that are named are left.
    tiny_attack(run, "--targets", "2")
    assert {"tmi", "confidence", "lira-online"} <= {*attacks_of(run)}
    tiny_attack(run, "--set", 'attack.names=["gaussian"]')
    assert attacks_of(run) == ["gaussian"]
    tiny_attack(run, *FAST, "--fresh")
    assert attacks_of(run) == ["confidence"]


def test_attacks_are_added_to_an_audit_of_saved_predictions(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    np.save(tmp_path / "predictions.npy", draw.normal(size=(8, 30, 1, 3)))
    np.save(tmp_path / "membership.npy", draw.random((8, 30)) < 0.5)
    ask = ("attack", "--predictions", tmp_path / "predictions.npy", "--membership", tmp_path / "membership.npy")
    out = ("--out", tmp_path / "audit", "--workers", "1")
    tmi(*ask, *out, "--attack", "confidence")
    tmi(*ask, *out, "--attack", "gaussian")
    assert attacks_of(tmp_path / "audit") == ["confidence", "gaussian"]
    tmi(*ask, *out)
    assert {"tmi", "confidence", "gaussian"} <= {*attacks_of(tmp_path / "audit")}
