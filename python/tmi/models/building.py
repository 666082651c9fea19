"""A network as its configuration describes it, initialised from a seed."""

from __future__ import annotations

import torch

from tmi.config import EncoderConfig, ModelConfig
from tmi.models.architectures import build_transformers
from tmi.models.classifier import Classifier
from tmi.models.custom import build_custom
from tmi.models.networks import build_cnn, build_mlp

BUILDERS = {"mlp": build_mlp, "cnn": build_cnn, "transformers": build_transformers, "python": build_custom}


def build_classifier(
    model: ModelConfig, encoder: EncoderConfig, input_shape: tuple[int, ...], classes: int, seed: int
) -> Classifier:
    """A network with a random initialisation of its own in all layers, on the CPU, everything trained.

    Args:
        model: the architecture.
        encoder: how images are standardised, which is the backbone's first layer.
        input_shape: shape of one input.
        classes: number of classes of the head.
        seed: the only source of the initialisation; torch's global generators are left as they were.

    Raises:
        TmiError: the architecture is unknown, its settings are refused, its library or checkpoint is missing, or it
            does not read inputs of this shape.
    """
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would also seed the generators of all accelerators, which nothing here draws from.
        torch.default_generator.manual_seed(seed)
        classifier = BUILDERS[model.kind](model, encoder, tuple(input_shape), classes)
    return classifier.train()
