"""What a training recipe says, as torch objects: optimiser, learning rate and loss."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tmi.config import TrainingConfig


def optimizer_of(parameters: Iterable[Tensor], recipe: TrainingConfig) -> torch.optim.Optimizer:
    """The optimiser of a recipe; its learning rate is set before every step."""
    chosen = list(parameters)
    common: dict[str, Any] = {"lr": recipe.learning_rate, "weight_decay": recipe.weight_decay, "fused": True}
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(chosen, momentum=recipe.momentum, nesterov=recipe.nesterov, **common)
    return torch.optim.AdamW(chosen, **common)


def learning_rate(recipe: TrainingConfig, progress: float) -> float:
    """The learning rate when the share ``progress`` in [0, 1) of all steps is done."""
    if progress < recipe.warmup:
        return recipe.learning_rate * progress / recipe.warmup
    if recipe.schedule == "step":
        # A step that begins an epoch must count as that epoch's, whatever the rounding of its share.
        epoch = math.floor(progress * recipe.epochs + 1e-9)
        return recipe.learning_rate * recipe.gamma ** (epoch // recipe.step_epochs)
    if recipe.schedule == "cosine":
        remaining = (progress - recipe.warmup) / (1 - recipe.warmup)
        return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * remaining))
    return recipe.learning_rate


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of all parameters, in place where a captured graph reads it."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def loss_of(logits: Tensor, targets: Tensor, recipe: TrainingConfig) -> Tensor:
    """Cross entropy float32 ``[...]`` of logits ``[..., classes]``, zero where the target int64 ``[...]`` is -100."""
    losses = functional.cross_entropy(
        logits.float().flatten(0, -2), targets.flatten(), reduction="none", label_smoothing=recipe.label_smoothing
    )
    return losses.view(targets.shape)


def point_losses(logits: Tensor, targets: Tensor, recipe: TrainingConfig) -> Tensor:
    """The loss of every point, float32 ``[points]``: of texts the mean of `loss_of` over their own tokens."""
    losses = loss_of(logits, targets, recipe)
    return losses if losses.ndim == 1 else losses.sum(dim=1) / (targets >= 0).sum(dim=1).clamp(min=1)


def mean_loss(logits: Tensor, targets: Tensor, recipe: TrainingConfig) -> Tensor:
    """The mean of `loss_of` over all targets that count."""
    counted = (targets >= 0).sum().clamp(min=1)
    return loss_of(logits, targets, recipe).sum() / counted


def autocast(device: torch.device, recipe: TrainingConfig) -> torch.autocast:
    """Mixed precision where the recipe asks for it."""
    return torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16")


def trainable(network: nn.Module) -> list[nn.Parameter]:
    """The parameters that training may change."""
    return [parameter for parameter in network.parameters() if parameter.requires_grad]
