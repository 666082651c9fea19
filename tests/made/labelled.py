"""Answers about points with a label each, and what attacks on one confidence look at in them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, logsumexp

from tmi.predictions.arrays import Predictions
from tmi.predictions.attack_input import AttackInput

TARGET = 2


def made_up(
    models: int = 14, points: int = 12, augmentations: int = 3, classes: int = 4, seed: int = 0, effect: float = 2.0
) -> AttackInput:
    """Logits of made-up models that answer with more confidence what they were trained on, and labels.

    Every point is in the pretraining set of at least two models besides the target, and out of that of two.
    """
    random = np.random.default_rng(seed)
    membership = random.random((models, points)) < 0.5
    membership[TARGET + 1 : TARGET + 3], membership[TARGET + 3 : TARGET + 5] = True, False
    labels = random.integers(classes, size=points)
    logits = random.normal(size=(points, 1, classes)) + random.normal(size=(models, points, augmentations, classes))
    logits += (1 + effect * membership[..., None, None]) * np.eye(classes)[labels][:, None]
    return AttackInput(Predictions(list(logits.astype(np.float32))), membership, seed=seed, labels=labels)


def unlabelled(answers: AttackInput) -> AttackInput:
    return AttackInput(answers.predictions, answers.membership, seed=answers.seed)


def scaled_logits(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """The log-odds of every class, by way of the log-probabilities of the class and of all others."""
    log_p = log_softmax(logits.astype(np.float64), axis=-1)
    others = [logsumexp(np.delete(log_p, c, axis=-1), axis=-1) for c in range(logits.shape[-1])]
    return log_p - np.stack(others, axis=-1)
