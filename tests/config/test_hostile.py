"""Configurations that no computer can do, or that a parser should not see."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tmi.config import load_any_config, load_config, parse_value, preset_text
from tmi.config.reading import LARGEST_TOML
from tmi.errors import TmiError


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a." * 20_000 + "b = 1", "a key has more than 20 parts with dots between"),
        ("[" + "a . " * 20_000 + "b]", "a key has more than 20 parts"),
        ("a = {" + "'b'." * 20_000 + "b = 1}", "a key has more than 20 parts"),
        ('"".' * 20_000 + "b = 1", "a key has more than 20 parts"),
        ("a = " + "[" * 20_000, "not a TOML file"),
        ("a = " + "[" * 400 + "]" * 400, "not a TOML file: it is nested too deeply|nested more than 20 deep"),
        ("a = " + "{a = " * 25 + "1" + "}" * 25, "nested more than 20 deep"),
        ("seed = " + "9" * 5000, "not a TOML file: ValueError: Exceeds the limit"),
        ("seed = 0x" + "f" * 5000, "the key 'seed' is a number of more than 64 bits"),
        ("a" * LARGEST_TOML + " = 1", "bytes, expected at most 4194304"),
    ],
)
def test_what_no_parser_should_see(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text(text + "\n")
    with pytest.raises(TmiError, match=rf"c\.toml: .*({sentence})"):
        load_config(str(path))


def test_dots_in_texts_are_no_keys(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    dots = "a.b " * 100 + "..." * 100 + "1.2.3"
    path.write_text(preset_text("digits").replace('description = "', f'description = "{dots}') + f"# {dots}\n")
    assert load_config(str(path)).description.startswith(dots)


def test_bytes_that_are_no_text_and_pipes(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_bytes(b"name = '\xff'")
    with pytest.raises(TmiError, match=r"c\.toml: not UTF-8 text: byte 8"):
        load_config(str(path))
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(TmiError, match=r"c\.toml: is a pipe or device"):
        load_config(str(path))
    path.unlink()
    path.write_text("\ufeff" + preset_text("digits"))
    assert load_config(str(path)).models == 64


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("seed", 10**40, "the key 'seed' is a number of more than 64 bits"),
        ("models", 10**30, "the key 'models' is a number of more than 64 bits"),
        ("models", 10**9, "the key 'models' is 1000000000: input should be less than or equal to 100000"),
        ("evaluation.targets", 10**400, "the key 'evaluation.targets' is a number of more than 64 bits"),
        ("attack.shadows", [2, 10**400], "the key 'attack.shadows' is a number of more than 64 bits"),
        ("compute.workers", 100_000, "the key 'compute.workers' is 100000: input should be less than or equal to 1024"),
        ("query.count", 10**9, "the key 'query.count' is 1000000000: .* less than or equal to 1000"),
        ("query.strength", float("inf"), "the key 'query.strength' is inf: input should be a finite number"),
        ("encoder.mean", [float("nan")], "should be a finite number"),
        ("evaluation.resamples", 10**10, "less than or equal to 1000000"),
        (".".join("a" * 2000), 1, "nested more than 20 deep"),
        ("seed", "[" * 100_000, r"the key 'seed' is '\[\[\["),
    ],
)
def test_numbers_that_are_slips_of_the_finger(key: str, value: Any, sentence: str) -> None:
    with pytest.raises(TmiError, match=sentence) as told:
        load_config("digits", {key: value})
    assert len(str(told.value)) < 1000


def test_values_of_set_that_are_no_toml_are_texts() -> None:
    assert parse_value("[" * 1000) == "[" * 1000
    assert parse_value("9" * 5000) == "9" * 5000
    assert parse_value("[1, 2]") == [1, 2]


def test_infinite_epsilon_is_still_no_noise() -> None:
    config = load_config("digits", epsilons=[1.0, float("inf")])
    assert config.variants["epsilon-inf"]


def test_files_that_are_no_table(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("files = 3\n")
    with pytest.raises(TmiError, match="the key 'files' is 3"):
        load_any_config(path)
