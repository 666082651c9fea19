"""How well a model's own answers tell the pretraining label of a point.

Pretraining pulls a point towards the others of its class, members more than non-members, and the answers of the
finetuned model still show it: relative to what the same model answers about other points of that class. The probe
learns the classes from the answers themselves, each point left out of its own class (`_core.label_probe`). It knows no
membership, so the target and its shadows are treated alike, and it says something even without any shadow model.

It is to be taught by candidates, points of which many may be members: it works since the members of a class lie
together, so that points which no model was pretrained on dilute it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tmi import _core
from tmi.attacks.features.conditioning import LARGEST_LOGIT
from tmi.predictions.arrays import Predictions
from tmi.predictions.attack_input import AttackInput

# Of the identity in the covariance within classes.
PENALTY = 0.1


def label_probes(answers: AttackInput, weights: NDArray[np.float32] | None = None) -> NDArray[np.float64]:
    """The log odds of the points' own pretraining labels, float64 ``[models, points, 2]``.

    Probed are the scaled logits about the point itself, and the centred logits averaged over its augmentations, those
    of all finetunings side by side. The points are the challenge points and behind them the reference points.

    Args:
        answers: with pretraining labels.
        weights: float32 ``[models, points]``, how much each point teaches the probe of each model; all alike if left
            out.
    """
    reference, labels = answers.reference, answers.pretraining_labels
    asked = [(each.predictions, each.reference) for each in (answers, *answers.companions)]
    read = [_read(predictions, answers.threads) for predictions, _ in asked]
    if reference is not None:
        further = [_read(each.predictions, answers.threads) for _, each in asked if each is not None]
        read = [
            tuple(np.concatenate(both, axis=1) for both in zip(*pair, strict=True))
            for pair in zip(read, further, strict=True)
        ]
        labels = np.concatenate([labels, reference.pretraining_labels])
    if weights is None:
        weights = np.ones(read[0][0].shape[:2], dtype=np.float32)
    odds = [
        _core.label_probe(
            np.concatenate(side_by_side, axis=-1), labels, weights, penalty=PENALTY, threads=answers.threads
        )
        for side_by_side in zip(*read, strict=True)
    ]
    return np.stack(odds, axis=-1)


def _read(predictions: Predictions, threads: int) -> tuple[NDArray[np.float32], ...]:
    """Scaled logits about each point itself, and mean logits less their mean over classes."""
    models, points, _, classes = predictions.shape
    scaled = np.empty((models, points, classes), dtype=np.float32)
    centred = np.empty_like(scaled)
    for chosen, block in predictions.blocks():
        identity = np.ascontiguousarray(block[:, :, 0]).reshape(-1, classes)
        scaled[:, chosen] = _core.scale_logits(identity, threads=threads).reshape(models, -1, classes)
        logits = np.clip(block.astype(np.float32), -LARGEST_LOGIT, LARGEST_LOGIT).mean(axis=2)
        centred[:, chosen] = logits - logits.mean(axis=-1, keepdims=True)
    return scaled, centred
