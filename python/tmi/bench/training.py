"""``tmi bench train``: how fast shadow models are pretrained, next to training as it is usually written, in one run.

Images are compared with a plain PyTorch loop, texts as tokens with the ``Trainer`` of the transformers library.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tmi.bench.rivals import train_plainly, train_with_trainer
from tmi.bench.run import SCHEMA, machine, versions
from tmi.config import Config
from tmi.data.tokens import PADDING
from tmi.errors import TmiError
from tmi.shadows.experiment import on_this_machine
from tmi.shadows.makers.own_networks import groups
from tmi.shadows.networks import Classifier, build_classifier, token_targets
from tmi.shadows.training.data import Masking, TrainingSet
from tmi.shadows.training.loop import train
from tmi.system.devices import on_one_thread, own_device
from tmi.system.executor import Executor, Job, executor_here
from tmi.system.progress import Progress
from tmi.system.user_code import look_in

# Of the images that are made up: CIFAR's.
SHAPE = (3, 32, 32)
# Most tokens of the texts that are made up.
LONGEST_TEXT = 64
# The special tokens of a tokenizer that is trained: padding, the first one and, at last, the mask.
SPECIAL_TOKENS = 3
MASK_ID = 2


@dataclass(frozen=True)
class Load:
    """What is trained: the model and the recipe of a configuration's pretraining, on its device.

    The fast loop trains all models, the plain one a single one; each sees all points in each epoch.
    """

    config: Config
    models: int
    points: int
    epochs: int
    classes: int = 100

    def moved(self, _: Callable[[Path], Path]) -> Load:
        """The same: it is made up, from no file."""
        return self

    @property
    def of_tokens(self) -> bool:
        """Whether the points are texts as tokens."""
        return self.config.encoder.kind == "tokens"

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one made-up point."""
        encoder = self.config.encoder
        text = (min(encoder.length, LONGEST_TEXT),)
        return {"pixels": SHAPE, "hashed-words": (encoder.dimensions,), "tokens": text}[encoder.kind]


@dataclass(frozen=True)
class Speed:
    """How fast one loop was: its name, and in how many seconds it trained on how many samples.

    Points and their tokens, without padding, are counted again for every epoch and model; 0 tokens if they are none.
    """

    name: str
    samples: int
    seconds: float
    tokens: int = 0

    @property
    def rate(self) -> float:
        """Samples per second."""
        return self.samples / self.seconds


def bench_training(
    load: Load, rounds: int, progress: Progress, loader_workers: int | None = None
) -> list[tuple[Speed, Speed]]:
    """Time both loops by turns, the plain one with so many loader workers: one per core if left out.

    Returns:
        For every round the speeds of the plain loop and of this package's.

    Raises:
        TmiError: nothing is pretrained in this configuration, its device or a library is not there, or its network
            is refused.
    """
    if load.config.given:
        raise TmiError("pool.non_members is set: a given model is attacked, and no pretraining is there to be timed")
    config = on_this_machine(load.config)
    load, device = replace(load, config=config), torch.device(config.compute.device)
    loaders = (os.cpu_count() or 1) if loader_workers is None else loader_workers
    with executor_here(progress, config.compute.workers, config.compute.device) as executor:
        # Starting the processes, choosing kernels and filling caches are not what is compared.
        _fast(executor, load, epochs=1)
        _plain(load, device, 1, loaders)
        return [(_plain(load, device, load.epochs, loaders), _fast(executor, load, load.epochs)) for _ in range(rounds)]


def _plain(load: Load, device: torch.device, epochs: int, loader_workers: int) -> Speed:
    inputs, labels = made_up(load)
    recipe = load.config.pretrain
    network = _network(load, 0).to(device)
    samples = load.points * epochs
    if load.of_tokens:
        # The rival shifts the labels in its network and masks them in its loader.
        labels = labels if recipe.objective == "classification" else token_targets(inputs, "masked")
        causal = recipe.objective == "causal"
        seconds = train_with_trainer(
            network, inputs, labels, recipe, epochs, device, loader_workers, causal, _masking(load)
        )
        return Speed("transformers Trainer", samples, seconds, tokens_in(load, inputs) * epochs)
    started = time.perf_counter()
    train_plainly(network, inputs, labels, recipe, epochs, device, loader_workers)
    _synchronize(device)
    return Speed("plain PyTorch", samples, time.perf_counter() - started)


