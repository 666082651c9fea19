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
    with pytest.raises(TmiError, match="not UTF-8 text"):
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


def mistakes(path: Path) -> list[str]:
    with pytest.raises(TmiError) as error:
        load_config(str(path))
    head, *found = str(error.value).split("\n  - ")
    assert head == f"{path}: {len(found)} mistakes"
    return found


def test_all_mistakes_are_told_at_once_unknown_keys_first(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    text = preset_text("digits").replace("learning_rate = 0.01\nweight", "learning_rat = 0.01\nweight")
    text = text.replace("models = 64", "modles = 4\nmomentum = 0.5").replace("epochs = 40\n", "")
    path.write_text(text.replace("size = 300", 'size = "all"') + "[evaluation]\ntargets = 10\n")
    assert mistakes(path) == [
        "unknown key 'pretrain.learning_rat' (did you mean 'learning_rate'?)",
        "unknown key 'modles' (did you mean 'models'?)",
        "unknown key 'momentum' (it belongs to pretrain or finetune)",
        "the key 'finetune.epochs' is missing",
        "the key 'pool.size' is 'all': input should be a valid integer",
        "evaluation.targets is 10, expected at most the number of models, 4, or 'all'",
    ]


def test_contradictions_are_told_together_and_never_of_a_wrong_value(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    text = preset_text("digits").replace("[pretrain]", '[pretrain]\nobjective = "causal"')
    path.write_text(text + "[attack]\nshadows = [1, 8, 64]\n[evaluation]\ntargets = 65\n")
    assert mistakes(path) == [
        "evaluation.targets is 65, expected at most the number of models, 64, or 'all'",
        "attack.shadows has 1, 64, expected 2 to 63: one of the 64 models is the target",
        "pretrain.objective is 'causal', which needs encoder.kind 'tokens'",
    ]
    # What kind of encoder was meant is not known.
    path.write_text(text.replace('kind = "pixels"', 'kind = "tokns"'))
    with pytest.raises(TmiError, match=r"the key 'encoder\.kind' is 'tokns'") as error:
        load_config(str(path))
    assert "objective" not in str(error.value)


def test_mistakes_of_a_target_are_told_with_the_others_and_show_no_value(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    target = (
        '[target]\nkind = "http"\nurl = "https://a.b/?token=XYZ"\nbody = "${input}"\nscores = "a"\nmeaning = "label"\n'
    )
    path.write_text(preset_text("digits").replace("models =", "modles =") + target)
    unknown, of_target = mistakes(path)
    assert unknown.startswith("unknown key 'modles'")
    assert "target.url has a value for 'token' in it" in of_target
    assert "XYZ" not in of_target


def test_mistakes_of_all_variants_are_told(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(preset_text("digits") + "[variants.a.finetune]\nepoch = 1\n[variants.b.finetune]\nepochs = 0\n")
    with pytest.raises(TmiError) as error:
        load_config(str(path))
    first, second = str(error.value).splitlines()
    assert first.startswith("variants.a: unknown key 'finetune.epoch'")
    assert second.startswith("variants.b: the key 'finetune.epochs' is 0")


def test_what_is_no_configuration_is_told_with_what_was_probably_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text(preset_text("digits"))
    Path("data.csv").write_text("text\n")
    for name in ("run", "folder", "empty"):
        Path(name).mkdir()
    Path("run", "config.toml").write_text("")
    Path("folder", "a.toml").write_text("")
    for name, sentence in {
        "mine.tml": r"mine\.tml: there is no such file \(did you mean mine\.toml\?\)",
        "mine": r"no preset named 'mine' \(did you mean mine\.toml\?\)",
        "folder/aa.toml": r"there is no such file \(did you mean folder/a\.toml\?\)",
        "run": r"run: is the directory of a run, whose configuration is run/config\.toml",
        "folder": r"folder: is a folder, expected a preset or a TOML file, such as folder/a\.toml; `tmi init folder`",
        "empty": r"empty: is a folder, expected a preset or a TOML file; `tmi init empty`",
        "data.csv": r"data\.csv: expected a TOML file, named \*\.toml; `tmi init data\.csv` writes one",
    }.items():
        with pytest.raises(TmiError, match=sentence):
            load_config(name)


def test_fewer_models_than_targets_are_each_the_target(tmp_path: Path) -> None:
    small = "cifar100-coarse-small"
    assert load_config(small, data=tmp_path).targets == 32
    assert load_config(small, {"models": 40}, tmp_path).targets == 32
    assert load_config(small, {"models": 4}, tmp_path).targets == 4
    with pytest.raises(TmiError, match=r"evaluation\.targets is 8, expected at most the number of models, 4"):
        load_config(small, {"models": 4, "evaluation.targets": 8}, tmp_path)


def test_the_folder_of_functions_is_that_of_the_file_and_survives_the_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(preset_text("digits"))
    assert load_config(str(path)).code is None
    path.write_text(preset_text("digits").replace("sklearn:digits", "python:mine.points"))
    config = load_config(str(path))
    assert config.code == str(tmp_path)
    (tmp_path / "run").mkdir()
    saved = tmp_path / "run" / "config.toml"
    saved.write_text(config.to_toml())
    assert load_config(str(saved)) == config
