"""What became of a training: the network's logits and accuracies, whether it learned at all, where it diverged."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tmi.errors import TmiError
from tmi.shadows.training.loop import DivergenceError

# Standard errors by which a model's accuracy must exceed that of always naming the commonest class.
CLEARLY = 3.0


@torch.no_grad()
def logits_of(network: nn.Module, inputs: Tensor) -> Tensor:
    """Logits ``[points, classes]`` of inputs ``[points, ...]`` in evaluation mode, in batches."""
    network.eval()
    return torch.cat([network(batch) for batch in torch.split(inputs, _batch_size(inputs))])


@torch.no_grad()
def measured(network: nn.Module, inputs: Tensor, labels: Tensor, seen: Tensor) -> dict[str, Any]:
    """Facts about a trained network: ``train_accuracy``, ``test_accuracy`` and ``learned``.

    Labels int64 ``[points]``, or ``[points, length]`` for a language model, do not count where they are negative.
    ``seen`` bool ``[points]`` is what it was trained on; both sides must have points.
    """
    network.eval()
    size = _batch_size(inputs)
    hits = [
        network(batch).argmax(dim=-1) == expected
        for batch, expected in zip(torch.split(inputs, size), torch.split(labels, size), strict=True)
    ]
    counted = labels >= 0
    right = torch.cat(hits) & counted
    train_accuracy, test_accuracy = ((right[side].sum() / counted[side].sum()).item() for side in (seen, ~seen))
    counts = torch.bincount(labels[seen][counted[seen]])
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


def _batch_size(inputs: Tensor) -> int:
    """Texts in small batches: a language model gives a logit for every token of the vocabulary at every place."""
    return 1024 if inputs.is_floating_point() or inputs.dtype == torch.uint8 else 32
