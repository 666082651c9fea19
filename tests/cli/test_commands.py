from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import numpy as np
import pytest

from made.commands import SETTINGS, refused, scores_of, tiny_attack, tmi
from tmi.cli import tmi as cli
from tmi.system.files import sidecar


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished tiny run; tests copy it before they change it."""
    out = tmp_path_factory.mktemp("finished") / "run"
    tiny_attack(out)
    return out


def test_attack_leaves_what_the_documentation_promises(finished: Path) -> None:
    for name in ("config.toml", "manifest.json", "results.json", "report.html", "roc.png", "roc.svg"):
        assert (finished / name).stat().st_size > 100
    results = json.loads((finished / "results.json").read_text())
    assert list(results["attacks"]) == [
        "tmi",
        "conditional",
        "gaussian",
        "tmi-pointwise",
        "adapted-lira",
        "label-probe-shadows",
        "confidence",
        "label-probe",
        "direct",
    ]
    for attack in results["attacks"].values():
        assert set(attack["tpr_at_fpr"]) == {"0.001", "0.01", "0.05", "0.1"}
        assert set(attack["auc"]) == {"estimate", "low", "high", "resolvable", "p_value"}
        assert 0 <= attack["auc"]["low"] <= attack["auc"]["estimate"] <= attack["auc"]["high"] <= 1
    membership = np.load(finished / "membership.npy")
    predictions = np.load(finished / "predictions" / "000.npy")
    assert membership.shape == (6, 40)
    assert predictions.shape == (40, 3, 5)
    assert predictions.dtype == np.float32
    assert np.load(finished / "scores" / "tmi.npy").shape == (6, 40)
    assert not list(finished.rglob("*.tmp"))
    manifest = json.loads((finished / "manifest.json").read_text())
    assert set(manifest["seconds"]) == {"membership", "pretrain", "finetune", "query", "score"}


def test_the_table_and_the_report_are_announced(run: Path) -> None:
    output = tiny_attack(run)
    assert "tmi-pointwise" in output
    assert "1%FPR" in output
    assert f"Report: {run / 'report.html'}" in output


def test_a_finished_run_is_not_done_again(run: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*.npy")} | {
        path: path.stat().st_mtime_ns for path in run.rglob("*.safetensors")
    }
    assert "already done" in tiny_attack(run)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_the_stages_one_by_one_end_in_the_same_scores(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert f"tmi query {out}" in tmi("train", "digits", "--out", out, *SETTINGS)
    assert "run `tmi query" in refused("score", out)
    assert f"tmi score {out}" in tmi("query", out)
    assert "run `tmi score" in refused("report", out)
    assert f"tmi report {out}" in tmi("score", out)
    tmi("report", out)
    assert scores_of(out) == scores_of(finished)


def test_the_resolved_configuration_repeats_the_run(finished: Path, tmp_path: Path) -> None:
    tmi("attack", finished / "config.toml", "--out", tmp_path / "again")
    assert scores_of(tmp_path / "again") == scores_of(finished)


def test_workers_change_no_score(finished: Path, tmp_path: Path) -> None:
    tiny_attack(tmp_path / "run", "--workers", "2")
    assert scores_of(tmp_path / "run") == scores_of(finished)


def test_reference_points_are_asked_about_and_used(tmp_path: Path) -> None:
    out = tmp_path / "with references"
    settings = ("--set", "pool.challenge_points=25", "--attack", "conditional", "--attack", "gaussian")
    tiny_attack(out, *settings, "--set", "query.reference_points=15")
    assert np.load(out / "reference_predictions" / "003.npy").shape == (15, 3, 5)
    assert "run `tmi train" not in tmi("query", out)
    plain = tmp_path / "without"
    tiny_attack(plain, *settings, "--set", "query.reference_points=0")
    ours, theirs = scores_of(out), scores_of(plain)
    assert ours["gaussian.npy"] == theirs["gaussian.npy"]
    assert ours["conditional.npy"] != theirs["conditional.npy"]
    sentence = refused("attack", "--out", tmp_path / "x", *SETTINGS, *settings, "--set", "query.reference_points=16")
    assert "only 15 points of the pool are not challenged" in sentence


def test_attacks_and_targets_may_change_in_a_run(run: Path) -> None:
    output = tiny_attack(run, "--set", 'attack.names=["gaussian"]', "--targets", "2")
    assert "gaussian" in output
    assert "adapted-lira" not in output
    assert np.load(run / "scores" / "gaussian.npy").shape == (2, 40)


def test_text_takes_the_same_path(tmp_path: Path) -> None:
    output = tmi("attack", "pydoc", "--out", tmp_path / "run", *SETTINGS, "--set", "pool.challenge_points=30")
    assert "tmi" in output
    assert "<blockquote" not in (tmp_path / "run" / "report.html").read_text()
    tmi("report", tmp_path / "run", "--show-points")
    assert "<blockquote" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.parametrize(
    "name",
    [
        "predictions/002.npy",
        "pretrained/001.safetensors",
        "finetuned/005.safetensors",
        "membership.npy",
        "scores/tmi.npy",
    ],
)
def test_a_damaged_file_is_named_and_made_anew(run: Path, finished: Path, name: str) -> None:
    path = run / name
    path.write_bytes(path.read_bytes()[:-1] + b"\x55")
    output = tiny_attack(run)
    if name != "membership.npy":
        assert f"{name} is damaged" in output
    assert path.read_bytes() == (finished / name).read_bytes()
    assert scores_of(run) == scores_of(finished)


def test_later_stages_refuse_damaged_files(run: Path) -> None:
    path = run / "predictions" / "003.npy"
    path.write_bytes(path.read_bytes()[:100])
    assert "predictions/003.npy is damaged" in refused("score", run)
    path.unlink()
    sidecar(path).unlink()
    assert "predictions/003.npy is missing" in refused("score", run)


def test_another_configuration_is_refused_until_fresh(run: Path) -> None:
    before = scores_of(run)
    sentence = refused("attack", "digits", "--out", run, *SETTINGS, "--seed", "5", "--set", "pretrain.epochs=7")
    assert "seed was 0, now 5; pretrain.epochs was 6, now 7" in sentence
    assert "--fresh" in sentence
    assert scores_of(run) == before
    tiny_attack(run, "--seed", "5", "--set", "pretrain.epochs=7", "--fresh")
    assert scores_of(run) != before


def test_a_directory_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    assert "neither empty nor a run directory" in refused("attack", "digits", "--out", tmp_path, "--fresh")
    assert "is a file" in refused("attack", "digits", "--out", tmp_path / "thesis.txt")
    assert (tmp_path / "thesis.txt").read_text() == "precious"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["attack", "digit"], "did you mean 'digits'?"),
        (["attack", "mine.toml"], "mine.toml: there is no such file"),
        (["attack", "--attack", "tmy"], "no attack named 'tmy' (did you mean 'tmi'?"),
        (["attack", "--models", "2"], "the key 'models' is 2"),
        (["attack", "--set", "pretrain.epoch=3"], "did you mean 'epochs'?"),
        (["attack", "--set", "pretrain"], "is not of the form key=value"),
        (["attack", "--set", "pool.size=5000"], "pool.size is 5000"),
        (["attack", "--set", "query.augmentation=word-dropout"], "is for texts; the points are images"),
        (["attack", "--targets", "some"], "'some' is neither 'all' nor a number"),
        (["attack", "--targets", "65"], "evaluation.targets is 65"),
        (["attack", "--modles", "3"], "--models"),
        (["attack", "--device", "cuda:99"], "compute.device is 'cuda:99'"),
        (["attack", "--device", "gpu"], "compute.device is 'gpu'"),
        (["query", "nowhere"], "nowhere: is no run directory"),
        (["presets", "show", "x"], "there is no preset named 'x'"),
        (["atack"], "atack"),
    ],
)
def test_bad_input_is_one_sentence_and_code_2(tmp_path: Path, arguments: list[str], sentence: str) -> None:
    output = tmi(*arguments, cwd=tmp_path, code=2)
    assert sentence in output
    assert not (tmp_path / "runs").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_write_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert "Permission denied" in refused("attack", "--out", tmp_path / "run")


def test_a_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    output = tiny_attack(tmp_path / "run", code=2)
    assert "No space left on device" in output
    assert str(tmp_path / "run") in output.replace("\n", "")


def test_lightgbm_without_openmp_is_explained(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken" / "lightgbm"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text(
        "raise OSError('libgomp.so.1: cannot open shared object file: No such file or directory')"
    )
    shutil.rmtree(run / "scores")
    monkeypatch.delitem(sys.modules, "lightgbm", raising=False)
    monkeypatch.syspath_prepend(broken.parent)
    assert "apt install libgomp1" in refused("score", run)


def start_attack(out: Path, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tmi", "attack", "digits", "--out", str(out), *SETTINGS, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def test_ctrl_c_is_code_130_and_nothing_is_lost(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start_attack(out, "--workers", "2")
    while not list(out.glob("pretrained/*.safetensors")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    if process.returncode != 0:
        assert process.returncode == 130
        assert b"Traceback" not in errors
        assert b"goes on from there" in errors
    tiny_attack(out)
    assert scores_of(out) == scores_of(finished)


HEAVY = {"torch", "lightgbm", "matplotlib", "pandas", "sklearn", "scipy.stats"}


@pytest.mark.parametrize(
    ("script", "heavy"),
    [
        ("import tmi", HEAVY | {"numpy", "click", "tmi._core"}),
        ("from tmi.cli import tmi; tmi(['--help'], standalone_mode=False)", HEAVY | {"numpy", "rich", "pydantic"}),
        # What the command line's process loads that reads saved predictions, and hands attacks to workers.
        (
            "import tmi.cli.saved_attack, tmi.metrics.roc, tmi.metrics.points, tmi.metrics.epsilon, tmi.runs.pipeline\n"
            "from tmi.attacks.registry import all_attacks; all_attacks()",
            HEAVY,
        ),
    ],
)
def test_what_takes_long_to_import_is_left_for_later(script: str, heavy: set[str]) -> None:
    script = f"{script}\nimport sys; print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "[]"


def commands(group: click.Group, prefix: str = "") -> dict[str, click.Command]:
    found: dict[str, click.Command] = {}
    for name, command in group.commands.items():
        found[f"{prefix}{name}"] = command
        if isinstance(command, click.Group):
            found |= commands(command, f"{prefix}{name} ")
    return found


@pytest.mark.parametrize("name", sorted(commands(cli)))
def test_every_command_and_option_has_help(name: str) -> None:
    command = commands(cli)[name]
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
    assert "Usage" in tmi(*name.split(), "--help")


def test_help_of_attack_is_short_and_in_groups_and_all_of_it_is_there() -> None:
    short, whole = tmi("attack", "--help"), tmi("attack", "--help-all")
    headings = ["What to run:", "Saved predictions:", "The adversary:", "The machine:", "A gate for releases:", "Help:"]
    for text in (short, whole):
        assert [line for line in text.splitlines() if line in headings] == headings
    assert len(short.splitlines()) < 60 < len(whole.splitlines())
    assert "--epsilons" not in short
    for option in commands(cli)["attack"].params:
        if isinstance(option, click.Option):
            assert option.opts[0] in whole


def test_presets_and_attacks_are_listed() -> None:
    assert "pydoc" in tmi("presets")
    assert tmi("presets", "show", "digits").startswith("# Handwritten digits")
    most = tmi("attacks")
    assert [line.split()[0] for line in most.splitlines() if line and not line.startswith(" ")][1:8] == [
        "tmi",
        "adapted-lira",
        "lira-online",
        "rmia",
        "label-probe",
        "confidence",
        "direct",
    ]
    assert "tmi-pointwise" not in most
    assert "tmi-pointwise" in tmi("attacks", "--all")
    assert tmi("--version").startswith("tmi, version ")
