"""Networks that are updated together: each with an optimiser of its own, or all of them stacked as one.

A step of one network is an ordinary step on the CPU, and a captured graph on an accelerator.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from tmi.config import TrainingConfig
from tmi.shadows.training.recipe import autocast, loss_of, mean_loss, optimizer_of, trainable

# Steps before the capture, in which libraries choose their kernels and allocate their workspaces.
WARM_UP_STEPS = 3
# Largest relative difference of the loss after a replayed and an ordinary step that rounding explains.
TOLERANCE = 0.05


class Learner(Protocol):
    """Some networks that are updated together."""

    optimizer: torch.optim.Optimizer

    def step(self, inputs: Tensor, labels: Tensor) -> None:
        """One update from inputs and labels ``[networks, batch, ...]``."""

    def mean_losses(self) -> Tensor:
        """The mean losses ``[networks]`` of the steps since the last call."""

    def tensors(self) -> dict[str, Tensor]:
        """Everything of the networks that training changes."""

    def write_back(self) -> None:
        """Make sure that the networks themselves have the trained weights."""


class CapturedStep:
    """Calls an update; from the first full batch on, replays its graph on a stream of its own.

    The graph is used only if its first replay gives the loss that the update itself gives from the same state. A
    network that cannot be captured, for instance because it moves data to the processor, is trained step by step.
    """

    def __init__(
        self, update: Callable[[Tensor, Tensor], Tensor], network: nn.Module, optimizer: torch.optim.Optimizer
    ) -> None:
        self._update = update
        self._network = network
        self._optimizer = optimizer
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._graph: torch.cuda.CUDAGraph | None = None
        self._refused = False
        self._inputs = self._labels = self._loss = torch.empty(0)
        # The graph reads the learning rate from the device, where it can change between replays.
        for group in optimizer.param_groups:
            group["lr"] = torch.tensor(group["lr"], device=group["params"][0].device)
            group["capturable"] = True

    def __call__(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """One update; the loss before it."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            # The allocator must not hand the batch's memory to others while this stream reads it.
            inputs.record_stream(self._stream)
            labels.record_stream(self._stream)
            if self._graph is None and not self._refused:
                self._capture(inputs, labels)
            if self._graph is None or inputs.shape != self._inputs.shape:
                return self._update(inputs, labels)
            self._inputs.copy_(inputs)
            self._labels.copy_(labels)
            self._graph.replay()
            return self._loss.clone()

    def _capture(self, inputs: Tensor, labels: Tensor) -> None:
        tensors = [*self._network.parameters(), *self._network.buffers(), *self._gathered()]
        before = [(tensor, tensor.detach().clone()) for tensor in tensors]
        for _ in range(WARM_UP_STEPS):
            self._update(inputs, labels)
        self._restore(before)
        self._update(inputs, labels)
        expected = self._update(inputs, labels)
        self._restore(before)

        self._inputs, self._labels = inputs.clone(), labels.clone()
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self._stream):
                self._loss = self._update(self._inputs, self._labels)
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            self._refused = True
            self._restore(before)
            return
        graph.replay()
        graph.replay()
        self._refused = not torch.isclose(self._loss, expected, rtol=TOLERANCE).item()
        self._graph = None if self._refused else graph
        self._restore(before)

    def _gathered(self) -> list[Tensor]:
        """What the optimiser remembers."""
        values = [value for state in self._optimizer.state.values() for value in state.values()]
        return [value for value in values if isinstance(value, Tensor)]

    @torch.no_grad()
    def _restore(self, state: list[tuple[Tensor, Tensor]]) -> None:
        """Put everything back in place: the graph points to where it is in memory."""
        for tensor in self._gathered():
            # What was not there before begins at zero.
            tensor.zero_()
        for tensor, saved in state:
            tensor.copy_(saved)


class Solo:
    """A network with an optimiser of its own.

    On a CUDA device its steps are queued on a stream of its own, so that the steps of several networks overlap, and
    full batches replay one captured graph, so that the processor does not have to launch every kernel.
    """

    def __init__(self, network: nn.Module, recipe: TrainingConfig) -> None:
        self._network = network
        self._recipe = recipe
        # The layout of images that convolutions are fastest with, on processors as on accelerators.
        network.to(memory_format=torch.channels_last)
        self.optimizer = optimizer_of(trainable(network), recipe)
        network.train()
        self._device = next(network.parameters()).device
        self._losses: list[Tensor] = []
        self._captured: CapturedStep | None = None
        if self._device.type == "cuda":
            self._captured = CapturedStep(self._update, network, self.optimizer)

    def step(self, inputs: Tensor, labels: Tensor) -> None:
        """One update from inputs and labels ``[1, batch, ...]``."""
        update = self._captured or self._update
        self._losses.append(update(inputs[0], labels[0]))

    def mean_losses(self) -> Tensor:
        """The mean loss ``[1]`` of the steps since the last call."""
        self.write_back()
        losses, self._losses = self._losses, []
        return torch.stack(losses).mean()[None]

    def tensors(self) -> dict[str, Tensor]:
        """Parameters and buffers."""
        return dict(self._network.named_parameters()) | dict(self._network.named_buffers())

    def write_back(self) -> None:
        """Wait until the network has its last weights."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def _update(self, inputs: Tensor, labels: Tensor) -> Tensor:
        with autocast(self._device, self._recipe):
            logits = self._network(inputs)
        loss = mean_loss(logits, labels, self._recipe)
        torch.autograd.backward(loss)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.detach()


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
        self.optimizer = optimizer_of([array for array in self.parameters.values() if array.requires_grad], recipe)
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
