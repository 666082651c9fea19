"""Where networks are trained and queried."""

from __future__ import annotations

from typing import Any, TypeVar

import torch

from tmi.config import Config, TrainingConfig
from tmi.errors import TmiError
from tmi.workers import worker_index

Recipe = TypeVar("Recipe", bound=TrainingConfig)


def actual_device(name: str) -> str:
    """The device that ``auto`` stands for, or the name itself.

    Raises:
        TmiError: this machine has no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise TmiError(f"compute.device is {name!r}, which this machine does not have: {reason}") from None
    return name


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


def actual_precision(precision: str, device: str) -> str:
    """What the precision ``auto`` stands for on a device, or the precision itself.

    Without instructions for bfloat16 a processor computes it many times slower than float32.
    """
    if precision != "auto":
        return precision
    kind = torch.device(device).type
    fast = torch.cuda.is_bf16_supported() if kind == "cuda" else kind == "cpu" and _processor_has_bfloat16()
    return "bfloat16" if fast else "float32"


def _processor_has_bfloat16() -> bool:
    # Older versions of torch cannot tell.
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16", False))


def training_processes(name: str, workers: int) -> int:
    """How many processes train at the same time: one per core, but one per accelerator."""
    device = torch.device(name)
    if device.type == "cpu":
        return workers
    return torch.cuda.device_count() if _any_of_several(device) else 1


def own_device(name: str) -> torch.device:
    """The device of this process: where there are several and none is named, its worker's own."""
    device = torch.device(name)
    if _any_of_several(device):
        return torch.device("cuda", worker_index() % torch.cuda.device_count())
    return device


def _any_of_several(device: torch.device) -> bool:
    return device.type == "cuda" and device.index is None and torch.cuda.device_count() > 1
