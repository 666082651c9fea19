"""Several networks of one architecture trained as one."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from tmi.config import TrainingConfig
from tmi.shadows.training.recipe import loss_of, optimizer_of


class Stack:
    """Networks whose parameters are stacked along a leading axis, one row per network.

    The loss of one network does not depend on the parameters of another, so gradients and optimiser steps are those
    of each network alone; only the order of floating-point additions may differ.
    """

    def __init__(self, networks: Sequence[nn.Module], recipe: TrainingConfig) -> None:
        self._networks = networks
        self._recipe = recipe
        for network in networks:
            network.train()
        self.parameters, self._buffers = stack_module_state(list(networks))
        trained = [parameter for parameter in self.parameters.values() if parameter.requires_grad]
        self.optimizer = optimizer_of(trained, recipe)
        # A copy without storage: it only tells functional_call what to compute.
        self._skeleton = copy.deepcopy(networks[0]).to("meta")
        self._losses: list[Tensor] = []
        self._forward = vmap(self._call, randomness="different")

    @staticmethod
    def fits(network: nn.Module) -> bool:
        """Whether stacking makes training faster: only matrices gain, convolutions and attention lose."""
        owners = [layer for layer in network.modules() if any(True for _ in layer.parameters(recurse=False))]
        return all(isinstance(layer, nn.Linear) for layer in owners)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Logits ``[networks, batch, classes]`` of inputs ``[networks, batch, ...]``."""
        outputs: Tensor = self._forward(self.parameters, self._buffers, inputs)
        return outputs

    def step(self, inputs: Tensor, labels: Tensor) -> None:
        """One update of every network from inputs and labels ``[networks, batch, ...]``."""
        losses = loss_of(self(inputs), labels, self._recipe).sum(dim=1)
        # The sum over models of each model's mean: every model gets the gradient that it would have alone.
        torch.autograd.backward(losses.sum() / labels.shape[1])
        self.optimizer.step()
        self.optimizer.zero_grad()
        self._losses.append(losses.detach() / labels.shape[1])

    def mean_losses(self) -> Tensor:
        """The mean losses ``[networks]`` of the steps since the last call."""
        losses, self._losses = self._losses, []
        return torch.stack(losses).mean(dim=0)

    def tensors(self) -> dict[str, Tensor]:
        """Parameters and buffers, stacked."""
        return {**self.parameters, **self._buffers}

    @torch.no_grad()
    def write_back(self) -> None:
        """Copy the stacked parameters and buffers into the networks."""
        for index, network in enumerate(self._networks):
            state = dict(network.named_parameters()) | dict(network.named_buffers())
            for name, tensor in self.tensors().items():
                state[name].copy_(tensor[index])

    def _call(self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], inputs: Tensor) -> Tensor:
        outputs: Tensor = functional_call(self._skeleton, (parameters, buffers), (inputs,))
        return outputs
