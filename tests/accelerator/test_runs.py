"""Whole trainings on an accelerator: memory that runs out, precision, privacy, runs, and several devices."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from made.accelerated import CLASSES, distance, made_up, network, settings
from tmi.config import Config, FinetuneConfig
from tmi.runs.directory import RunDirectory
from tmi.runs.pipeline import run_attack
from tmi.shadows.experiment import Experiment
from tmi.shadows.makers.maker import make
from tmi.shadows.makers.own_networks import OwnNetworks
from tmi.shadows.networks import blank_head
from tmi.shadows.training.data import TrainingSet
from tmi.shadows.training.loop import train
from tmi.shadows.training.measure import measured
from tmi.shadows.training.private import train_privately
from tmi.system.devices import actual_precision

MODELS = 8


def test_a_group_that_does_not_fit_is_halved(
    cuda: torch.device, tiny: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory really runs out, in the middle of captures on several streams, and is all there again afterwards."""
    recipe = settings("resnet", cuda).model_copy(update={"epochs": 1})
    done: list[int] = []

    class Needy(OwnNetworks):
        def pretrain(self, models: range) -> None:
            networks = [network("resnet", cuda, model) for model in models]
            train(networks, made_up("resnet", cuda, len(models)), recipe, list(models))
            done.extend(models)

    maker = Needy(Experiment(tiny(compute__device="cuda")), {}, RunDirectory(tmp_path))
    torch.cuda.empty_cache()
    held = torch.cuda.memory_reserved(cuda)
    torch.cuda.reset_peak_memory_stats(cuda)
    assert make(maker, "pretrain", range(1)) == []
    of_one = torch.cuda.max_memory_reserved(cuda) - held
    torch._C._cuda_clearCublasWorkspaces()
    before, done = torch.cuda.memory_allocated(cuda), []
    total = torch.cuda.get_device_properties(cuda).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, (held + 3 * of_one) / total), cuda)
    try:
        notes = make(maker, "pretrain", range(MODELS))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, cuda)
    assert notes[0] == f"the memory of the device does not hold {MODELS} models: {MODELS // 2} at once now"
    assert done == list(range(MODELS))
    torch._C._cuda_clearCublasWorkspaces()
    assert torch.cuda.memory_allocated(cuda) <= before + of_one // 10


def test_bfloat16_is_as_accurate_as_float32(device: torch.device) -> None:
    data = made_up("resnet", device)
    recipe = settings("resnet", device).model_copy(update={"epochs": 20, "weight_decay": 1e-3})
    seen = torch.zeros(len(data.labels), dtype=torch.bool, device=device)
    seen[data.subsets[0]] = True
    accuracies = {}
    for precision in ("float32", "bfloat16"):
        module = network("resnet", device)
        train([module], data, recipe.model_copy(update={"precision": precision}), [1])
        assert all(parameter.dtype == torch.float32 for parameter in module.parameters())
        facts = measured(module, data.inputs, data.labels, seen)
        accuracies[precision] = (facts["train_accuracy"], facts["test_accuracy"])
    # Of four classes, of which chance hits a quarter.
    assert min(accuracies["float32"]) > 0.6
    assert accuracies["bfloat16"] == pytest.approx(accuracies["float32"], abs=0.1)


@pytest.mark.parametrize("ghost", [False, True])
@pytest.mark.parametrize("kind", ["head", "network"])
def test_private_training(kind: str, ghost: bool, device: torch.device) -> None:
    """Without noise the same as on the processor; the noise has its size and its seed."""
    generator = torch.Generator().manual_seed(0)
    inputs, labels = torch.randn(60, 6, generator=generator), torch.randint(CLASSES, (60,), generator=generator)
    torch.manual_seed(0)
    start = blank_head(6, CLASSES) if kind == "head" else nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4))

    def trained(where: torch.device, **private: Any) -> nn.Module:
        recipe = FinetuneConfig.model_validate(
            {"optimizer": "sgd", "momentum": 0.0, "learning_rate": 0.1, "schedule": "constant", "epochs": 8}
            | {"batch_size": 10, "private": private | {"ghost_clipping": ghost}}
        )
        module = copy.deepcopy(start).to(where)
        data = TrainingSet(inputs.to(where), labels.to(where), torch.arange(50, device=where)[None])
        train_privately(module, data, recipe, 3, lambda _: None)
        return module.cpu()

    plain = {"epsilon": math.inf, "clip": 0.5}
    assert distance([trained(device, **plain)], [trained(torch.device("cpu"), **plain)], [start]) < 1e-3
    noisy = {"noise_multiplier": 1e4, "clip": 1e-4}
    first, second = trained(device, **noisy), trained(device, **noisy)
    assert distance([first], [second], [start]) == 0
    changes = torch.cat(
        [(a - b).flatten() for a, b in zip(first.parameters(), start.parameters(), strict=True)]
    ).detach()
    # 40 steps of 0.1, each a tenth of a noise of deviation 1.
    assert changes.std().item() == pytest.approx(0.01 * math.sqrt(40), rel=0.35)


@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_a_run_says_what_it_says_on_a_processor(
    kind: str, device: torch.device, tiny: Callable[..., Config], tmp_path: Path
) -> None:
    of_kind: dict[str, Any] = {"model__kind": "cnn", "model__channels": [4]} if kind == "cnn" else {}
    predictions = []
    for name in (device.type, "cpu"):
        config = tiny(compute__device=name, attack__names=["gaussian"], **of_kind)
        run_attack(config, tmp_path / f"on-{name}")
        made = [RunDirectory(tmp_path / f"on-{name}").predictions(model) for model in range(config.models)]
        predictions.append(np.stack([np.load(path) for path in made]))
    largest = np.abs(predictions[1]).max()
    np.testing.assert_allclose(predictions[0], predictions[1], atol=0.02 * largest)


def test_every_device_gets_groups_of_its_own(cuda: torch.device, tiny: Callable[..., Config], tmp_path: Path) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two CUDA devices")
    runs = []
    for name in ("cuda", "cuda:0"):
        config = tiny(
            compute__device=name, compute__models_at_once=2, compute__workers=2, attack__names=["gaussian"],
            model__kind="cnn", model__channels=[4],
        )  # fmt: skip
        run_attack(config, directory := tmp_path / name.replace(":", "-"))
        made = [RunDirectory(directory).predictions(model) for model in range(config.models)]
        runs.append(np.stack([np.load(path) for path in made]))
    np.testing.assert_allclose(runs[0], runs[1], atol=0.02 * np.abs(runs[1]).max())


def test_automatic_precision(cuda: torch.device) -> None:
    native = torch.version.hip is not None or torch.cuda.get_device_capability(cuda) >= (8, 0)
    assert actual_precision("auto", "cuda") == ("bfloat16" if native else "float32")
