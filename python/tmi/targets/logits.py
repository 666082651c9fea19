"""What a target's numbers mean, turned into logits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmi.config.target import Meaning
from tmi.errors import TmiError
from tmi.predictions.views import View

# The floor of the views' probabilities: the logarithm of the smallest one.
SMALLEST_LOGARITHM = -87.0


def as_logits(values: NDArray[Any], meaning: Meaning, classes: int, where: str) -> NDArray[np.float32]:
    """Logits of some answers.

    Probabilities become their logarithms, at least -87, as in the view ``probabilities``; they are not scaled, since
    every attack that needs probabilities takes the softmax. A label becomes what the view ``label`` shows of it.

    Args:
        values: ``[answers, classes]``, or ``[answers, 1]`` indices of classes where ``meaning`` is ``label``.
        meaning: what the values are.
        classes: of the task.
        where: what an error message starts with.

    Returns:
        ``[answers, classes]``.

    Raises:
        TmiError: NaN, a number that cannot be what it is said to mean, or a label that no class has.
    """
    if np.isnan(values).any():
        raise TmiError(f"{where}: an answer has NaN in it, expected a number for every class")
    if meaning == "label":
        return _labels_seen(values[:, 0], classes, where)
    if meaning == "logits":
        with np.errstate(over="ignore"):
            logits = values.astype(np.float32)
        if not np.isfinite(logits).all():
            raise TmiError(f"{where}: an answer has an infinite logit in it, expected finite numbers of float32")
        return logits
    probabilities = values
    if meaning == "log-probabilities":
        with np.errstate(over="ignore"):
            probabilities = np.exp(values.astype(np.float64))
    _check_probabilities(probabilities, meaning, where)
    if meaning == "probabilities":
        values = np.log(np.maximum(values.astype(np.float64), math.exp(SMALLEST_LOGARITHM)))
    logarithms: NDArray[np.float32] = np.maximum(values, SMALLEST_LOGARITHM).astype(np.float32)
    return logarithms


def _check_probabilities(probabilities: NDArray[Any], meaning: Meaning, where: str) -> None:
    outside = probabilities[(probabilities < 0) | (probabilities > 1.001)]
    if outside.size:
        raise TmiError(
            f"{where}: an answer has the probability {outside[0]:g}, expected 0 to 1 (target.meaning is {meaning!r})"
        )
    # Rounded probabilities add up to a little more or less.
    classes = probabilities.shape[1]
    sums = probabilities.sum(axis=1)
    off = np.abs(sums - 1) > min(0.25, max(0.01, 0.01 * classes))
    if off.any():
        raise TmiError(
            f"{where}: the probabilities of an answer add up to {sums[off][0]:.4g}, expected 1, over all "
            f"{classes} classes (target.meaning is {meaning!r})"
        )


def _labels_seen(labels: NDArray[Any], classes: int, where: str) -> NDArray[np.float32]:
    wrong = labels[(labels != np.floor(labels)) | (labels < 0) | (labels >= classes)]
    if wrong.size:
        raise TmiError(f"{where}: an answer is the label {wrong[0]:g}, expected 0 to {classes - 1}")
    seen: NDArray[np.float32] = View.parse("label").apply(np.eye(classes, dtype=np.float32))
    answers: NDArray[np.float32] = seen[labels.astype(np.int64)]
    return answers
