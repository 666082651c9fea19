"""How the command starts, prints and is interrupted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from made.commands import refused, tmi
from tmi.runs import pipeline


def ran(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


@pytest.mark.parametrize("module", ["click", "tmi.cli.start", "rich.table"])
def test_ctrl_c_while_the_command_starts(module: str) -> None:
    # The interrupt comes while something is imported, where Python may lose it.
    finished = ran(
        "import os, signal, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == {module!r}:\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from tmi.__main__ import main\n"
        "sys.argv = ['tmi', 'presets']\n"
        "main()\n"
    )
    assert (finished.returncode, finished.stdout, finished.stderr) == (130, "", "\nInterrupted.\n")


@pytest.mark.parametrize("file", ["", "000.safetensors.1.tmp", "000.safetensors"])
def test_what_is_kept_is_said_where_something_was_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    def interrupted(run: Any, *_: Any, **__: Any) -> None:
        (run.directory.root / "pretrained").mkdir()
        if file:
            (run.directory.root / "pretrained" / file).touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "run_stages", interrupted)
    output = tmi("attack", "digits", "--out", tmp_path / "run", code=130)
    kept = (file == "000.safetensors") * " What was finished is kept; the same command goes on from there."
    assert output.endswith(f"\nInterrupted.{kept}\n")


def test_nothing_of_a_benchmark_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tmi.bench.run.run_bench", interrupted)
    assert tmi("bench", code=130).endswith("\nInterrupted.\n")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_output_that_cannot_show_a_character(tmp_path: Path, encoding: str) -> None:
    random = np.random.default_rng(0)
    np.save(tmp_path / "\u4e2d.npy", random.normal(size=(8, 50, 1, 3)).astype(np.float32))
    np.save(tmp_path / "membership.npy", random.random((8, 50)) < 0.5)
    finished = ran(
        "import sys\n"
        "from tmi.__main__ import main\n"
        f"sys.argv = ['tmi', 'check', {str(tmp_path) + '/'!r} + '\\u4e2d.npy', {str(tmp_path / 'membership.npy')!r}]\n"
        "main()\n",
        PYTHONIOENCODING=encoding,
    )
    assert finished.returncode == 0, finished.stderr
    assert "\\u2713" in finished.stdout
    assert finished.stderr == ""


def test_names_that_are_no_text_are_refused_by_name(tmp_path: Path) -> None:
    assert refused("attack", "--out", f"{tmp_path}/a\udcff").startswith(f"'{tmp_path}/a\\udcff': is not UTF-8 text")
    assert "there is no such file" in refused("attack", tmp_path / "\xe4\u4e2d.toml")


def test_an_error_does_not_steer_the_terminal(tmp_path: Path) -> None:
    assert "/a\\x1b[31m\\u202e.toml: there is no such file" in refused("attack", f"{tmp_path}/a\x1b[31m\u202e.toml")


def test_more_made_up_answers_than_there_is_memory_for() -> None:
    assert "made-up logits takes" in refused("bench", "--models", str(10**30))
