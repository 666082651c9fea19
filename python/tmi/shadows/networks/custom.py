"""Networks that a Python function of the user makes."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from tmi.config import EncoderConfig, ModelConfig
from tmi.errors import TmiError
from tmi.shadows.networks.classifier import Classifier, Pixels, feature_width
from tmi.shadows.networks.private import use_group_normalisation
from tmi.system.user_code import call_named


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
    ``[points, length]``, int64, which end in -1 where a text is shorter. Modules in the current directory are found.

    Raises:
        TmiError: there is no such function, it fails, its result does not fit, or the objective is not
            ``classification``.
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
