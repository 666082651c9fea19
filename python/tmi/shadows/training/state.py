"""The whole state of a training as named tensors: networks and what their optimisers remember."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor


class Stateful(Protocol):
    """What has a state."""

    optimizer: torch.optim.Optimizer

    def tensors(self) -> dict[str, Tensor]:
        """Everything of the networks that training changes."""


def state_of(learners: Sequence[Stateful]) -> dict[str, Tensor]:
    """Copies on the processor of everything that training changes, named ``LEARNER.weights.…`` and so on."""
    state: dict[str, Tensor] = {}
    for number, learner in enumerate(learners):
        for name, tensor in learner.tensors().items():
            state[f"{number}.weights.{name}"] = tensor
        for index, gathered in learner.optimizer.state_dict()["state"].items():
            for name, value in gathered.items():
                if isinstance(value, Tensor):
                    state[f"{number}.optimizer.{index}.{name}"] = value
    return {name: tensor.detach().cpu() for name, tensor in state.items()}


@torch.no_grad()
def load_state(learners: Sequence[Stateful], state: Mapping[str, Tensor]) -> None:
    """Put back what `state_of` returned for learners of the same networks and recipe."""
    for number, learner in enumerate(learners):
        for name, tensor in learner.tensors().items():
            tensor.copy_(state[f"{number}.weights.{name}"])
        gathered: dict[int, dict[str, Tensor]] = {}
        prefix = f"{number}.optimizer."
        for name, tensor in state.items():
            if name.startswith(prefix):
                index, key = name.removeprefix(prefix).split(".")
                gathered.setdefault(int(index), {})[key] = tensor
        groups = learner.optimizer.state_dict()["param_groups"]
        learner.optimizer.load_state_dict({"state": gathered, "param_groups": groups})
