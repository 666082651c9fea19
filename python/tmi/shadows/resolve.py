"""What ``auto`` stands for on this machine."""

from __future__ import annotations

from typing import TypeVar

from tmi.config import Config, TrainingConfig
from tmi.system.devices import actual_device, actual_precision

Recipe = TypeVar("Recipe", bound=TrainingConfig)


def on_this_machine(config: Config) -> Config:
    """The configuration with what ``auto`` stands for here, so that it means the same anywhere.

    Raises:
        TmiError: this machine has no such device.
    """
    device = actual_device(config.compute.device)

    def resolved(recipe: Recipe) -> Recipe:
        return recipe.model_copy(update={"precision": actual_precision(recipe.precision, device)})

    return config.model_copy(
        update={
            "pretrain": resolved(config.pretrain),
            "finetune": resolved(config.finetune),
            "compute": config.compute.model_copy(update={"device": device}),
        }
    )
