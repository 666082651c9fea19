"""What is measured on a trained network, and the setting in which networks are trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn


@torch.no_grad()
def logits_of(network: nn.Module, inputs: Tensor, batch_size: int | None = None) -> Tensor:
    """Logits ``[points, classes]`` of inputs ``[points, ...]`` in evaluation mode, in batches."""
    network.eval()
    return torch.cat([network(batch) for batch in torch.split(inputs, batch_size or _batch_size(inputs))])


@torch.no_grad()
def accuracies(network: nn.Module, inputs: Tensor, targets: Tensor, seen: Tensor) -> tuple[float, float]:
    """Accuracy on the points that the network was trained on and on the others.

    Args:
        network: the trained network.
        inputs: ``[points, ...]``.
        targets: int64 ``[points]``, or ``[points, length]`` where every token has one; negative ones do not count.
        seen: bool ``[points]``; both sides must have points.
    """
    network.eval()
    size = _batch_size(inputs)
    hits = [
        network(batch).argmax(dim=-1) == expected
        for batch, expected in zip(torch.split(inputs, size), torch.split(targets, size), strict=True)
    ]
    counted = targets >= 0
    right = torch.cat(hits) & counted
    sides = [(right[side].sum() / counted[side].sum()).item() for side in (seen, ~seen)]
    return sides[0], sides[1]


def _batch_size(inputs: Tensor) -> int:
    """Texts in small batches: a language model gives a logit for every token of the vocabulary at every place."""
    return 1024 if inputs.is_floating_point() or inputs.dtype == torch.uint8 else 32
