"""Which part of a pretrained network finetuning changes, and what it changed.

A finetuning method is a module of this folder, or one that another distribution names as an entry point
``tmi.transfers``: a function ``trained_parts(classifier, finetune, number)`` that returns the modules of the backbone
which are trained, after adding to it what it adds. ``number`` is the K of ``last-3``, which is the method of the file
``last_k.py``, and 0 where a name has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray

from tmi.config import FinetuneConfig, transfer_method
from tmi.errors import TmiError
from tmi.shadows.networks.classifier import Classifier, blank_head, weights_of
from tmi.system.plugins import TRANSFERS


def apply_transfer(classifier: Classifier, finetune: FinetuneConfig, classes: int, seed: int) -> None:
    """Give a pretrained classifier a blank head and freeze what finetuning leaves as it is, in place.

    A language model that is finetuned as one keeps the head of its pretraining.

    To be called once, after the pretrained weights are loaded: ``lora`` renames the layers that it adapts. Torch's
    global generators and the mode of the classifier, training or evaluation, are left as they were.

    Raises:
        TmiError: the method does not fit the network, is missing a library, or is of another distribution and broken.
    """
    classifier.requires_grad_(False)
    head, writes = classifier.head, finetune.objective == "causal"
    method, number = transfer_method(finetune.transfer)
    trained_parts = TRANSFERS.load(method, "trained_parts").trained_parts
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if not writes:
            classifier.replace_head(blank_head(head.in_features, classes).to(head.weight.device))
        # Adapters leave everything that was pretrained as it is (Hu et al. 2022), of which a head that writes is part.
        heads = [] if writes and method == "lora" else [classifier.head]
        classifier.trained_parts = [*trained_parts(classifier, finetune, number), *heads]
    for part in classifier.trained_parts:
        part.requires_grad_(True)
    classifier.train(classifier.training)


def changed_weights(classifier: Classifier) -> dict[str, NDArray[Any]]:
    """What finetuning changed or added: the trained parameters, and the buffers of the trained parts.

    As with ``weights_of``, the arrays share the memory of a classifier on the CPU.
    """
    trained = {id(module) for part in classifier.trained_parts for module in part.modules()}
    changed = {name for name, parameter in classifier.named_parameters() if parameter.requires_grad}
    for prefix, module in classifier.named_modules():
        if id(module) in trained:
            changed |= {f"{prefix}.{name}" for name, _ in module.named_buffers(recurse=False)}
    return {name: array for name, array in weights_of(classifier).items() if name in changed}


def load_changed(classifier: Classifier, weights: Mapping[str, NDArray[Any]]) -> None:
    """Set what ``changed_weights`` returned; ``apply_transfer`` was called on the classifier with the same settings.

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
