"""A network as its configuration describes it, initialised from a seed; small ones of our own, and those of a user."""

from __future__ import annotations

import math
from collections import OrderedDict

import torch
from torch import Tensor, nn

from tmi.config import EncoderConfig, ModelConfig
from tmi.errors import TmiError
from tmi.shadows.networks.architectures import build_transformers
from tmi.shadows.networks.classifier import Classifier, Pixels, feature_width, image_shape
from tmi.shadows.networks.private import use_group_normalisation
from tmi.shadows.networks.text import build_text
from tmi.system.user_code import call_named


def build_classifier(
    model: ModelConfig,
    encoder: EncoderConfig,
    input_shape: tuple[int, ...],
    classes: int,
    seed: int,
    vocabulary: int | None = None,
    objective: str = "classification",
) -> Classifier:
    """A network with a random initialisation of its own in all layers, on the CPU, everything trained.

    The seed is the only source of the initialisation; torch's global generators are left as they were. Networks that
    read tokens need the number of them, ``vocabulary``; where the objective is ``causal`` or ``masked`` it is a
    `LanguageModel`, which predicts tokens until finetuning replaces its head.

    Raises:
        TmiError: the architecture is unknown, its settings are refused, its library or checkpoint is missing, or it
            does not read inputs of this shape, not this many tokens or not in the direction of the objective.
    """
    shape = tuple(input_shape)
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would also seed the generators of all accelerators, which nothing here draws from.
        torch.default_generator.manual_seed(seed)
        if encoder.kind != "tokens":
            classifier = BUILDERS[model.kind](model, encoder, shape, classes)
        elif model.kind not in TEXT_BUILDERS:
            raise TmiError(f"model.kind is {model.kind!r}, which does not read encoder.kind 'tokens'")
        elif vocabulary is None:
            raise ValueError("vocabulary is None, expected the number of tokens")
        else:
            classifier = TEXT_BUILDERS[model.kind](model, encoder, shape, classes, vocabulary, objective)
    return classifier.train()


def build_mlp(model: ModelConfig, encoder: EncoderConfig, input_shape: tuple[int, ...], classes: int) -> Classifier:
    """Linear layers of widths ``model.hidden`` with rectified linear units; each layer is a block."""
    # One entry, so that the layers behind it are numbered as if it only flattened.
    layers: list[nn.Module] = [nn.Sequential(Pixels(input_shape, encoder), nn.Flatten())]
    for width_in, width_out in zip([math.prod(input_shape), *model.hidden], model.hidden, strict=False):
        layers += [nn.Linear(width_in, width_out), nn.ReLU()]
    blocks = [layer for layer in layers if isinstance(layer, nn.Linear)]
    return _initialised(Classifier(nn.Sequential(*layers), nn.Linear(model.hidden[-1], classes), blocks))


def build_cnn(model: ModelConfig, encoder: EncoderConfig, input_shape: tuple[int, ...], classes: int) -> Classifier:
    """A 3×3 convolution of stride 2 for each of ``model.channels``, then a linear layer of ``model.features``.

    Every layer is a block, rectified linear units included. There is no normalisation.
    """
    channels, height, width = image_shape(input_shape, model.kind)
    blocks: list[nn.Module] = []
    for channels_in, channels_out in zip([channels, *model.channels], model.channels, strict=False):
        convolution = nn.Conv2d(channels_in, channels_out, kernel_size=3, stride=2, padding=1)
        blocks.append(nn.Sequential(convolution, nn.ReLU()))
        height, width = math.ceil(height / 2), math.ceil(width / 2)
    flat = model.channels[-1] * height * width
    blocks.append(nn.Sequential(FlattenedImages(), nn.Linear(flat, model.features), nn.ReLU()))
    backbone = nn.Sequential(Pixels(input_shape, encoder, channel_axis=True), *blocks)
    return _initialised(Classifier(backbone, nn.Linear(model.features, classes), blocks))


class FlattenedImages(nn.Module):
    """Images ``[points, channels, height, width]`` as ``[points, channels * height * width]``.

    The gradient comes back in the layout of the images: where it is another one, the derivative of the rectified linear
    units before it takes five times as long.
    """

    def forward(self, images: Tensor) -> Tensor:
        """As `torch.nn.Flatten`."""
        if images.requires_grad and images.is_contiguous(memory_format=torch.channels_last):
            images.register_hook(_in_channels_last)  # type: ignore[no-untyped-call]
        return images.flatten(1)


def _in_channels_last(gradient: Tensor) -> Tensor:
    return gradient.contiguous(memory_format=torch.channels_last)


def _initialised(classifier: Classifier) -> Classifier:
    """He et al. 2015 for every linear and convolution layer."""
    for layer in classifier.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return classifier


def build_custom(
    model: ModelConfig,
    encoder: EncoderConfig,
    input_shape: tuple[int, ...],
    classes: int,
    vocabulary: int | None = None,
    objective: str = "classification",
) -> Classifier:
    """The network that ``module.function(input_shape=..., classes=...)`` returns; of texts with ``vocabulary=...``.

    It is either a module with a ``backbone`` and a linear ``head``, or a backbone alone, which gets a new head. Its
    ``blocks``, if it has a list of them, are what ``last-K`` counts; else they are the children of its backbone that
    have parameters. It reads floats of ``input_shape``, standardised as the encoder says, or ids of tokens
    ``[points, length]``, int64, which end in -1 where a text is shorter. Modules beside the configuration's file
    and in the current directory are found.
    """
    if objective != "classification":
        raise TmiError(f"pretrain.objective is {objective!r}, which needs model.kind 'transformers', found 'python'")
    where = f"model.architecture {model.architecture!r}"
    of_texts = {} if vocabulary is None else {"vocabulary": vocabulary}
    made = call_named(model.architecture or "", where, input_shape=input_shape, classes=classes, **of_texts)
    if not isinstance(made, nn.Module):
        raise TmiError(f"{where} returned {type(made).__name__}, expected a torch.nn.Module")
    if model.normalisation == "group":
        use_group_normalisation(made)

    is_whole = hasattr(made, "backbone") and hasattr(made, "head")
    network = made.backbone if is_whole else made
    if not isinstance(network, nn.Module):
        raise TmiError(f"{where}: its 'backbone' is {type(network).__name__}, expected a torch.nn.Module")
    layers: OrderedDict[str, nn.Module] = OrderedDict(network=network)
    if vocabulary is None:
        layers = OrderedDict(pixels=Pixels(input_shape, encoder), network=network)
    backbone = nn.Sequential(layers)
    width = feature_width(backbone, input_shape, where, torch.float32 if vocabulary is None else torch.int64)
    head = made.head if is_whole else nn.Linear(width, classes)
    if not isinstance(head, nn.Linear):
        raise TmiError(f"{where}: its 'head' is {type(head).__name__}, expected a torch.nn.Linear")
    if (head.in_features, head.out_features) != (width, classes):
        raise TmiError(
            f"{where}: its 'head' has {head.in_features} inputs and {head.out_features} outputs, expected {width}, "
            f"the width of the features, and {classes}, the number of classes"
        )
    inside = {id(module) for module in network.modules()}
    blocks = getattr(made, "blocks", None)
    if not (isinstance(blocks, list | nn.ModuleList) and blocks and all(id(block) in inside for block in blocks)):
        blocks = [child for child in network.children() if any(True for _ in child.parameters())] or [network]
    return Classifier(backbone, head, list(blocks))


BUILDERS = {"mlp": build_mlp, "cnn": build_cnn, "transformers": build_transformers, "python": build_custom}
TEXT_BUILDERS = {"transformers": build_text, "python": build_custom}
