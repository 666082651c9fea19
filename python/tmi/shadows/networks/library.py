"""What networks of the transformers library have in common, whether they read images or texts."""

from __future__ import annotations

from typing import Any

from torch import nn

from tmi.errors import TmiError, did_you_mean
from tmi.system.libraries import explained

# Where model types of several stages keep their blocks: names of modules, * for each of their children in turn.
BLOCKS = {
    "resnet": "encoder.stages.*.layers.*",
    "convnext": "encoder.stages.*.layers.*",
    "swin": "encoder.layers.*.blocks.*",
}
# What model types use behind their blocks, but register in front of them: the module that holds it, and its name there.
BEHIND_BLOCKS = {"opt": ("decoder", "final_layer_norm")}

# Model type and settings, by the name that a configuration calls it.
Architectures = dict[str, tuple[str, dict[str, Any]]]


def named_architecture(name: str, known: Architectures, example: str) -> tuple[str, dict[str, Any]]:
    """Model type and settings of a named architecture, or of a model type of the library with its own defaults.

    Raises:
        TmiError: it is neither.
    """
    from transformers import CONFIG_MAPPING

    if name in known:
        model_type, settings = known[name]
        return model_type, dict(settings)
    if name not in CONFIG_MAPPING:
        raise TmiError(
            f"model.architecture is {name!r}, which tmi does not know{did_you_mean(name, list(known))} "
            f"and which is no model type of the transformers library, such as {example!r}"
        )
    return name, {}


def settings_of(model_type: str) -> set[str]:
    """What can be set of a model type: what every configuration has is bookkeeping, not architecture."""
    from transformers import AutoConfig, PretrainedConfig

    default = AutoConfig.for_model(model_type)
    bookkeeping = {*PretrainedConfig().to_dict(), "model_type"}
    return {name for name in default.to_dict() if name not in bookkeeping} | set(default.attribute_map)


def configuration(model_type: str, settings: dict[str, Any], of_inputs: dict[str, Any], changes: dict[str, Any]) -> Any:
    """The library's configuration of a model type.

    Args:
        model_type: of the library.
        settings: of the named architecture.
        of_inputs: what the data decides; what the model type does not have is left out.
        changes: of the user, which come last.

    Raises:
        TmiError: a change is of no setting of this model type, or is refused by the library.
    """
    from transformers import AutoConfig

    known = settings_of(model_type)
    for key in changes:
        if key not in known:
            raise TmiError(f"model.settings: {model_type} has no setting {key!r}{did_you_mean(key, sorted(known))}")
    default = AutoConfig.for_model(model_type)
    names = default.attribute_map  # some settings have two
    possible = {*default.to_dict(), *names}
    merged: dict[str, Any] = {}
    for source in (settings, {key: value for key, value in of_inputs.items() if key in possible}, changes):
        merged |= {names.get(key, key): value for key, value in source.items()}
    with explained(f"model.settings are refused by the transformers library's {model_type}"):
        return AutoConfig.for_model(model_type, **merged)


def blocks_of(network: Any) -> list[nn.Module]:
    """The blocks of a model, by the table; of another model type the entries of its largest list of modules.

    What follows the blocks is registered behind them from here on.
    """
    if (behind := BEHIND_BLOCKS.get(network.config.model_type)) is not None:
        parent, name = network.get_submodule(behind[0]), behind[1]
        module = getattr(parent, name)
        delattr(parent, name)
        setattr(parent, name, module)
    pattern = BLOCKS.get(network.config.model_type)
    if pattern is not None:
        return _children_at(network, pattern.split("."))
    lists = [module for module in network.modules() if isinstance(module, nn.ModuleList)]
    if not lists:
        return [child for child in network.children() if any(True for _ in child.parameters())]
    sizes = [sum(parameter.numel() for parameter in module.parameters()) for module in lists]
    return list(lists[sizes.index(max(sizes))])


def _children_at(module: nn.Module, path: list[str]) -> list[nn.Module]:
    if not path:
        return [module]
    children = list(module.children()) if path[0] == "*" else [module.get_submodule(path[0])]
    return [block for child in children for block in _children_at(child, path[1:])]
