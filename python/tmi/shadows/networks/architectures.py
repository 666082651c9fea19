"""Image networks of the transformers library, initialised anew or from a checkpoint.

An architecture is a configuration: of a model type of the library, with the size and channels of the images at hand.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any

from torch import Tensor, nn

from tmi.config import EncoderConfig, ModelConfig
from tmi.errors import TmiError
from tmi.shadows.networks.classifier import Classifier, Pixels, feature_width, image_shape
from tmi.shadows.networks.library import (
    Architectures,
    blocks_of,
    checkpoint_folder,
    configuration,
    named_architecture,
    network_of_checkpoint,
)
from tmi.shadows.networks.private import use_group_normalisation
from tmi.shadows.networks.text import TEXT_ARCHITECTURES
from tmi.system.libraries import explained, quiet, require_transformers

# Model type and settings. Residual networks: He et al. 2016, table 1; ViT-Ti: Touvron et al. 2021, table 1; ConvNeXt-A:
# Woo et al. 2023, appendix A, ConvNeXt-T: Liu et al. 2022, section 3.
ARCHITECTURES: Architectures = {
    "resnet-18": (
        "resnet",
        {"layer_type": "basic", "depths": [2, 2, 2, 2], "embedding_size": 64, "hidden_sizes": [64, 128, 256, 512]},
    ),
    "resnet-34": (
        "resnet",
        {"layer_type": "basic", "depths": [3, 4, 6, 3], "embedding_size": 64, "hidden_sizes": [64, 128, 256, 512]},
    ),
    "resnet-50": (
        "resnet",
        {
            "layer_type": "bottleneck",
            "depths": [3, 4, 6, 3],
            "embedding_size": 64,
            "hidden_sizes": [256, 512, 1024, 2048],
        },
    ),
    "vit-tiny": (
        "vit",
        {"hidden_size": 192, "num_hidden_layers": 12, "num_attention_heads": 3, "intermediate_size": 768},
    ),
    "convnext-atto": ("convnext", {"depths": [2, 2, 6, 2], "hidden_sizes": [40, 80, 160, 320]}),
    "convnext-tiny": ("convnext", {"depths": [3, 3, 9, 3], "hidden_sizes": [96, 192, 384, 768]}),
}

SMALL_STEMS = ("resnet", "convnext", "vit")
# ConvNeXt halves its feature maps three times behind the stem: smaller images than this keep their resolution in it.
SMALL_IMAGE = 32
# ViT with the small stem cuts an image into about 8 × 8 patches.
PATCHES_PER_SIDE = 8


class PooledFeatures(nn.Module):
    """A model of the transformers library as images ``[points, channels, height, width]`` to ``[points, width]``."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self._has_class_token = any(name.endswith("cls_token") for name, _ in model.named_parameters())

    def forward(self, images: Tensor) -> Tensor:
        """The pooled output; of a model without one the class token, else the mean over tokens or places."""
        outputs = self.model(images)
        pooled: Tensor | None = getattr(outputs, "pooler_output", None)
        if pooled is not None:
            return pooled.flatten(1)
        last: Tensor = outputs.last_hidden_state
        if last.ndim == 3:
            return last[:, 0] if self._has_class_token else last.mean(dim=1)
        return last.mean(dim=(2, 3))


def build_transformers(
    model: ModelConfig, encoder: EncoderConfig, input_shape: tuple[int, ...], classes: int
) -> Classifier:
    """A network of ``ARCHITECTURES`` or of any model type of the transformers library that reads images.

    Its layers are initialised as the library does it, from the current state of torch's generator; with a
    ``checkpoint`` the backbone has its weights. The head is new.
    """
    require_transformers()
    shape = image_shape(input_shape, model.kind)
    folder = checkpoint_folder(model) if model.checkpoint else None
    where = f"model.checkpoint {model.checkpoint!r}" if folder else f"model.architecture {model.architecture!r}"
    if model.architecture in TEXT_ARCHITECTURES:
        raise TmiError(f"{where} reads texts, found encoder.kind {encoder.kind!r}, expected 'tokens'")
    with quiet():
        network = network_of_checkpoint(folder, where) if folder else _from_configuration(model, shape, where)
        if model.normalisation == "group":
            use_group_normalisation(network)
        pixels = Pixels(input_shape, encoder, channel_axis=True)
        backbone = nn.Sequential(OrderedDict(pixels=pixels, network=PooledFeatures(network)))
        if folder is None and model.stem == "imagenet" and network.config.model_type in SMALL_STEMS:
            where += " with model.stem 'imagenet' ('small' is for images of few pixels)"
        width = feature_width(backbone, input_shape, where)
    return Classifier(backbone, nn.Linear(width, classes), blocks_of(network))


def _from_configuration(model: ModelConfig, shape: tuple[int, int, int], where: str) -> Any:
    """A randomly initialised network for images of this shape."""
    from transformers import AutoModel

    channels, height, width = shape
    model_type, settings = named_architecture(str(model.architecture), ARCHITECTURES, example="swin")
    if model.stem == "small":
        if model_type not in SMALL_STEMS:
            raise TmiError(f"model.stem is 'small', which {where} does not have, only {', '.join(SMALL_STEMS)}")
        if model_type == "convnext":
            settings["patch_size"] = 1 if min(height, width) < SMALL_IMAGE else 2
        elif model_type == "vit":
            sizes = range(1, math.ceil(min(height, width) / PATCHES_PER_SIDE) + 1)
            settings["patch_size"] = max(size for size in sizes if height % size == width % size == 0)
    of_images = {"num_channels": channels, "image_size": height if height == width else [height, width]}
    described = configuration(model_type, settings, of_images, model.settings)
    with explained(f"{where} with these model.settings is refused by the transformers library"):
        network = AutoModel.from_config(described)
    if model.stem == "small" and model_type == "resnet":
        # A 3×3 convolution of stride 1 without pooling, as He et al. 2016, section 4.2, use for images of 32×32.
        embedder, large = network.embedder, network.embedder.embedder.convolution
        small = nn.Conv2d(large.in_channels, large.out_channels, kernel_size=3, stride=1, padding=1, bias=False)
        # As transformers initialises the convolutions of a ResNet.
        nn.init.kaiming_normal_(small.weight, mode="fan_out", nonlinearity="relu")
        embedder.embedder.convolution, embedder.pooler = small, nn.Identity()
    return network
