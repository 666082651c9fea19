"""`tmi plan`: what it says, and what it finds wrong before anything is trained."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from made.commands import SETTINGS, refused, tiny_attack, tmi
from made.fake_ray import FakeRay, install
from tmi.cli.plan import GIB, _estimates
from tmi.config import load_config, preset_text
from tmi.runs.directory import RunDirectory
from tmi.runs.plan import Needs
from tmi.runs.run import Run
from tmi.system.shared import SHARES


def test_a_plan_says_what_was_checked_and_what_it_takes_and_writes_nothing(tmp_path: Path) -> None:
    output = tmi("plan", "digits", *SETTINGS, "--attack", "gaussian", cwd=tmp_path)
    lines = {line[3:16].strip(): line for line in output.splitlines()}
    for name in ("configuration", "pool", "task", "models"):
        assert lines[name].startswith("✓")
    assert "6 models, each the target once, 1 attack" in lines["configuration"]
    assert "40 images of 8 x 8 pixels in 10 classes, 40 attacked" in lines["pool"]
    for name in ("time", "memory", "disk", "can tell"):
        assert lines[name].startswith("   ")
    assert "in runs/digits" in lines["disk"]
    said = " ".join(output.split())
    for name in ("pretraining", "finetuning"):
        took = r"[\d.]+ m?s, [\d.]+ ms a step, \d\.\de\+\d\d operations, \d+ MB of files: (less than )?[\d.]+ core-h"
        assert re.search(f"{name} 2 jobs of {took}", said)
    assert "an AUC of 0." in lines["can tell"]
    assert all(len(line) <= 100 for line in output.splitlines())
    assert not list(tmp_path.iterdir())


def test_a_plan_says_what_a_cluster_does_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeRay([{"CPU": 2.0, "memory": float(1 << 31)}] * 2 + [{"CPU": 1.0}]))
    output = tmi("plan", "digits", *SETTINGS, "--workers", "0", "--cluster", "auto", "--attack", "direct", cwd=tmp_path)
    said = " ".join(output.split())
    assert "✓ cluster 2 x (2 cores, 2.0 GiB of memory), 1 x (1 core): 5 jobs train and 5 score at a time; 1 MB" in said
    assert all(
        f"{name} {jobs} jobs of" in said for name, jobs in (("pretraining", 2), ("finetuning", 2), ("queries", 4))
    )


def test_a_plan_reckons_with_machines_that_are_not_there(tmp_path: Path) -> None:
    words = ("plan", "digits", *SETTINGS, "--workers", "1", "--attack", "gaussian")
    said = " ".join(tmi(*words, "--nodes", "100", cwd=tmp_path).split())
    assert "✓ cluster 100 machines: 100 jobs train and 100 score at a time;" in said
    assert "100 processes of" in said
    output = tmi(*words, "--no-measure", cwd=tmp_path)
    assert "✓ models" in " ".join(output.split())
    assert "hours" not in output


def test_a_plan_refuses_what_the_attack_would_refuse(tmp_path: Path) -> None:
    assert "unknown key 'pretrain.epoch'" in refused("plan", "digits", "--set", "pretrain.epoch=3")
    assert "pool.size is 5000" in refused("plan", "digits", *SETTINGS, "--set", "pool.size=5000")
    tiny_attack(tmp_path / "run", "--attack", "gaussian")
    other = ("--out", tmp_path / "run", *SETTINGS, "--seed", "1")
    assert "holds a run of another configuration: seed was 0, now 1" in refused("plan", "digits", *other)


@pytest.mark.skipif(not SHARES, reason="memory is shared on Linux")
def test_data_that_processes_look_at_together_is_counted_once_for_all(tmp_path: Path) -> None:
    run = Run(load_config("digits"), RunDirectory(tmp_path))
    one = Needs({}, 2 * GIB, {}, 1, GIB, 8 * GIB, 0, 0, 0, 0.6)
    ten = replace(one, processes=10)
    assert _estimates(run, one, elsewhere=False)["memory"] == "about 3.0 GB: 1 process of 3.0 GB"
    assert _estimates(run, ten, elsewhere=True)["memory"] == "about 30.0 GB: 10 processes of 3.0 GB"
    assert _estimates(run, ten, elsewhere=False)["memory"] == (
        "about 14.0 GB: 10 processes of 1.0 GB, and 2.0 GB of data for all of them and once more where it is read; "
        "this machine has 8.0 GB, so try fewer --workers"
    )


@pytest.mark.parametrize("verb", ["plan", "attack", "train"])
def test_an_unset_token_is_found_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.delenv("NO_SUCH_TOKEN", raising=False)
    (tmp_path / "c.toml").write_text(
        preset_text("digits")
        + '[target]\nkind = "http"\nurl = "http://127.0.0.1:9/x"\nbody = \'{"a": ${input}}\'\nscores = "a"\n'
        + 'meaning = "logits"\nheaders = { Authorization = "Bearer ${NO_SUCH_TOKEN}" }\n'
    )
    sentence = refused(verb, tmp_path / "c.toml", "--out", tmp_path / "run", *SETTINGS)
    assert "the environment variable NO_SUCH_TOKEN, which target names, is not set" in sentence
    assert not (tmp_path / "run" / "pretrained").exists()
