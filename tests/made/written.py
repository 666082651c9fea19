"""What made-up models that write say about the tokens of texts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmi.predictions.arrays import Predictions
from tmi.predictions.attack_input import AttackInput
from tmi.predictions.tokens import token_records


def records_of(log_odds: NDArray[Any], lengths: NDArray[np.int64] | None = None) -> NDArray[Any]:
    """Answers ``[..., tokens]`` with these log-odds; tokens of even odds or more are the likeliest."""
    there = np.ones(log_odds.shape, dtype=np.bool_)
    if lengths is not None:
        there = np.broadcast_to(np.arange(log_odds.shape[-1]) < lengths[..., None], log_odds.shape)
    ranks = np.where(there, np.where(log_odds >= 0, 0, np.round(-2 * log_odds)), -1)
    return token_records(log_odds, ranks, log_odds / 2)


def written(
    models: int = 24, points: int = 60, effect: float = 0.6, seed: int = 0, augmentations: int = 2, tokens: int = 20
) -> AttackInput:
    """Models that are surer of every token of the texts that they were trained on, some models than others of all."""
    random = np.random.default_rng(seed)
    membership = np.array([random.permutation(points) < points // 2 for _ in range(models)])
    lengths = random.integers(3, tokens + 1, size=(points, 1)).repeat(augmentations, axis=1)
    of_token = random.normal(-1, 2, size=(points, 1, tokens))
    of_model = random.normal(scale=0.3, size=(models, 1, 1, 1))
    noise = random.normal(scale=0.5, size=(models, points, augmentations, tokens))
    log_odds = of_token + of_model + effect * membership[..., None, None] + noise
    answers = records_of(log_odds, np.broadcast_to(lengths, log_odds.shape[:-1]))
    letters = random.integers(97, 123, size=(points, 3 * tokens))
    texts = ["".join(map(chr, row[: 3 * length])) for row, length in zip(letters, lengths[:, 0], strict=True)]
    predictions = Predictions(list(answers))
    return AttackInput(predictions, membership, predictions, seed, inputs=np.array(texts, dtype=object))
