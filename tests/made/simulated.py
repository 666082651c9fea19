"""Predictions with a leak of known kind, and the attacks that are run on them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tmi.attacks.features.membership import Evidence, Ingredients
from tmi.attacks.features.windows import windows
from tmi.attacks.registry import Needs, all_attacks
from tmi.predictions.arrays import Predictions
from tmi.predictions.attack_input import AttackInput

# Those on a given model and those on models that write have tests of their own.
APART = (Needs.KNOWN_MEMBERS, Needs.TOKENS)
ATTACKS = sorted(name for name, attack in all_attacks().items() if attack.needs not in APART)


# These train a classifier for every point.
EXPENSIVE = {"tmi-pointwise", "tmi-mlp"}


EVERYTHING = Ingredients()
# Of pretraining, more or fewer than classes of the predictions.
LABELS = 6


def simulated(
    models: int = 24, points: int = 60, effect: float = 1.0, seed: int = 0, augmentations: int = 3, classes: int = 4
) -> AttackInput:
    """Logits of made-up models: membership moves every point's logits in a direction of its own, and of its label."""
    random = np.random.default_rng(seed)
    membership = np.array([random.permutation(points) < points // 2 for _ in range(models)])
    centre = random.normal(scale=2, size=(points, 1, classes))
    direction = random.normal(size=(points, 1, classes))
    noise = random.normal(size=(models, points, 1, classes))
    jitter = 0.2 * random.normal(size=(models, points, augmentations, classes))
    labels = np.random.default_rng([seed, 1]).integers(LABELS, size=points)
    of_labels = np.random.default_rng([seed, 2]).normal(size=(LABELS, 1, classes))[labels]
    logits = centre + of_labels + effect * membership[..., None, None] * (direction + of_labels) + noise + jitter
    predictions = Predictions(list(logits.astype(np.float32)))
    return AttackInput(predictions, membership, pretrained=predictions, seed=seed, pretraining_labels=labels)


def evidence_of(answers: AttackInput, ingredients: Ingredients = EVERYTHING) -> Evidence:
    """Of all points, which fit one window."""
    (window,) = windows(answers)
    return Evidence(window, ingredients)


def with_membership(answers: AttackInput, membership: NDArray[np.bool_]) -> AttackInput:
    return replace(answers, membership=membership)


def drawn(design: str, models: int, points: int, random: np.random.Generator) -> NDArray[np.bool_]:
    """Membership of an independent, a balanced or a paired design, or of the latter two without their last model."""
    if design.endswith(", one dropped"):
        return drawn(design.removesuffix(", one dropped"), models, points, random)[:-1]
    if design == "balanced":
        return random.random((models, points)).argsort(axis=0) < models // 2
    rows = models // 2 if design == "pairs" else models
    halves = random.random((rows, points)).argsort(axis=1) < points // 2
    return np.stack([halves, ~halves], axis=1).reshape(models, points) if design == "pairs" else halves


def labelled_target(
    points: int = 300, labels: int = 6, members: float = 0.0, effect: float = 0.8, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.bool_]]:
    """Answers of one made-up model ``[points, 2, 8]``, pretraining labels, and which points are members.

    Points lie around the centre of their label, at labels of unequal spread, and members farther out beyond it.
    """
    random = np.random.default_rng(seed)
    label, inside = random.integers(labels, size=points), random.random(points) < members
    spread, pull = random.uniform(0.7, 1.5, size=labels)[label], 2 + 2 * effect * inside
    centres, mixing = random.normal(size=(labels, 10)), random.normal(size=(10, 8))
    hidden = pull[:, None] * centres[label] + spread[:, None] * random.normal(size=(points, 10))
    logits = (hidden @ mixing)[:, None] + 0.1 * random.normal(size=(points, 2, 8))
    return logits.astype(np.float32), label.astype(np.int64), inside
