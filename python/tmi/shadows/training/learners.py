"""Networks that are updated together: each with an optimiser of its own, or all of them stacked as one.

A step of one network is an ordinary step on the CPU, and a captured graph on an accelerator.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from tmi.config import TrainingConfig
from tmi.shadows.training.recipe import autocast, loss_of, mean_loss, optimizer_of, set_learning_rate, trainable
from tmi.system.devices import is_out_of_memory

# Steps before the capture, in which libraries choose their kernels and allocate their workspaces.
WARM_UP_STEPS = 3
# Largest relative difference of the loss after a replayed and an ordinary step that rounding explains.
TOLERANCE = 0.05


class Learner(Protocol):
    """Some networks that are updated together."""

    optimizer: torch.optim.Optimizer

    def draw_from(self, seed: int) -> None:
        """What the networks draw while they are evaluated, for instance for dropout, follows from a seed now."""

    def step(self, inputs: Tensor, labels: Tensor, rate: float) -> None:
        """One update from inputs and labels ``[networks, batch, ...]`` with a learning rate."""

    def mean_losses(self) -> Tensor:
        """The mean losses ``[networks]`` of the steps since the last call."""

    def tensors(self) -> dict[str, Tensor]:
        """Everything of the networks that training changes."""

    def write_back(self) -> None:
        """Make sure that the networks themselves have the trained weights."""


def update_of(
    network: nn.Module, optimizer: torch.optim.Optimizer, recipe: TrainingConfig
) -> Callable[[Tensor, Tensor], Tensor]:
    """An ordinary update of a network from inputs and labels ``[batch, ...]``, which returns the loss before it.

    A function that knows of no learner: in a cycle of references, graphs and their memory would outlive the training.
    """
    device = next(network.parameters()).device

    def update(inputs: Tensor, labels: Tensor) -> Tensor:
        # Entered and left within a captured graph: weights that are cast once in it are cast again in every replay.
        with autocast(device, recipe):
            logits = network(inputs)
        loss = mean_loss(logits, labels, recipe)
        torch.autograd.backward(loss)
        optimizer.step()
        # Gradients begin as none, so that those of a graph are allocated in its own memory.
        optimizer.zero_grad()
        return loss.detach()

    return update


class CapturedStep:
    """Calls an update on a stream of its own; from the first batch on, replays its graph for batches of that shape.

    The graph is used only if its replays give the loss that updates themselves give from the same state. A network that
    cannot be captured, for instance because it moves data to the processor, is trained step by step.

    Everything that a step reads or changes is done on that stream, in its order: the processor runs ahead of it.
    """

    def __init__(
        self, update: Callable[[Tensor, Tensor], Tensor], network: nn.Module, optimizer: torch.optim.Optimizer
    ) -> None:
        self._update = update
        self._network = network
        self._optimizer = optimizer
        self._device = next(network.parameters()).device
        self._stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        self._graph: torch.cuda.CUDAGraph | None = None
        self._refused = False
        self._inputs = self._labels = self._loss = torch.empty(0)
        # Networks share the device's one generator, and take turns with it: each has its seed and how far it has drawn.
        self._seed = self._drawn = 0
        # The graph reads the learning rate from the device, where it can change between replays.
        for group in optimizer.param_groups:
            group["lr"] = torch.tensor(group["lr"], device=self._device)
            group["capturable"] = True

    def draw_from(self, seed: int) -> None:
        """See `Learner.draw_from`; what others draw on this device changes nothing."""
        self._seed, self._drawn = seed, 0

    def __call__(self, inputs: Tensor, labels: Tensor, rate: float) -> Tensor:
        """One update with a learning rate; the loss before it."""
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            # The allocator must not hand the batch's memory to others while this stream reads it.
            inputs.record_stream(self._stream)
            labels.record_stream(self._stream)
            if self._graph is None and not self._refused:
                self._capture(inputs, labels)
            set_learning_rate(self._optimizer, rate)
            generator = self._drawing()
            if self._graph is None or inputs.shape != self._inputs.shape:
                loss = self._update(inputs, labels)
            else:
                self._inputs.copy_(inputs)
                self._labels.copy_(labels)
                self._graph.replay()
                loss = self._loss.clone()
            self._drawn = generator.get_offset()
            return loss

    def _drawing(self) -> torch.Generator:
        """The device's generator, put where this network's draws have come to."""
        generator: torch.Generator = torch.cuda.default_generators[self._device.index]
        generator.manual_seed(self._seed)
        generator.set_offset(self._drawn)
        return generator

    def _capture(self, inputs: Tensor, labels: Tensor) -> None:
        tensors = [*self._network.parameters(), *self._network.buffers(), *self._gathered()]
        before = [(tensor, tensor.detach().clone()) for tensor in tensors]
        # In a warm-up from zero the updates would change nothing, and so compare nothing.
        set_learning_rate(self._optimizer, self._optimizer.defaults["lr"])
        for _ in range(WARM_UP_STEPS):
            self._update(inputs, labels)
        self._restore(before)
        self._drawing()
        self._update(inputs, labels)
        expected = self._update(inputs, labels)
        self._restore(before)

        self._inputs, self._labels = inputs.clone(), labels.clone()
        graph, pool = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()
        try:
            with torch.cuda.graph(graph, pool=pool, stream=self._stream):
                self._loss = self._update(self._inputs, self._labels)
        except RuntimeError as error:
            # The end of a capture that went wrong does not tell the allocator, which would keep back every batch that
            # two streams have seen. It refuses where it has been told.
            with suppress(RuntimeError):
                torch._C._cuda_endAllocateToPool(self._device.index, pool)
                torch._C._cuda_releasePool(self._device.index, pool)
            # The end of a capture that went wrong raises too, and hides why.
            for cause in (error, error.__context__):
                if cause is not None and is_out_of_memory(cause):
                    raise torch.OutOfMemoryError(str(cause)) from None
            self._refused = True
            self._optimizer.zero_grad()
            self._restore(before)
            return
        self._drawing()
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
        # The layout of images that convolutions are fastest with, on processors as on accelerators.
        network.to(memory_format=torch.channels_last)
        self.optimizer = optimizer_of(trainable(network), recipe)
        network.train()
        self._device = next(network.parameters()).device
        self._losses: list[Tensor] = []
        self._update = update_of(network, self.optimizer, recipe)
        self._captured: CapturedStep | None = None
        if self._device.type == "cuda":
            self._captured = CapturedStep(self._update, network, self.optimizer)

    def draw_from(self, seed: int) -> None:
        """See `Learner.draw_from`."""
        if self._captured is not None:
            self._captured.draw_from(seed)
        else:
            torch.manual_seed(seed)

    def step(self, inputs: Tensor, labels: Tensor, rate: float) -> None:
        """One update from inputs and labels ``[1, batch, ...]``."""
        if self._captured is not None:
            loss = self._captured(inputs[0], labels[0], rate)
        else:
            set_learning_rate(self.optimizer, rate)
            loss = self._update(inputs[0], labels[0])
        self._losses.append(loss)

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

    def draw_from(self, seed: int) -> None:
        """See `Learner.draw_from`; the same for all networks."""
        torch.manual_seed(seed)

    def step(self, inputs: Tensor, labels: Tensor, rate: float) -> None:
        """One update of every network from inputs and labels ``[networks, batch, ...]``."""
        set_learning_rate(self.optimizer, rate)
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