def _fast(executor: Executor, load: Load, epochs: int) -> Speed:
    crew = groups(load.config.model_copy(update={"models": load.models}), "pretrain")
    started = time.perf_counter()
    executor.map("train", "bench train", train_group, load, [Job((models, epochs), len(models)) for models in crew])
    seconds = time.perf_counter() - started
    tokens = tokens_in(load, made_up(load)[0])
    return Speed("tmi", load.models * load.points * epochs, seconds, load.models * tokens * epochs)


def training_document(load: Load, rounds: Sequence[tuple[Speed, Speed]]) -> dict[str, Any]:
    """What was trained and how fast, as it is written to a JSON file: of every round the plain loop and this one's."""
    return {
        "schema": SCHEMA,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions() | {"torch": torch.__version__},
        "preset": load.config.name,
        "device": on_this_machine(load.config).compute.device,
        "models": load.models,
        "points": load.points,
        "epochs": load.epochs,
        "rounds": [[asdict(speed) for speed in both] for both in rounds],
    }


@on_one_thread
def train_group(load: Load, models: range, epochs: int) -> None:
    """Train a group of models on the same points."""
    device = own_device(load.config.compute.device)
    inputs, labels = (tensor.to(device) for tensor in made_up(load))
    networks = [_network(load, model).to(device) for model in models]
    recipe = load.config.pretrain.model_copy(update={"epochs": epochs})
    targets = labels if recipe.objective == "classification" else token_targets(inputs, recipe.objective)
    subsets = torch.arange(load.points, device=device).expand(len(models), -1)
    train(networks, TrainingSet(inputs, targets, subsets, masking=_masking(load)), recipe, list(models))
    _synchronize(device)


def made_up(load: Load) -> tuple[Tensor, Tensor]:
    """Noise, with labels int64 ``[points]``: how fast a network learns depends on no content.

    It is images uint8 ``[points, 3, 32, 32]``, vectors float32 ``[points, dimensions]``, or ids of tokens int64
    ``[points, length]``: texts of half the length to all of it, then ``PADDING``.
    """
    generator = torch.Generator().manual_seed(0)
    shape, encoder = (load.points, *load.shape), load.config.encoder
    if encoder.kind == "pixels":
        inputs = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
    elif encoder.kind == "hashed-words":
        inputs = torch.randn(shape, generator=generator)
    else:
        inputs = torch.randint(SPECIAL_TOKENS, encoder.vocabulary, shape, generator=generator)
        length = shape[1]
        lengths = torch.randint((length + 1) // 2, length + 1, (load.points, 1), generator=generator)
        inputs = inputs.masked_fill(torch.arange(length) >= lengths, PADDING)
    return inputs, torch.randint(load.classes, (load.points,), generator=generator)


def tokens_in(load: Load, inputs: Tensor) -> int:
    """Tokens of all points, without padding; 0 if they are none of tokens."""
    return int((inputs != PADDING).sum()) if load.of_tokens else 0


def _masking(load: Load) -> Masking | None:
    recipe = load.config.pretrain
    return Masking(MASK_ID, recipe.mask_fraction) if recipe.objective == "masked" else None


def _network(load: Load, seed: int) -> Classifier:
    config = load.config
    look_in(config.code)
    vocabulary = config.encoder.vocabulary if load.of_tokens else None
    shape, objective = load.shape, config.pretrain.objective
    return build_classifier(
        config.model, config.encoder, shape, load.classes, seed, vocabulary=vocabulary, objective=objective
    )


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
