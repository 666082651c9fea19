"""Runs with several finetunings, through the same path as the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from made.commands import leave_undrawn
from made.configs import TINY, fitting
from tmi.config import Config, load_config, variant_of
from tmi.errors import TmiError
from tmi.runs.pipeline import run_attack
from tmi.system.files import file_hash

Configured = Callable[..., Config]
IMAGES = {
    "model.kind": "cnn",
    "model.channels": [4, 8],
    "model.features": 12,
    "pretrain.flip": True,
    "pretrain.crop": 1,
    "attack.names": ["gaussian", "adapted-lira", "direct"],
}


def load(tiny: Configured, **changes: object) -> Config:
    document = {key.replace(".", "__"): value for key, value in (IMAGES | changes).items()}
    return tiny(**document)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("variants")
    config = load_config(
        "digits",
        fitting(TINY | IMAGES)
        | {
            "variants": {
                "last-1": {"finetune": {"transfer": "last-1"}},
                "full": {"finetune": {"transfer": "full", "learning_rate": 0.003}},
                "lora": {"finetune": {"transfer": "lora", "lora_rank": 2}},
                "few": {"downstream": {"points_per_model": 12}},
            }
        },
        epsilons=[1.0],
    )
    with pytest.MonkeyPatch.context() as patch:
        leave_undrawn(patch)
        run_attack(config, folder)
    return folder


def test_every_finetuning_has_a_row(finished: Path) -> None:
    variants = json.loads((finished / "results.json").read_text())["variants"]
    assert list(variants["rows"]) == ["digits", "last-1", "full", "lora", "few", "epsilon-1", "epsilon-inf"]
    rows = variants["rows"]
    assert [row["transfer"] for row in rows.values()] == ["head", "last-1", "full", "lora", "head", "head", "head"]
    assert rows["few"]["points_per_model"] == 12
    assert 0.85 < rows["epsilon-1"]["private"]["epsilon"] <= 1
    assert rows["epsilon-inf"]["private"]["noise_multiplier"] == 0
    assert "epsilon" not in rows["epsilon-inf"]["private"]
    assert "direct" not in rows["full"]["attacks"]
    against = {name: entry["against"] for name, entry in variants["differences"].items()}
    assert against == dict.fromkeys(("last-1", "full", "lora", "few", "epsilon-inf"), "digits") | {
        "epsilon-1": "epsilon-inf"
    }
    for name, entry in variants["differences"].items():
        base = rows[entry["against"]]["attacks"]["gaussian"]["auc"]["estimate"]
        own = rows[name]["attacks"]["gaussian"]["auc"]["estimate"]
        assert entry["auc"]["estimate"] == pytest.approx(own - base)


def test_they_share_what_is_pretrained_and_nothing_else(finished: Path) -> None:
    assert len(list((finished / "pretrained").glob("*.safetensors"))) == 6
    for name in ("last-1", "full", "lora", "few", "epsilon-1", "epsilon-inf"):
        folder = finished / "variants" / name
        assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["finetuned", "predictions", "scores"]
        assert (folder / "report.html").is_file()
        predictions = np.load(folder / "predictions" / "000.npy")
        assert predictions.shape == np.load(finished / "predictions" / "000.npy").shape
        assert not np.array_equal(predictions, np.load(finished / "predictions" / "000.npy"))


def test_the_same_finetuning_gives_the_same_answers_as_a_variant_or_as_the_run(
    tiny: Configured, finished: Path, tmp_path: Path
) -> None:
    run_attack(load(tiny, **{"finetune.transfer": "last-1"}), tmp_path)
    for model in range(6):
        alone = tmp_path / "predictions" / f"{model:03d}.npy"
        assert file_hash(alone) == file_hash(finished / "variants" / "last-1" / "predictions" / f"{model:03d}.npy")


def test_a_variant_can_be_added_to_a_finished_run(tiny: Configured, tmp_path: Path) -> None:
    config = load(tiny, **{"attack.names": ["gaussian"]})
    run_attack(config, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "pretrained").iterdir()}
    more = config.model_copy(update={"variants": {"full": {"finetune": {"transfer": "full"}}}})
    results = run_attack(more, tmp_path)
    assert list(results["variants"]["rows"]) == ["digits", "full"]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "pretrained").iterdir()} == before


def test_controls_are_added_once_per_recipe() -> None:
    config = load_config("digits", epsilons=[1.0, 8.0])
    assert list(config.variants) == ["epsilon-1", "epsilon-8", "epsilon-inf"]
    assert variant_of(config, "epsilon-inf").finetune.private is not None
    with_control = load_config("digits", epsilons=[1.0, float("inf")])
    assert list(with_control.variants) == ["epsilon-1", "epsilon-inf"]
    again = Config.model_validate(with_control.model_dump())
    assert again == with_control
    two = load_config(
        "digits",
        {"variants": {"deep": {"finetune": {"transfer": "full", "private": {"epsilon": 2.0}}}}},
        epsilons=[1.0],
    )
    assert list(two.variants) == ["deep", "epsilon-1", "epsilon-inf", "epsilon-inf-2"]


@pytest.mark.parametrize(
    ("variants", "sentence"),
    [
        ({"a": {"pretrain": {"epochs": 3}}}, "variants.a has the key 'pretrain', expected downstream or finetune"),
        ({"a": {"finetune": {"transfr": "full"}}}, "variants.a: unknown key 'finetune.transfr'"),
        ({"a": {"finetune": 3}}, "variants.a.finetune is 3, expected a table"),
        ({"digits": {}}, "variants has the name 'digits', which is that of the run itself"),
    ],
)
def test_wrong_variants_are_named(variants: dict[str, object], sentence: str) -> None:
    with pytest.raises(TmiError) as error:
        load_config("digits", {"variants": variants})
    assert sentence in str(error.value)


def test_batch_normalisation_cannot_be_trained_privately(tiny: Configured, tmp_path: Path) -> None:
    changes = {
        "model.kind": "transformers",
        "model.architecture": "resnet-18",
        "finetune.transfer": "last-1",
        "finetune.private": {"epsilon": 8.0},
    }
    with pytest.raises(TmiError, match=r"mixes the points of a batch.*set model.normalisation to \"group\""):
        run_attack(tiny(**{key.replace(".", "__"): value for key, value in changes.items()}), tmp_path)
    assert not (tmp_path / "config.toml").exists()


def test_a_missing_accelerator_is_one_sentence(tiny: Configured, tmp_path: Path) -> None:
    with pytest.raises(TmiError, match=r"compute\.device is 'cuda:7', which this machine does not have"):
        run_attack(tiny(compute__device="cuda:7"), tmp_path)
