from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from tmi.attacks.registry import all_attacks
from tmi.cli import tmi as cli
from tmi.config import load_config, preset_names

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ATTACKS = (ROOT / "docs" / "attacks.md").read_text(encoding="utf-8")
CODE_BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


def blocks(language: str) -> list[str]:
    return [text for found, text in CODE_BLOCK.findall(README) if found == language]


@pytest.mark.parametrize("name", [*preset_names(), *(f"tmi {name}" for name in cli.commands)])
def test_the_readme_names_every_preset_and_command(name: str) -> None:
    assert f"`{name}" in README


@pytest.mark.parametrize("name", all_attacks())
def test_every_attack_is_described(name: str) -> None:
    assert f"`{name}`" in ATTACKS


def test_every_command_in_the_readme_exists() -> None:
    for line in "\n".join(blocks("sh")).splitlines():
        words = line.split("#")[0].split()
        if words[:1] != ["tmi"]:
            continue
        command = cli.get_command(click.Context(cli), words[1])
        assert command is not None, line
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known, line


def test_the_configuration_in_the_readme_is_valid(tmp_path: Path) -> None:
    (text,) = blocks("toml")
    path = tmp_path / "mine.toml"
    path.write_text(text)
    assert load_config(str(path)).pool.source == f"npz:{tmp_path / 'photos.npz'}"


def test_the_python_in_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (text,) = blocks("python")
    small = {"models": 6, "pretrain.epochs": 3, "pool.size": 40, "evaluation.resamples": 100, "compute.workers": 1}
    text = text.replace('load_config("digits")', f'load_config("digits", {small!r})')
    assert repr(small) in text
    exec(compile(text, "README.md", "exec"), {"__name__": "__main__"})
    assert (tmp_path / "runs" / "mine" / "report.html").exists()
