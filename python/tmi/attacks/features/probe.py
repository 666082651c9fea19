"""How well a model's own answers tell the pretraining label of a point.

Pretraining pulls a point towards the others of its class, members more than non-members, and the answers of the
finetuned model still show it: relative to what the same model answers about other points of that class. The probe
learns the classes from the answers themselves, each point left out of its own class (`_core.label_probe`). It knows no
membership, so the target and its shadows are treated alike, and it says something even without any shadow model.

It is to be taught by candidates, points of which many may be members: it works since the members of a class lie
together, so that points which no model was pretrained on dilute it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tmi import _core
from tmi.attacks.features.conditioning import LARGEST_LOGIT
from tmi.errors import TmiError
from tmi.predictions.arrays import Predictions
from tmi.predictions.attack_input import AttackInput
from tmi.predictions.rows import HeldRows

# Of the identity in the covariance within classes.
PENALTY = 0.1
# Points that the spread of all labels counts for beside those of a label: few of them say little about its own.
PRIOR_WEIGHT = 8.0
# Numbers of type float32 that are read of the models that are probed together.
READ_ENTRIES = 40_000_000


@lru_cache(maxsize=1)  # several attacks on the same answers need them
def held_probes(answers: AttackInput) -> HeldRows:
    """What `label_probes` finds of all models, about the challenge points and behind them the reference points."""
    held: HeldRows | None = None
    for models, found in label_probes(answers):
        held = held or HeldRows((len(answers.membership), *found.shape[1:]))
        held.put(models, range(found.shape[1]), found)
    assert held is not None
    return held


def label_probes(
    answers: AttackInput, models: Sequence[int] | None = None
) -> Iterator[tuple[range, NDArray[np.float64]]]:
    """The log odds of the points' own pretraining labels, ``[models, points, probes + 1]``, some models at a time.

    There is a probe of the answers to the points themselves, and where there are augmentations one of how these answers
    differ from those to the augmentations, and one of their mean with those to the first augmentation, which is the
    mirror image with ``flip-crop``: pretraining that flips shows both to the network. Answers are logits less their
    mean over classes, those of all finetunings side by side. The points are the challenge points and behind them the
    reference points; all teach alike. The last of the values is the mean of the log odds of all probes, on one scale
    for all labels.

    Args:
        answers: with pretraining labels.
        models: whose answers are probed; all of them if left out.

    Yields:
        Which of the probed models these are, by their place, and what was found of them, float64.

    Raises:
        TmiError: without.
    """
    reference, labels = answers.reference, answers.pretraining_labels
    if labels is None:
        raise TmiError("the points have no pretraining labels, expected int64 [points]")
    finetunings = (answers, *answers.companions)
    probes = 3 if any(each.predictions.shape[2] > 1 for each in finetunings) else 1
    parts = [[each.predictions for each in finetunings]]
    if reference is not None and reference.pretraining_labels is not None:
        parts.append([each.reference.predictions for each in finetunings if each.reference is not None])
        labels = np.concatenate([labels, reference.pretraining_labels])
    probed = range(len(answers.membership)) if models is None else list(models)
    size = max(1, READ_ENTRIES // (probes * len(labels) * sum(each.shape[-1] for each in parts[0])))
    for start in range(0, len(probed), size):
        chosen = probed[start : start + size]
        read = _joined(
            [_joined([read_answers(each.restricted(chosen), probes) for each in side], axis=-1) for side in parts],
            axis=2,
        )
        odds = log_odds(read, labels, np.ones(read.shape[1:3], dtype=np.float32), answers.threads)
        mean = on_one_scale(odds.mean(axis=-1), labels)
        yield range(start, start + len(chosen)), np.concatenate([odds, mean[..., None]], axis=-1)


def _joined(arrays: list[NDArray[np.float32]], axis: int) -> NDArray[np.float32]:
    """Arrays behind one another; a single one is not copied."""
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=axis)


def log_odds(
    read: NDArray[np.float32], labels: NDArray[np.int64], weights: NDArray[np.float32], threads: int
) -> NDArray[np.float64]:
    """The log odds, float64 ``[models, points, probes]``, of answers as `read_answers` has them.

    Args:
        read: those of one model stand for as many models as there are weights of, which are taught differently.
        labels: int64 ``[points]``.
        weights: float32 ``[models, points]``, how much each point teaches the probe of each model.
        threads: for the kernel; never changes a score.
    """
    shape = len(weights), *read.shape[2:]
    odds = [
        _core.label_probe(np.broadcast_to(x, shape), labels, weights, penalty=PENALTY, threads=threads) for x in read
    ]
    return np.stack(odds, axis=-1)


def on_one_scale(odds: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Log odds ``[models, points]`` less the mean of their label, in units of its spread.

    Some labels are told from all others by any model, members or not. All points count alike, the point itself among
    them: one that is alone with its label has 0, as all have where nothing spreads.
    """
    _, which, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    by_label, starts = which.argsort(kind="stable"), np.cumsum(sizes) - sizes

    def sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.add.reduceat(values[:, by_label], starts, axis=1)

    centred = odds - (sums(odds) / sizes)[:, which]
    squares = sums(centred**2)
    common = squares.sum(axis=1, keepdims=True) / max(len(labels) - len(sizes), 1)
    scale = np.sqrt((squares + PRIOR_WEIGHT * common) / (sizes - 1 + PRIOR_WEIGHT))[:, which]
    standardised: NDArray[np.float64] = np.divide(centred, scale, out=np.zeros_like(centred), where=scale > 0)
    return standardised


def read_answers(predictions: Predictions, probes: int) -> NDArray[np.float32]:
    """What is probed, ``[probes, models, points, classes]``; without augmentations they differ by zeros."""
    models, points, augmentations, classes = predictions.shape
    read = np.zeros((probes, models, points, classes), dtype=np.float32)
    for chosen, block in predictions.blocks():
        logits = np.clip(block.astype(np.float32), -LARGEST_LOGIT, LARGEST_LOGIT)
        logits -= logits.mean(axis=-1, keepdims=True)
        read[0, :, chosen] = logits[:, :, 0]
        if augmentations > 1:
            read[1, :, chosen] = logits[:, :, 0] - logits[:, :, 1:].mean(axis=2)
        if probes > 1:
            read[2, :, chosen] = logits[:, :, :2].mean(axis=2)
    return read
