"""A backbone that turns inputs into features, a linear head that reads them, and their weights as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

if TYPE_CHECKING:
    from typing_extensions import Self


class Classifier(nn.Module):
    """``head(backbone(inputs))``.

    Attributes:
        backbone: inputs ``[points, ...]`` to features ``[points, width]``.
        head: features to logits ``[points, classes]``.
        blocks: the backbone's blocks from the input to the features, which ``transfer = "last-K"`` counts.
        trained_parts: what training changes. Everything else is frozen and stays in evaluation mode whatever mode the
            classifier is put in: the running statistics of frozen batch normalisation do not drift, and no frozen
            dropout drops anything.
    """

    def __init__(self, backbone: nn.Module, head: nn.Linear, blocks: Sequence[nn.Module] | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.blocks = list(backbone.children() if blocks is None else blocks)
        self.trained_parts: list[nn.Module] = [backbone, head]

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits ``[points, classes]`` of inputs ``[points, ...]``."""
        logits: Tensor = self.head(self.backbone(inputs))
        return logits

    def replace_head(self, head: nn.Linear) -> None:
        """Give the classifier another head, for the classes of another task."""
        self.head = head

    def train(self, mode: bool = True) -> Self:
        """Put the trained parts in training mode, or everything in evaluation mode."""
        super().train(False)
        self.training = mode
        for part in self.trained_parts:
            part.train(mode)
        return self


def blank_head(features: int, classes: int) -> nn.Linear:
    """A new head with all weights zero, so that finetuning starts from no opinion."""
    head = nn.Linear(features, classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def weights_of(module: nn.Module) -> dict[str, NDArray[Any]]:
    """Parameters and buffers as arrays; those of a module on the CPU share its memory."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in module.state_dict().items()}


def load_weights(module: nn.Module, weights: Mapping[str, NDArray[Any]]) -> None:
    """Set parameters and buffers from arrays; integer buffers keep their type."""
    module.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
