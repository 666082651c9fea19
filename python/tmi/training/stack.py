"""Several networks of one architecture evaluated as one."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap


class Stack:
    """Networks whose parameters are stacked along a leading axis, one row per network.

    The loss of one network does not depend on the parameters of another, so gradients and optimiser steps are those
    of each network alone; only the order of floating-point additions may differ.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        self.networks = networks
        self.parameters, self._buffers = stack_module_state(list(networks))
        # A copy without storage: it only tells functional_call what to compute.
        self._skeleton = copy.deepcopy(networks[0]).to("meta")
        self._forward = vmap(self._call, randomness="different")

    def __call__(self, inputs: Tensor) -> Tensor:
        """Logits ``[networks, batch, classes]`` of inputs ``[networks, batch, ...]``."""
        outputs: Tensor = self._forward(self.parameters, self._buffers, inputs)
        return outputs

    @torch.no_grad()
    def write_back(self) -> None:
        """Copy the stacked parameters and buffers into the networks."""
        for stacked in (self.parameters, self._buffers):
            for index, network in enumerate(self.networks):
                state = network.state_dict()
                for name, tensor in stacked.items():
                    state[name].copy_(tensor[index])

    def _call(self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], inputs: Tensor) -> Tensor:
        outputs: Tensor = functional_call(self._skeleton, (parameters, buffers), (inputs,))
        return outputs
