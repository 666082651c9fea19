"""What every backbone is asked before it is trained: whether it reads these inputs, and how wide its features are."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tmi.errors import TmiError
from tmi.system.libraries import explained


def image_shape(input_shape: tuple[int, ...], kind: str) -> tuple[int, int, int]:
    """Channels, height and width of one input.

    Raises:
        TmiError: the inputs are no images.
    """
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
    """Width of the features ``[points, width]`` of a backbone, found by evaluating it on zeros.

    Args:
        backbone: left in training mode.
        input_shape: shape of one input.
        where: what an error message starts with, for instance ``model.architecture 'resnet-18'``.
        dtype: of the inputs; integers are the ids of tokens.

    Raises:
        TmiError: the backbone fails on inputs of this shape, or returns something else than features.
    """
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
