from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tmi.config import Config
from tmi.errors import TmiError
from tmi.runs import trial
from tmi.runs.directory import RunDirectory
from tmi.runs.pipeline import run_attack
from tmi.runs.run import Run
from tmi.shadows.experiment import Experiment
from tmi.shadows.makers.maker import make
from tmi.shadows.makers.own_networks import OwnNetworks, groups
from tmi.shadows.training.loop import DivergenceError
from tmi.shadows.training.measure import measured, named_if_diverged
from tmi.shadows.training.state import Checkpoints
from tmi.system.files import file_hash
from tmi.system.progress import Silent

Configured = Callable[..., Config]


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


def test_groups_cover_the_models_in_order(tiny: Configured) -> None:
    assert groups(tiny(models=9), "pretrain") == [range(0, 4), range(4, 8), range(8, 9)]
    convolutional = tiny(models=3, model__kind="cnn", model__channels=[4])
    assert groups(convolutional, "pretrain") == [range(0, 1), range(1, 2), range(2, 3)]
    assert groups(convolutional, "finetune") == [range(0, 3)]


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("too much"), RuntimeError("CUDA error: out of memory\nCUDA kernel errors might")]
)
def test_out_of_memory_halves_the_group_until_it_fits(tiny: Configured, tmp_path: Path, error: RuntimeError) -> None:
    done: list[range] = []

    class Needy(OwnNetworks):
        def pretrain(self, models: range) -> None:
            if len(models) > 2:
                raise error
            done.append(models)

    notes = make(Needy(Experiment(tiny()), {}, RunDirectory(tmp_path)), "pretrain", range(0, 7))
    assert [model for group in done for model in group] == list(range(7))
    assert notes[0] == "the memory of the device does not hold 7 models: 3 at once now"


def test_other_errors_halve_nothing(tiny: Configured, tmp_path: Path) -> None:
    class Broken(OwnNetworks):
        def pretrain(self, models: range) -> None:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="illegal memory access"):
        make(Broken(Experiment(tiny()), {}, RunDirectory(tmp_path)), "pretrain", range(0, 4))


def test_a_model_that_does_not_fit_alone_is_an_error(tiny: Configured, tmp_path: Path) -> None:
    class Hopeless(OwnNetworks):
        def finetune(self, models: range) -> None:
            raise torch.OutOfMemoryError("too much")

    with pytest.raises(TmiError, match="does not hold the training of one model; try a smaller batch_size"):
        make(Hopeless(Experiment(tiny()), {}, RunDirectory(tmp_path)), "finetune", range(0, 4))


@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_a_run_goes_on_inside_a_models_training(
    tiny: Configured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    network = {"model__kind": "cnn", "model__channels": [4]} if kind == "cnn" else {}
    config = tiny(models=3, compute__checkpoint_minutes=0, attack__names=["gaussian"], **network)
    run_attack(config, tmp_path / "undisturbed")

    class Killed(BaseException):
        pass

    epochs_seen: list[int] = []

    def killing(after: int | None) -> Callable[..., None]:
        def epoch_done(self: Checkpoints, epochs: int, learners: object) -> None:
            original(self, epochs, learners)  # type: ignore[arg-type]
            epochs_seen.append(epochs)
            if epochs == after:
                raise Killed

        return epoch_done

    original = Checkpoints.epoch_done
    monkeypatch.setattr(trial, "try_piece", lambda *_: None)
    with monkeypatch.context() as patched:
        patched.setattr(Checkpoints, "epoch_done", killing(after=4))
        with pytest.raises(Killed):
            run_attack(config, tmp_path / "killed")
    assert epochs_seen == [1, 2, 3, 4]
    assert list((tmp_path / "killed" / "checkpoints").glob("*.safetensors"))
    with monkeypatch.context() as patched:
        patched.setattr(Checkpoints, "epoch_done", killing(after=None))
        run_attack(config, tmp_path / "killed")
    assert epochs_seen[4] == 5
    for folder in ("pretrained", "finetuned", "predictions", "scores"):
        for path in (tmp_path / "undisturbed" / folder).rglob("*.[sn]*"):
            if path.suffix in (".npy", ".safetensors"):
                other = tmp_path / "killed" / path.relative_to(tmp_path / "undisturbed")
                assert file_hash(path) == file_hash(other), path
    assert not list((tmp_path / "killed" / "checkpoints").iterdir())


def test_divergence_names_the_model_and_the_key(tiny: Configured, tmp_path: Path) -> None:
    config = tiny(pretrain__optimizer="sgd", pretrain__learning_rate=1e30)
    with pytest.raises(TmiError, match=r"^pretrain of model \d+ diverged: .* lower pretrain.learning_rate, .* 1e\+30$"):
        run_attack(config, tmp_path)
    with pytest.raises(TmiError, match="finetune of model 5"), named_if_diverged("finetune", range(4, 8)):
        raise DivergenceError(1, 3, 0.1)


def test_models_that_did_not_learn_are_found_and_named(tiny: Configured, tmp_path: Path) -> None:
    learning = tiny(attack__names=["gaussian"], pretrain__epochs=60, finetune__epochs=20)
    results = run_attack(learning, tmp_path / "learning")
    assert results["models"]["not_pretrained"] == results["models"]["not_finetuned"] == []
    idle = tiny(attack__names=["gaussian"], pretrain__learning_rate=1e-12)
    results = run_attack(idle, tmp_path / "idle")
    assert results["models"]["not_pretrained"] == list(range(6))


def test_measured_tells_learning_from_luck() -> None:
    labels = torch.arange(40) % 2
    seen = torch.arange(40) < 30
    inputs = torch.nn.functional.one_hot(labels, 2).float()
    assert measured(torch.nn.Identity(), inputs, labels, seen) == {
        "train_accuracy": 1.0,
        "test_accuracy": 1.0,
        "learned": True,
    }
    assert not measured(torch.nn.Identity(), torch.zeros(40, 2), labels, seen)["learned"]


def test_a_foreign_checkpoint_is_not_taken(tiny: Configured, tmp_path: Path) -> None:
    run = Run(tiny(compute__checkpoint_minutes=0), RunDirectory(tmp_path))
    path = run.directory.checkpoint("pretrain", 0)
    run.directory.save_tensors(path, {"a": np.zeros(1)}, "of another configuration", {"epochs": 2})
    assert Checkpoints(run.directory, path, "of this one", 0).saved() is None
    make(run.maker, "pretrain", range(0, 4))
    assert not path.exists()
