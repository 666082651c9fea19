"""What networks of the transformers library have in common, be it for images or texts, and their checkpoints."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tmi.config import ModelConfig
from tmi.errors import TmiError, did_you_mean
from tmi.shadows.networks.classifier import Classifier
from tmi.system.files import read_json
from tmi.system.hub import folder_on_hub
from tmi.system.libraries import explained, from_folder, quiet, require_transformers

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
    """Model type and settings of a named architecture, or of a model type of the library with its own defaults."""
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
    """The library's configuration of a model type with the settings of a named architecture.

    Of what the data decides, ``of_inputs``, what the model type does not have is left out; the user's changes are last.
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
        found: list[nn.Module] = [network]
        for name in pattern.split("."):
            within = (part.children() if name == "*" else [part.get_submodule(name)] for part in found)
            found = [child for children in within for child in children]
        return found
    lists = [module for module in network.modules() if isinstance(module, nn.ModuleList)]
    if not lists:
        return [child for child in network.children() if any(True for _ in child.parameters())]
    sizes = [sum(parameter.numel() for parameter in module.parameters()) for module in lists]
    return list(lists[sizes.index(max(sizes))])


# What is fetched from the hub; no pickle is.
INDEX = "model.safetensors.index.json"
FILES = ("config.json", "model.safetensors", INDEX, "model-*.safetensors")


def checkpoint_folder(model: ModelConfig) -> Path:
    """The directory of ``model.checkpoint``, downloaded if it is a model of the hub that is not here yet."""
    where = f"model.checkpoint {model.checkpoint!r}"
    for key, default in (("architecture", None), ("settings", {}), ("stem", "imagenet")):
        if getattr(model, key) != default:
            raise TmiError(
                f"model.{key} is given besides model.checkpoint, which decides the architecture: leave it out"
            )

    def holds_weights(folder: Path) -> bool:
        # A folder of the hub's cache may have its tokenizer, or some parts, only.
        weights = {"model.safetensors"}
        if (folder / INDEX).is_file():
            parts = (read_json(folder / INDEX) or {}).get("weight_map")
            if not isinstance(parts, dict) or not all(isinstance(name, str) for name in parts.values()):
                return False
            weights = set(parts.values())
        return all((folder / name).is_file() for name in ("config.json", *weights))

    name = str(model.checkpoint)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if folder.is_absolute() or name.startswith("."):
        raise TmiError(f"{where}: there is no such directory")
    return folder_on_hub(name, where, FILES, holds_weights)


def network_of_checkpoint(folder: Path, where: str) -> Any:
    """A network in float32 without the head that it may have had."""
    from transformers import AutoModel

    network, missing = _read(AutoModel, folder, where)
    if missing and all(name.startswith("pooler.") for name in missing):
        # Checkpoints of classifiers have no pooler: without one, the features are what their head read.
        network.pooler = None
    elif missing:
        raise TmiError(f"{where}: {folder} lacks the weights {missing[0]!r} of {type(network).__name__}")
    return network


def next_token_weights(folder: Path, where: str) -> Tensor | None:
    """The matrix ``[vocabulary, width]`` with which a checkpoint predicts the next token; None if it has none."""
    from transformers import AutoModelForCausalLM

    whole, missing = _read(AutoModelForCausalLM, folder, where)
    head: nn.Module | None = whole.get_output_embeddings()
    names = {f"{name}.weight" for name, module in whole.named_modules() if module is head}
    if head is None or names & set(missing):
        return None
    weights = head.weight
    return weights.detach() if isinstance(weights, Tensor) else None


@torch.no_grad()
def next_token_logits(folder: Path, where: str, ids: Tensor) -> Tensor:
    """The logits ``[texts, length, vocabulary]`` of a checkpoint as the library itself computes them, without padding.

    Raises:
        TmiError: it has no head that predicts the next token.
    """
    from transformers import AutoModelForCausalLM

    whole, missing = _read(AutoModelForCausalLM, folder, where)
    if missing:
        raise TmiError(f"{where}: {folder} has no head that predicts the next token, it lacks {missing[0]!r}")
    with explained(f"{where}: the model fails on a text"):
        logits: Tensor = whole.eval()(input_ids=ids).logits
    return logits


def export_checkpoint(classifier: Classifier, directory: Path) -> None:
    """Write a backbone as a directory that ``model.checkpoint`` and the transformers library read, without the head.

    Read back, with the same ``model.pooling`` and ``encoder``, it has the same features bit for bit.

    Raises:
        TmiError: the backbone is of another kind or has layers of its own, or the directory has files already.
    """
    require_transformers()
    from transformers import PreTrainedModel

    network = next((part for part in classifier.backbone.modules() if isinstance(part, PreTrainedModel)), None)
    if network is None:
        raise TmiError("only backbones of model.kind 'transformers' can be written as a checkpoint")
    if (own := _own_layer(network)) is not None:
        raise TmiError(
            f"the backbone cannot be written as a checkpoint: {own!r} is not as in the transformers library's "
            f"{type(network).__name__}; the adapters of finetune.transfer 'lora', model.stem 'small' of a ResNet and "
            "model.normalisation 'group' change layers"
        )
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise TmiError(f"{directory} exists already, expected an empty or new directory for the checkpoint")
    # The head that predicts tokens, if there is one, is another matrix than the embedding of tokens, and not written.
    network.config.tie_word_embeddings = False
    partial = directory.with_name(directory.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    with quiet(), explained(f"{directory}: the checkpoint cannot be written"):
        network.save_pretrained(partial)
        partial.replace(directory)


def _read(auto_class: Any, folder: Path, where: str) -> tuple[Any, list[str]]:
    """A network in float32 and the names of the weights that its checkpoint lacks."""
    with explained(f"{where}: {folder} has no weights that can be read, expected config.json and model.safetensors"):
        return from_folder(auto_class, folder)


def _own_layer(network: Any) -> str | None:
    """The first array that the network does not share in name and shape with one made from its configuration."""
    from transformers import AutoModel

    with quiet(), torch.device("meta"):
        plain = AutoModel.from_config(network.config)
    expected, found = (
        {name: tensor.shape for name, tensor in model.state_dict().items() if not name.startswith("pooler.")}
        for model in (plain, network)
    )
    return next((name for name in sorted(expected | found) if expected.get(name) != found.get(name)), None)
