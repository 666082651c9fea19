"""Which part of a pretrained network finetuning changes, and what it changed."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from tmi.config import FinetuneConfig
from tmi.errors import TmiError
from tmi.shadows.networks.classifier import Classifier, blank_head, weights_of

# Only these very classes: a subclass may do something else with its weights than multiply by them.
ADAPTED_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
# The linear layer of GPT-2: the transformers library's Conv1D, which is no convolution.
TRANSPOSED_LINEAR = "transformers.pytorch_utils.Conv1D"


def apply_transfer(classifier: Classifier, finetune: FinetuneConfig, classes: int, seed: int) -> None:
    """Give a pretrained classifier a blank head and freeze what finetuning leaves as it is, in place.

    To be called once, after the pretrained weights are loaded: ``lora`` renames the layers that it adapts.

    Args:
        classifier: a pretrained network; its mode, training or evaluation, is kept.
        finetune: its ``transfer`` and ``lora_rank``.
        classes: of the downstream task.
        seed: of the adapters of ``lora``; torch's global generators are left as they were.

    Raises:
        TmiError: ``last-K`` asks for more blocks than the backbone has, or peft is missing.
    """
    classifier.requires_grad_(False)
    pretrained_head = classifier.head
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        classifier.replace_head(blank_head(pretrained_head.in_features, classes).to(pretrained_head.weight.device))
        classifier.trained_parts = [*_trained_in_backbone(classifier, finetune), classifier.head]
    for part in classifier.trained_parts:
        part.requires_grad_(True)
    classifier.train(classifier.training)


def changed_weights(classifier: Classifier) -> dict[str, NDArray[Any]]:
    """What finetuning changed or added: the trained parameters, and the buffers of the trained parts.

    As with ``weights_of``, the arrays share the memory of a classifier on the CPU.
    """
    changed = _changed_names(classifier)
    return {name: array for name, array in weights_of(classifier).items() if name in changed}


def load_changed(classifier: Classifier, weights: Mapping[str, NDArray[Any]]) -> None:
    """Set what ``changed_weights`` returned.

    Args:
        classifier: ``apply_transfer`` was called on it with the same settings.
        weights: by name.

    Raises:
        TmiError: an array is missing, has another shape, or is of no part that finetuning changes.
    """
    expected = {name: array.shape for name, array in changed_weights(classifier).items()}
    if different := sorted(expected.keys() ^ weights.keys()):
        problem = "is missing" if different[0] in expected else "is not expected"
        raise TmiError(f"finetuned weights: the array {different[0]!r} {problem}")
    for name, array in weights.items():
        if array.shape != expected[name]:
            raise TmiError(f"finetuned weights: {name!r} has shape {array.shape}, expected {expected[name]}")
    classifier.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()}, strict=False)


def _trained_in_backbone(classifier: Classifier, finetune: FinetuneConfig) -> list[nn.Module]:
    if finetune.transfer == "head":
        return []
    if finetune.transfer == "full":
        return [classifier.backbone]
    if finetune.transfer == "lora":
        return _add_adapters(classifier.backbone, finetune.lora_rank)
    return _from_block(classifier, int(finetune.transfer.removeprefix("last-")))


def _from_block(classifier: Classifier, last: int) -> list[nn.Module]:
    """The last blocks and whatever the backbone registers after them: a final normalisation, a pooler."""
    if last > len(classifier.blocks):
        raise TmiError(
            f"finetune.transfer is 'last-{last}', but the backbone has only {len(classifier.blocks)} blocks; "
            "'full' finetunes everything"
        )
    # Depth first: what contains the first trained block comes before it, what is behind it comes after it.
    modules = list(classifier.backbone.modules())
    first = next(index for index, module in enumerate(modules) if module is classifier.blocks[-last])
    return modules[first:]


def _add_adapters(backbone: nn.Module, rank: int) -> list[nn.Module]:
    """Low-rank adapters (Hu et al. 2022) of all linear and convolution layers; they start as zeros, times noise.

    Grouped convolutions are left out: a product of rank r has no room for more groups than r.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
        from peft.tuners.lora import LoraLayer
    except ImportError:
        raise TmiError("finetune.transfer 'lora' needs the peft library: `pip install peft`") from None

    names = [name for name, module in backbone.named_modules() if _can_be_adapted(module)]
    if not names:
        raise TmiError("finetune.transfer is 'lora', but the backbone has no linear or convolution layer")
    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=0.0,
        # A pattern matches whole names; a list would also match names that end alike.
        target_modules="|".join(re.escape(name) for name in names),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inject_adapter_in_model(config, backbone)
    adapted = [module for module in backbone.modules() if isinstance(module, LoraLayer)]
    return [adapter for layer in adapted for adapter in (layer.lora_A, layer.lora_B)]


def _can_be_adapted(module: nn.Module) -> bool:
    # By name, so that nothing has to import the transformers library for a network that is not from it.
    name = f"{type(module).__module__}.{type(module).__qualname__}"
    return (type(module) in ADAPTED_LAYERS or name == TRANSPOSED_LINEAR) and getattr(module, "groups", 1) == 1


def _changed_names(classifier: Classifier) -> set[str]:
    trained = {id(module) for part in classifier.trained_parts for module in part.modules()}
    names = {name for name, parameter in classifier.named_parameters() if parameter.requires_grad}
    for prefix, module in classifier.named_modules():
        if id(module) in trained:
            names |= {f"{prefix}.{name}" for name, _ in module.named_buffers(recurse=False)}
    return names
