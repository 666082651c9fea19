"""Small corpora, and how tiny models that write are trained on them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

WORDS = ["river", "stone", "cloud", "paper", "music", "garden", "winter", "silver", "engine", "window", "letter"]
# Tables of a configuration.
MODEL = """
[model]
kind = "transformers"
architecture = "gpt2-mini"
settings = {hidden_size = 16, num_attention_heads = 2}
"""
PRETRAINING = """
[pretrain]
objective = "causal"
learning_rate = 0.01
epochs = 2
batch_size = 10
"""
FINETUNING = """
[finetune]
objective = "causal"
transfer = "full"
learning_rate = 0.01
epochs = 1
batch_size = 10
"""


def write_corpora(folder: Path, corpora: Mapping[str, tuple[Sequence[str], int]]) -> None:
    """Write ``NAME.jsonl`` for every corpus: the words of its texts, and how many of these there are."""
    random = np.random.default_rng(0)
    for name, (words, number) in corpora.items():
        lines = [json.dumps({"text": " ".join(random.choice(words, random.integers(5, 12)))}) for _ in range(number)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
