"""A network as its configuration describes it, initialised from a seed."""

from __future__ import annotations

import torch

from tmi.config import EncoderConfig, ModelConfig
from tmi.errors import TmiError
from tmi.shadows.networks.architectures import build_transformers
from tmi.shadows.networks.classifier import Classifier
from tmi.shadows.networks.custom import build_custom
from tmi.shadows.networks.networks import build_cnn, build_mlp
from tmi.shadows.networks.text import build_text

BUILDERS = {"mlp": build_mlp, "cnn": build_cnn, "transformers": build_transformers, "python": build_custom}
TEXT_BUILDERS = {"transformers": build_text, "python": build_custom}


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

    Args:
        model: the architecture.
        encoder: how images are standardised, which is the backbone's first layer, or that points are tokens.
        input_shape: shape of one input.
        classes: number of classes of the head.
        seed: the only source of the initialisation; torch's global generators are left as they were.
        vocabulary: number of different tokens, which a network needs to know that reads them.
        objective: ``classification``; or ``causal`` or ``masked`` for a `LanguageModel`, which predicts tokens until
            finetuning replaces its head.

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
