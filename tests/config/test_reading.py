from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tmi.config import Config, differences, load_config, parse_value, preset_names, preset_text
from tmi.errors import TmiError


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_valid_and_survives_the_round_trip(name: str, tmp_path: Path) -> None:
    config = load_config(name, data=tmp_path)
    path = tmp_path / "config.toml"
    path.write_text(config.to_toml())
    assert load_config(str(path)) == config
    assert config.name == name


def test_preset_text_can_be_started_from(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(preset_text("digits"))
    assert load_config(str(path)) == load_config("digits")


@pytest.mark.parametrize(
    ("name", "hint"),
    [("digit", "did you mean 'digits'?"), ("pidoc", "did you mean 'pydoc'?"), ("zzz", "known: cifar100-cifar10, ")],
)
def test_unknown_preset(name: str, hint: str) -> None:
    with pytest.raises(TmiError, match=f"no preset named '{name}'") as error:
        load_config(name)
    assert hint in str(error.value)


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("pretrain.epoch", 3, "unknown key 'pretrain.epoch' (did you mean 'epochs'?"),
        ("modles", 3, "unknown key 'modles' (did you mean 'models'?"),
        ("pretrain.epochs", "many", "the key 'pretrain.epochs' is 'many'"),
        ("pretrain.epochs", 0, "the key 'pretrain.epochs' is 0"),
        ("pretrain.learning_rate", True, "the key 'pretrain.learning_rate' is True"),
        ("models", 2, "the key 'models' is 2"),
        ("pretrain.optimizer", "adam", "the key 'pretrain.optimizer' is 'adam'"),
        ("pool.classes", 1.5, "the key 'pool.classes' is 1.5"),
        ("downstream.classes", "other", "the key 'downstream.classes' is 'other'"),
        ("evaluation.targets", 65, "evaluation.targets is 65, expected at most the number of models, 64"),
        ("seed.x", 1, "--set seed.x: 'seed' is a value, not a table"),
    ],
)
def test_bad_values_are_named(key: str, value: object, sentence: str) -> None:
    with pytest.raises(TmiError) as error:
        load_config("digits", {key: value})
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_key_and_broken_file(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(preset_text("digits").replace('source = "sklearn:digits"', "", 1))
    with pytest.raises(TmiError, match=r"c\.toml: the key 'pool\.source' is missing"):
        load_config(str(path))
    path.write_text("name = ")
    with pytest.raises(TmiError, match="not a TOML file"):
        load_config(str(path))
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TmiError, match="cannot be read"):
        load_config(str(path))
    with pytest.raises(TmiError, match=r"none\.toml: there is no such file"):
        load_config(str(tmp_path / "none.toml"))


def test_file_sources_are_relative_to_the_toml_file(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(preset_text("digits").replace("sklearn:digits", "npz:data.npz"))
    assert load_config(str(path)).pool.source == f"npz:{tmp_path / 'data.npz'}"


def test_differences_name_the_keys(tiny: Callable[..., Config]) -> None:
    assert differences(tiny(), tiny()) == []
    assert differences(tiny(), tiny(pretrain__epochs=7, seed=3)) == [
        "seed was 0, now 3",
        "pretrain.epochs was 6, now 7",
    ]


@pytest.mark.parametrize(
    ("text", "value"), [("3", 3), ("0.5", 0.5), ("[1, 2]", [1, 2]), ("adamw", "adamw"), ("true", True), ("a b", "a b")]
)
def test_parse_value(text: str, value: object) -> None:
    assert parse_value(text) == value
