"""What every network is made of: a layer for its inputs, a backbone and a linear head; and its weights as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tmi.config import EncoderConfig
from tmi.errors import TmiError
from tmi.system.libraries import explained

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


class Pixels(nn.Module):
    """Scales and standardises images; it has no parameters, and its constants are no part of a model's weights.

    uint8 inputs are divided by 255, floats are taken as they are; then ``(x - mean) / std`` for every channel if the
    encoder has them. Inputs are ``(channels, height, width)``, ``(height, width)`` or ``(dimensions,)``;
    ``channel_axis`` gives greyscale images a channel axis, which convolutions need.
    """

    mean: Tensor | None
    std: Tensor | None

    def __init__(self, input_shape: tuple[int, ...], encoder: EncoderConfig, channel_axis: bool = False) -> None:
        super().__init__()
        self.register_buffer("mean", _per_channel(encoder.mean, input_shape), persistent=False)
        self.register_buffer("std", _per_channel(encoder.std, input_shape), persistent=False)
        self.adds_channel_axis = channel_axis and len(input_shape) == 2

    def forward(self, inputs: Tensor) -> Tensor:
        """Floats of the shape of ``inputs``, with a channel axis where one is added."""
        if inputs.dtype == torch.uint8:
            inputs = inputs.float() / 255
        if self.mean is not None and self.std is not None:
            inputs = (inputs - self.mean) / self.std
        return inputs.unsqueeze(-3) if self.adds_channel_axis else inputs


def _per_channel(values: list[float] | None, input_shape: tuple[int, ...]) -> Tensor | None:
    """The values ``[channels, 1, 1]``, or ``[1, 1]`` for images without a channel axis."""
    if values is None:
        return None
    if len(input_shape) not in (2, 3):
        raise TmiError(f"encoder.mean is for images, found inputs of shape {input_shape}")
    channels = input_shape[0] if len(input_shape) == 3 else 1
    if len(values) != channels:
        raise TmiError(f"encoder.mean has {len(values)} entries, expected {channels}, one per channel of the images")
    return torch.tensor(values).reshape(*input_shape[:-2], 1, 1)


def image_shape(input_shape: tuple[int, ...], kind: str) -> tuple[int, int, int]:
    """Channels, height and width of one input; a TmiError where the inputs are no images."""
    if len(input_shape) not in (2, 3):
        raise TmiError(
            f"model.kind {kind!r} reads images, found inputs of shape {input_shape}, "
            "expected (channels, height, width) or (height, width)"
        )
    height, width = input_shape[-2:]
    return input_shape[0] if len(input_shape) == 3 else 1, height, width


@torch.no_grad()
def feature_width(
    backbone: nn.Module, input_shape: tuple[int, ...], where: str, dtype: torch.dtype = torch.float32
) -> int:
    """Width of the features ``[points, width]`` of a backbone, found by evaluating it on zeros; it is left training."""
    backbone.eval()
    with explained(f"{where} does not read inputs of shape {input_shape}"):
        features = backbone(torch.zeros(2, *input_shape, dtype=dtype))
    backbone.train()
    if not isinstance(features, Tensor):
        raise TmiError(f"{where} returns {type(features).__name__}, expected a tensor [points, width] of features")
    if features.ndim != 2 or len(features) != 2:
        raise TmiError(
            f"{where} returns shape {tuple(features.shape)} for two points, expected [points, width] of features"
        )
    return features.shape[1]
