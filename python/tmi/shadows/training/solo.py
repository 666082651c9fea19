"""One network trained on its own: step by step on the CPU, as a captured graph on an accelerator."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tmi.config import TrainingConfig
from tmi.shadows.training.capture import CapturedStep
from tmi.shadows.training.recipe import autocast, mean_loss, optimizer_of, trainable


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
        self._wait()
        losses, self._losses = self._losses, []
        return torch.stack(losses).mean()[None]

    def tensors(self) -> dict[str, Tensor]:
        """Parameters and buffers."""
        return dict(self._network.named_parameters()) | dict(self._network.named_buffers())

    def write_back(self) -> None:
        """Wait until the network has its last weights."""
        self._wait()

    def _wait(self) -> None:
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
