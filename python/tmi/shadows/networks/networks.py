"""Small networks of our own: a multilayer perceptron and a convolutional network."""

from __future__ import annotations

import math

from torch import nn

from tmi.config import EncoderConfig, ModelConfig
from tmi.shadows.networks.classifier import Classifier, Pixels, image_shape


def build_mlp(model: ModelConfig, encoder: EncoderConfig, input_shape: tuple[int, ...], classes: int) -> Classifier:
    """Linear layers of widths ``model.hidden`` with rectified linear units; each layer is a block."""
    # One entry, so that the layers behind it are numbered as if it only flattened.
    layers: list[nn.Module] = [nn.Sequential(Pixels(input_shape, encoder), nn.Flatten())]
    for width_in, width_out in zip([math.prod(input_shape), *model.hidden], model.hidden, strict=False):
        layers += [nn.Linear(width_in, width_out), nn.ReLU()]
    blocks = [layer for layer in layers if isinstance(layer, nn.Linear)]
    classifier = Classifier(nn.Sequential(*layers), nn.Linear(model.hidden[-1], classes), blocks)
    _initialise(classifier)
    return classifier


def build_cnn(model: ModelConfig, encoder: EncoderConfig, input_shape: tuple[int, ...], classes: int) -> Classifier:
    """A 3×3 convolution of stride 2 for each of ``model.channels``, then a linear layer of ``model.features``.

    Every layer is a block, rectified linear units included. There is no normalisation.

    Raises:
        TmiError: the inputs are no images.
    """
    channels, height, width = image_shape(input_shape, model.kind)
    blocks: list[nn.Module] = []
    for channels_in, channels_out in zip([channels, *model.channels], model.channels, strict=False):
        convolution = nn.Conv2d(channels_in, channels_out, kernel_size=3, stride=2, padding=1)
        blocks.append(nn.Sequential(convolution, nn.ReLU()))
        height, width = math.ceil(height / 2), math.ceil(width / 2)
    flat = model.channels[-1] * height * width
    blocks.append(nn.Sequential(nn.Flatten(), nn.Linear(flat, model.features), nn.ReLU()))
    backbone = nn.Sequential(Pixels(input_shape, encoder, channel_axis=True), *blocks)
    classifier = Classifier(backbone, nn.Linear(model.features, classes), blocks)
    _initialise(classifier)
    return classifier


def _initialise(module: nn.Module) -> None:
    """He et al. 2015 for every linear and convolution layer."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
