"""What became of a training: the network's logits and accuracies, whether it learned at all, where it diverged."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tmi.errors import TmiError
from tmi.shadows.networks.language import NO_TARGET
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

    Labels int64 ``[points]``, or ``[points, length]`` for a language model, do not count where they are negative. Of
    one that predicts the next token there are ``train_perplexity`` and ``test_perplexity`` as well. ``seen`` bool
    ``[points]`` is what it was trained on; both sides must have points.
    """
    network.eval()
    size, hits, losses = _batch_size(inputs), [], []
    for batch, expected in zip(torch.split(inputs, size), torch.split(labels, size), strict=True):
        logits = network(batch)
        hits.append(logits.argmax(dim=-1) == expected)
        if labels.ndim == 2:
            losses.append(
                functional.cross_entropy(
                    logits.float().transpose(1, 2), expected, ignore_index=NO_TARGET, reduction="none"
                )
            )
    counted = labels >= 0
    right, facts = torch.cat(hits) & counted, dict[str, Any]()
    for side, points in (("train", seen), ("test", ~seen)):
        facts[f"{side}_accuracy"] = (right[points].sum() / counted[points].sum()).item()
        if losses:
            facts[f"{side}_perplexity"] = (torch.cat(losses)[points].sum() / counted[points].sum()).exp().item()
    counts = torch.bincount(labels[seen][counted[seen]])
    chance = (counts.max() / counts.sum()).item()
    error = math.sqrt(chance * (1 - chance) / int(counts.sum()))
    return facts | {"learned": facts["train_accuracy"] > chance + CLEARLY * error}


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
