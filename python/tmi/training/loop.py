"""The training loop: many models at once over data that stays on the device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from tmi.config import TrainingConfig
from tmi.training.stack import Stack


@dataclass(frozen=True)
class TrainingSet:
    """What a group of models is trained on.

    Attributes:
        inputs: ``[points, ...]`` shared by all models, or ``[models, points, ...]`` if ``per_model``.
        labels: int64 ``[points]``.
        subsets: int64 ``[models, size]``, the points that each model may see.
        per_model: whether every model has inputs of its own (features of its own backbone).
    """

    inputs: Tensor
    labels: Tensor
    subsets: Tensor
    per_model: bool = False

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and labels ``[models, batch, ...]`` at indices ``[models, batch]``."""
        if self.per_model:
            model = torch.arange(len(indices), device=indices.device)[:, None]
            return self.inputs[model, indices], self.labels[indices]
        return self.inputs[indices], self.labels[indices]


def train(networks: Sequence[nn.Module], data: TrainingSet, recipe: TrainingConfig, seeds: Sequence[int]) -> None:
    """Train networks of one architecture together, in place.

    Each network has its own subset and its own order of batches, which depends on nothing but its seed; which other
    networks are trained beside it changes its weights by rounding only.

    Args:
        networks: at least one, all on the device of ``data``.
        data: inputs, labels and the subset of each network.
        recipe: optimiser, schedule, epochs and batch size.
        seeds: one per network, for the order of its batches.
    """
    stack = Stack(networks)
    optimizer = _optimizer(list(stack.parameters.values()), recipe)
    # On the CPU whatever the device, so that the order of the data does not depend on it.
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    size = data.subsets.shape[1]
    steps_per_epoch = math.ceil(size / recipe.batch_size)
    steps = recipe.epochs * steps_per_epoch

    for epoch in range(recipe.epochs):
        orders = torch.stack([torch.randperm(size, generator=generator) for generator in generators])
        shuffled = data.subsets.gather(1, orders.to(data.subsets.device))
        for step, indices in enumerate(torch.split(shuffled, recipe.batch_size, dim=1)):
            _set_learning_rate(optimizer, recipe, (epoch * steps_per_epoch + step) / steps)
            inputs, labels = data.batch(indices)
            # The sum over models of each model's mean: every model gets the gradient that it would have alone.
            loss = functional.cross_entropy(stack(inputs).flatten(0, 1), labels.flatten(), reduction="sum")
            torch.autograd.backward(loss / indices.shape[1])
            optimizer.step()
            optimizer.zero_grad()
    stack.write_back()


def _optimizer(parameters: list[Tensor], recipe: TrainingConfig) -> torch.optim.Optimizer:
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, recipe.learning_rate, recipe.momentum, weight_decay=recipe.weight_decay, fused=True
        )
    return torch.optim.AdamW(parameters, recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True)


def _set_learning_rate(optimizer: torch.optim.Optimizer, recipe: TrainingConfig, progress: float) -> None:
    """The schedule's learning rate when ``progress`` in [0, 1) of the steps are done."""
    factor = 0.5 * (1 + math.cos(math.pi * progress)) if recipe.schedule == "cosine" else 1.0
    for group in optimizer.param_groups:
        group["lr"] = recipe.learning_rate * factor
