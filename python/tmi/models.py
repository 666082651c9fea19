"""Networks: a backbone that turns an input into features, and a linear head that reads them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tmi.config import ModelConfig


class Classifier(nn.Module):
    """``head(backbone(inputs))``."""

    def __init__(self, backbone: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits ``[points, classes]`` of inputs ``[points, ...]``."""
        logits: Tensor = self.head(self.backbone(inputs))
        return logits


def build_classifier(model: ModelConfig, input_shape: tuple[int, ...], classes: int, seed: int) -> Classifier:
    """A network with a random initialisation of its own in all layers.

    Args:
        model: the architecture.
        input_shape: shape of one input.
        classes: number of classes of the head.
        seed: the only source of the initialisation; torch's global generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = _mlp(math.prod(input_shape), model.hidden)
        classifier = Classifier(backbone, nn.Linear(model.hidden[-1], classes))
        _initialise(classifier)
    return classifier


def blank_head(features: int, classes: int) -> nn.Linear:
    """A new head with all weights zero, so that finetuning starts from no opinion."""
    head = nn.Linear(features, classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def weights_of(module: nn.Module) -> dict[str, NDArray[Any]]:
    """Parameters and buffers as arrays."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in module.state_dict().items()}


def load_weights(module: nn.Module, weights: Mapping[str, NDArray[np.float32]]) -> None:
    """Set parameters and buffers from arrays."""
    module.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})


def _mlp(inputs: int, hidden: list[int]) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Flatten()]
    for width_in, width_out in zip([inputs, *hidden], hidden, strict=False):
        layers += [nn.Linear(width_in, width_out), nn.ReLU()]
    return nn.Sequential(*layers)


def _initialise(module: nn.Module) -> None:
    """He et al. 2015 for every linear layer."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
