"""What ``tmi bench`` times: each kernel, the metrics and whole attacks, on made-up answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tmi import _core
from tmi.attacks.gaussian import RIDGE
from tmi.attacks.registry import attack_named
from tmi.attacks.scoring import score
from tmi.bench import reference
from tmi.predictions.arrays import Predictions
from tmi.predictions.attack_input import AttackInput

# Ridges of the linear discriminants, relative to the mean variance: the kernel's own default.
RIDGES = (0.5, 2.0)

# Scores of the published experiments, 32 targets and 1000 points; and resamples for intervals that hold still.
SCORES_SHAPE = (32, 1000)
RESAMPLES = 2000
RATES = np.array([0.001, 0.01, 0.1])
# Attacks take seconds: that many rounds show their spread.
ATTACK_ROUNDS = 3


@dataclass(frozen=True)
class Size:
    """How large the made-up answers are."""

    models: int = 65
    points: int = 1000
    augmentations: int = 8
    classes: int = 10
    dtype: Literal["float32", "float16"] = "float32"


@dataclass(frozen=True)
class Case:
    """Something to time.

    Attributes:
        name: for the table.
        unit: what is counted, ``predictions`` (one answer to one query) or ``scores``.
        items: how many of them one call works on.
        source: the input, which a copy is made of for comparison.
        kernel: does it with a number of threads.
        reference: does the same without the kernels; None where that would be another program.
        rival: what the reference is made with.
        most_rounds: how often it is timed at most; None: as often as asked for.
    """

    name: str
    unit: str
    items: int
    source: NDArray[Any]
    kernel: Callable[[int], Any]
    reference: Callable[[], Any] | None
    rival: str = "NumPy"
    most_rounds: int | None = None


def made_up(size: Size) -> AttackInput:
    """Answers in which membership moves the logits of every point in a direction of its own."""
    random = np.random.default_rng(0)
    shape = (size.models, size.points, size.augmentations, size.classes)
    membership = random.random(shape[:2]) < 0.5
    logits = 3 * random.standard_normal(shape, dtype=np.float32)
    logits += random.standard_normal((1, size.points, 1, size.classes), dtype=np.float32) * membership[..., None, None]
    return AttackInput(Predictions(list(logits.astype(size.dtype))), membership)


def feature_cases(answers: AttackInput) -> list[Case]:
    """The kernels between predictions and scores."""
    predictions, membership = answers.predictions.block(slice(None)), answers.membership
    scaled = _core.reduce_logits(predictions)[0]
    models, everyone, ridges = len(predictions), np.arange(len(predictions)), list(RIDGES)
    cases: list[tuple[str, NDArray[Any], Callable[[int], Any], Callable[[], Any]]] = [
        (
            "scale and reduce",
            predictions,
            lambda threads: _core.reduce_logits(predictions, threads=threads),
            lambda: reference.reduce_logits(predictions),
        ),
        (
            "features, 1 target",
            scaled,
            lambda threads: _core.leave_one_out_features(scaled, membership, 0, ridges=ridges, threads=threads),
            lambda: reference.leave_one_out_features(scaled, membership, 0, ridges),
        ),
        (
            f"gaussian scores, {models} targets",
            scaled,
            lambda threads: _core.gaussian_scores(scaled, membership, everyone, ridge=RIDGE, threads=threads),
            lambda: reference.gaussian_scores(scaled, membership, everyone, RIDGE),
        ),
        (
            f"adapted LiRA, {models} targets",
            predictions,
            lambda threads: _core.adapted_lira(predictions, membership, everyone, threads=threads),
            lambda: reference.adapted_lira(predictions, membership, everyone),
        ),
    ]
    queries = predictions.size // predictions.shape[-1]
    return [Case(name, "predictions", queries, source, ours, theirs) for name, source, ours, theirs in cases]


def metric_cases(shape: tuple[int, int] = SCORES_SHAPE, resamples: int = RESAMPLES) -> list[Case]:
    """The ROC metrics and their intervals."""
    random = np.random.default_rng(1)
    labels = random.random(shape) < 0.5
    scores = random.normal(size=shape) + 0.5 * labels
    of_targets, of_points = (
        random.multinomial(count, np.full(count, 1 / count), size=resamples).astype(np.uint16) for count in shape
    )
    return [
        Case(
            f"ROC metrics, {scores.size:,} scores",
            "scores",
            scores.size,
            scores,
            lambda threads: _core.roc_metrics(scores, labels, RATES, threads=threads),
            lambda: reference.roc_metrics(scores, labels, RATES),
            rival="scikit-learn",
        ),
        Case(
            f"{resamples:,} resamples of {shape[0]} x {shape[1]:,}",
            "scores",
            scores.size * resamples,
            scores,
            lambda threads: _core.roc_resample(scores, labels, of_targets, of_points, RATES, threads=threads),
            lambda: reference.roc_resample(scores, labels, of_targets, of_points, RATES),
        ),
    ]


def attack_cases(answers: AttackInput, names: Sequence[str], targets: int) -> list[Case]:
    """Whole attacks, from raw predictions to scores."""
    predictions, membership = answers.predictions.block(slice(None)), answers.membership
    chosen = np.arange(min(targets, len(predictions)))
    by_hand: dict[str, Callable[[], Any]] = {
        "gaussian": lambda: reference.gaussian_scores(
            reference.reduce_logits(predictions)[0], membership, chosen, RIDGE
        ),
        "adapted-lira": lambda: reference.adapted_lira(predictions, membership, chosen),
    }

    def attack(name: str) -> Callable[[int], Any]:
        # Predictions that no attack has seen: what several attacks share is computed once per object.
        return lambda threads: score(
            attack_named(name),
            AttackInput(Predictions(list(predictions)), membership, Predictions(list(predictions)), threads=threads),
            chosen.tolist(),
        )

    plural = "" if len(chosen) == 1 else "s"
    return [
        Case(
            f"attack {attack_named(name).name}, {len(chosen)} target{plural}",
            "predictions",
            predictions.size // predictions.shape[-1],
            predictions,
            attack(name),
            by_hand.get(name),
            most_rounds=ATTACK_ROUNDS,
        )
        for name in names
    ]
