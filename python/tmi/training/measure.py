"""What is measured on a trained network, and the setting in which networks are trained."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor, nn

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def on_one_thread(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Run a function with one torch thread.

    Two threads make networks of this size slower, and the number of threads could change the last bits of a sum.
    """

    @wraps(function)
    def wrapped(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return function(*args, **kwargs)
        finally:
            torch.set_num_threads(threads)

    return wrapped


@torch.no_grad()
def logits_of(network: nn.Module, inputs: Tensor, batch_size: int = 1024) -> Tensor:
    """Logits ``[points, classes]`` of inputs ``[points, ...]`` in evaluation mode, in batches."""
    network.eval()
    return torch.cat([network(batch) for batch in torch.split(inputs, batch_size)])


def accuracies(network: nn.Module, inputs: Tensor, labels: Tensor, seen: Tensor) -> tuple[float, float]:
    """Accuracy on the points that the network was trained on and on the others.

    Args:
        network: the trained network.
        inputs: ``[points, ...]``.
        labels: int64 ``[points]``.
        seen: bool ``[points]``; both sides must have points.
    """
    correct = (logits_of(network, inputs).argmax(dim=1) == labels).double()
    return correct[seen].mean().item(), correct[~seen].mean().item()
