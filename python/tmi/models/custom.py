"""Networks that a Python function of the user makes."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from tmi.config import EncoderConfig, ModelConfig
from tmi.errors import TmiError
from tmi.functions import call_named
from tmi.models.checks import feature_width
from tmi.models.classifier import Classifier
from tmi.models.normalisation import use_group_normalisation
from tmi.models.pixels import Pixels


def build_custom(model: ModelConfig, encoder: EncoderConfig, input_shape: tuple[int, ...], classes: int) -> Classifier:
    """The network that ``module.function(input_shape=..., classes=...)`` returns.

    It is either a module with a ``backbone`` and a linear ``head``, or a backbone alone, which gets a new head. Its
    ``blocks``, if it has a list of them, are what ``last-K`` counts; else they are the children of its backbone that
    have parameters. It reads floats of ``input_shape``, standardised as the encoder says. Modules in the current
    directory are found.

    Raises:
        TmiError: there is no such function, it fails, or its result does not fit.
    """
    where = f"model.architecture {model.architecture!r}"
    made = call_named(model.architecture or "", where, input_shape=input_shape, classes=classes)
    if not isinstance(made, nn.Module):
        raise TmiError(f"{where} returned {type(made).__name__}, expected a torch.nn.Module")
    if model.normalisation == "group":
        use_group_normalisation(made)

    whole = hasattr(made, "backbone") and hasattr(made, "head")
    network = made.backbone if whole else made
    if not isinstance(network, nn.Module):
        raise TmiError(f"{where}: its 'backbone' is {type(network).__name__}, expected a torch.nn.Module")
    backbone = nn.Sequential(OrderedDict(pixels=Pixels(input_shape, encoder), network=network))
    width = feature_width(backbone, input_shape, where)
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
