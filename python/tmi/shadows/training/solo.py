"""One network trained on its own: step by step on the CPU, as a captured graph on an accelerator."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tmi.config import TrainingConfig
from tmi.shadows.training.recipe import autocast, mean_loss, optimizer_of, trainable

# Steps before the capture, in which libraries choose their kernels and allocate their workspaces.
WARM_UP_STEPS = 3
# Largest relative difference of the loss after a replayed and an ordinary step that rounding explains.
TOLERANCE = 0.05


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
        for tensor, copy in state:
            tensor.copy_(copy)


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
