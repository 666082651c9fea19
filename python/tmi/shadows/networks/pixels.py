"""The first layer of every backbone: raw inputs as the numbers that the layers behind it read."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tmi.config import EncoderConfig
from tmi.errors import TmiError


class Pixels(nn.Module):
    """Scales and standardises images; it has no parameters, and its constants are no part of a model's weights.

    uint8 inputs are divided by 255, floats are taken as they are; then ``(x - mean) / std`` for every channel if the
    encoder has them.

    Args:
        input_shape: of one input: ``(channels, height, width)``, ``(height, width)`` or ``(dimensions,)``.
        encoder: its ``mean`` and ``std``.
        channel_axis: give greyscale images ``[points, height, width]`` a channel axis, which convolutions need.

    Raises:
        TmiError: the encoder's means are not one per channel, or the inputs are no images.
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
