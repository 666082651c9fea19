"""Networks that a Python function of the user makes."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import nn

from tmi.config import EncoderConfig, ModelConfig
from tmi.errors import TmiError
from tmi.shadows.networks.classifier import Classifier, Pixels, feature_width
from tmi.shadows.networks.private import use_group_normalisation
from tmi.system.user_code import call_named


def build_custom(model: ModelConfig, encoder: EncoderConfig, input_shape: tuple[int, ...], classes: int) -> Classifier:
    """The network that ``module.function(input_shape=..., classes=...)`` returns.

    It is either a module with a ``backbone`` and a linear ``head``, or a backbone alone, which gets a new head. Its
    ``blocks``, if it has a list of them, are what ``last-K`` counts; else they are the children of its backbone that
    have parameters. It reads floats of ``input_shape``, standardised as the encoder says. Modules in the current
    directory are found.

    Raises:
        TmiError: there is no such function, it fails, or its result does not fit.
    """
    made = _made(model, input_shape=input_shape, classes=classes)
    return _classifier(made, model, [("pixels", Pixels(input_shape, encoder))], input_shape, classes, torch.float32)


def build_custom_text(
    model: ModelConfig,
    encoder: EncoderConfig,
    input_shape: tuple[int, ...],
    classes: int,
    vocabulary: int,
    objective: str,
) -> Classifier:
    """As `build_custom`, of ``module.function(input_shape=..., classes=..., vocabulary=...)`` for texts.

    The network reads ids of tokens ``[points, length]``, int64, which end in -1 where a text is shorter.

    Raises:
        TmiError: as there, or the objective is not ``classification``.
    """
    if objective != "classification":
        raise TmiError(f"pretrain.objective is {objective!r}, which needs model.kind 'transformers', found 'python'")
    made = _made(model, input_shape=input_shape, classes=classes, vocabulary=vocabulary)
    return _classifier(made, model, [], input_shape, classes, torch.int64)


def _made(model: ModelConfig, **arguments: Any) -> nn.Module:
    """What the user's function returns."""
    where = f"model.architecture {model.architecture!r}"
    made = call_named(model.architecture or "", where, **arguments)
    if not isinstance(made, nn.Module):
        raise TmiError(f"{where} returned {type(made).__name__}, expected a torch.nn.Module")
    if model.normalisation == "group":
        use_group_normalisation(made)
    return made


def _classifier(
    made: nn.Module,
    model: ModelConfig,
    before: list[tuple[str, nn.Module]],
    input_shape: tuple[int, ...],
    classes: int,
    dtype: torch.dtype,
) -> Classifier:
    """The user's network behind the layers that make its inputs, with a head."""
    where = f"model.architecture {model.architecture!r}"
    whole = hasattr(made, "backbone") and hasattr(made, "head")
    network = made.backbone if whole else made
    if not isinstance(network, nn.Module):
        raise TmiError(f"{where}: its 'backbone' is {type(network).__name__}, expected a torch.nn.Module")
    backbone = nn.Sequential(OrderedDict([*before, ("network", network)]))
    width = feature_width(backbone, input_shape, where, dtype)
    head = _fitting_head(made.head, width, classes, where) if whole else nn.Linear(width, classes)
    return Classifier(backbone, head, _blocks(made, network))


def _fitting_head(head: object, width: int, classes: int, where: str) -> nn.Linear:
    if not isinstance(head, nn.Linear):
        raise TmiError(f"{where}: its 'head' is {type(head).__name__}, expected a torch.nn.Linear")
    if (head.in_features, head.out_features) != (width, classes):
        raise TmiError(
            f"{where}: its 'head' has {head.in_features} inputs and {head.out_features} outputs, expected {width}, "
            f"the width of the features, and {classes}, the number of classes"
        )
    return head


def _blocks(made: nn.Module, network: nn.Module) -> list[nn.Module]:
    inside = {id(module) for module in network.modules()}
    named = getattr(made, "blocks", None)
    if isinstance(named, list | nn.ModuleList) and named and all(id(block) in inside for block in named):
        return list(named)
    return [child for child in network.children() if any(True for _ in child.parameters())] or [network]
