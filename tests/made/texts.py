"""Small text networks and texts for them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tmi.config import EncoderConfig, FinetuneConfig, ModelConfig
from tmi.shadows.networks import (
    Classifier,
    LanguageModel,
    build_classifier,
)

TOKENS = EncoderConfig(kind="tokens")
VOCABULARY, LENGTH, CLASSES, MASK = 40, 10, 3, 2
CAUSAL, BIDIRECTIONAL = ["gpt2-mini", "llama-mini"], ["bert-mini"]
MINIS = CAUSAL + BIDIRECTIONAL
TRANSFERS = ["head", "last-1", "full", "lora"]
PADDED = -1
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


def text_model(architecture: str | None = None, **keys: Any) -> ModelConfig:
    return ModelConfig(kind="transformers", architecture=architecture, **keys)


def build(
    architecture: str | None, seed: int = 0, objective: str = "classification", length: int = LENGTH, **keys: Any
) -> Classifier:
    model = text_model(architecture, **keys)
    return build_classifier(model, TOKENS, (length,), CLASSES, seed, VOCABULARY, objective)


def objective_of(architecture: str) -> str:
    return "masked" if architecture in BIDIRECTIONAL else "causal"


def language_model(architecture: str, seed: int = 0) -> LanguageModel:
    model = build(architecture, seed, objective_of(architecture))
    assert isinstance(model, LanguageModel)
    return model


def texts(lengths: list[int], width: int = LENGTH, seed: int = 0) -> Tensor:
    """Random ids of texts of these lengths."""
    ids = torch.randint(VOCABULARY, (len(lengths), width), generator=torch.Generator().manual_seed(seed))
    return ids.masked_fill(torch.arange(width) >= torch.tensor(lengths)[:, None], PADDED)


def recipe(transfer: str) -> FinetuneConfig:
    return FinetuneConfig(transfer=transfer, lora_rank=2, learning_rate=0.05, epochs=1, batch_size=4)


NETWORKS = {architecture: build(architecture).eval() for architecture in MINIS}
LANGUAGE_MODELS = {architecture: language_model(architecture).eval() for architecture in MINIS}
