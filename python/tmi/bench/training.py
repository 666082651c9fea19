"""``tmi bench train``: how fast shadow models are pretrained, next to a plain PyTorch loop, in one run."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tmi.bench.plain_loop import train_plainly
from tmi.config import Config, ModelConfig, TrainingConfig
from tmi.devices import on_this_machine, own_device, training_processes
from tmi.errors import TmiError
from tmi.models import Classifier, build_classifier
from tmi.stages.groups import groups
from tmi.training.data import TrainingSet
from tmi.training.loop import train
from tmi.training.measure import on_one_thread
from tmi.workers import Progress, Workers, available_cores

# Of the images that are made up: CIFAR's.
SHAPE = (3, 32, 32)


@dataclass(frozen=True)
class Load:
    """What is trained.

    Attributes:
        config: whose model, pretraining recipe and device are taken.
        models: that the fast loop trains; the plain one trains one.
        points: images that each model sees in an epoch.
        epochs: that are timed.
        classes: of the made-up labels.
    """

    config: Config
    models: int
    points: int
    epochs: int
    classes: int = 100


@dataclass(frozen=True)
class Speed:
    """How fast one loop was."""

    name: str
    samples: int
    seconds: float

    @property
    def rate(self) -> float:
        """Samples per second."""
        return self.samples / self.seconds


def bench_training(load: Load, rounds: int, progress: Progress) -> list[tuple[Speed, Speed]]:
    """Time both loops by turns.

    Returns:
        For every round the speeds of the plain loop and of this package's.

    Raises:
        TmiError: the configuration is not one of images, or its device is not there.
    """
    if load.config.encoder.kind != "pixels":
        raise TmiError(f"encoder.kind is {load.config.encoder.kind!r}, expected 'pixels': images are trained on here")
    config = on_this_machine(load.config)
    load, device = replace(load, config=config), config.compute.device
    processes = training_processes(device, config.compute.workers or available_cores())
    with Workers(processes, progress) as workers:
        # Starting the processes, choosing kernels and filling caches are not what is compared.
        _fast(workers, load, epochs=1)
        _plain(load, device, epochs=1)
        return [(_plain(load, device, load.epochs), _fast(workers, load, load.epochs)) for _ in range(rounds)]


def _plain(load: Load, device: str, epochs: int) -> Speed:
    images, labels = made_up_images(load)
    network = _network(load, 0).to(torch.device(device))
    started = time.perf_counter()
    train_plainly([network], images, labels, load.config.pretrain, epochs, torch.device(device), os.cpu_count() or 1)
    _synchronize(device)
    return Speed("plain loop", load.points * epochs, time.perf_counter() - started)


def _fast(workers: Workers, load: Load, epochs: int) -> Speed:
    crew = groups(load.config.model_copy(update={"models": load.models}), "pretrain")
    started = time.perf_counter()
    workers.map("bench train", train_group, [(load, models, epochs) for models in crew], map(len, crew))
    return Speed("tmi", load.models * load.points * epochs, time.perf_counter() - started)


@on_one_thread
def train_group(load: Load, models: range, epochs: int) -> None:
    """Train a group of models on the same images."""
    device = own_device(load.config.compute.device)
    images, labels = (tensor.to(device) for tensor in made_up_images(load))
    networks = [_network(load, model).to(device) for model in models]
    recipe = load.config.pretrain.model_copy(update={"epochs": epochs})
    subsets = torch.arange(load.points, device=device).expand(len(models), -1)
    train(networks, TrainingSet(images, labels, subsets), recipe, list(models))
    _synchronize(device.type)


def made_up_images(load: Load) -> tuple[Tensor, Tensor]:
    """Noise, uint8 ``[points, 3, 32, 32]``, with labels: how fast a network learns depends on no content."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (load.points, *SHAPE), generator=generator, dtype=torch.uint8)
    return images, torch.randint(load.classes, (load.points,), generator=generator)


def _network(load: Load, seed: int) -> Classifier:
    model: ModelConfig = load.config.model
    return build_classifier(model, load.config.encoder, SHAPE, load.classes, seed)


def _synchronize(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def full_run_seconds(recipe: TrainingConfig, models: int, points: int, rate: float) -> float:
    """How long the pretraining of so many models on so many points each takes at a rate of samples per second."""
    return models * points * recipe.epochs / rate
