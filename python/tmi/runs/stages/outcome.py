"""What became of a training: its accuracies, whether the model learned at all, and where it diverged."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tmi.errors import TmiError
from tmi.shadows.training.loop import DivergenceError
from tmi.shadows.training.measure import accuracies

# Standard errors by which a model's accuracy must exceed that of always naming the commonest class.
CLEARLY = 3.0


def measured(network: nn.Module, inputs: Tensor, labels: Tensor, seen: Tensor) -> dict[str, Any]:
    """Facts about a trained network: ``train_accuracy``, ``test_accuracy`` and ``learned``.

    Args:
        network: the network.
        inputs: ``[points, ...]``.
        labels: int64 ``[points]``, or ``[points, length]`` for a language model.
        seen: bool ``[points]``, what it was trained on.
    """
    train_accuracy, test_accuracy = accuracies(network, inputs, labels, seen)
    counted = labels[seen]
    counts = torch.bincount(counted[counted >= 0])
    chance = (counts.max() / counts.sum()).item()
    error = math.sqrt(chance * (1 - chance) / int(counts.sum()))
    return {
        "train_accuracy": train_accuracy,
        "test_accuracy": test_accuracy,
        "learned": train_accuracy > chance + CLEARLY * error,
    }


@contextmanager
def named_if_diverged(stage: str, models: range) -> Iterator[None]:
    """Say of which model and stage the training diverged, and what to do."""
    try:
        yield
    except DivergenceError as error:
        raise TmiError(
            f"{stage} of model {models[error.network]} diverged: its loss is not finite in epoch {error.epoch}; "
            f"lower {stage}.learning_rate, which is {error.rate:g}"
        ) from None
