"""What of every model's answers at a point its answers at the other points do not explain.

Shadow models differ in much that has nothing to do with one point: initialisation, order of the data, the other half of
their pool. That shows in their answers everywhere, so a model's answers at other points predict its answers at this
one, and what they leave over is where the membership of the point itself stands out. The prediction is a kernel
smoother over models with closed-form leave-one-model-out residuals (`_core.condition`). It knows no membership and
treats all models alike, so one pass serves every target.

It needs the target's answers at the other points, not their membership.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tmi import _core
from tmi.attacks.features.profiles import profiles
from tmi.predictions.arrays import Predictions

# Points count by the fourth power of their correlation: the nearest few decide, and no number of them is fixed.
CORRELATION_POWER = 4
# Penalty of the regression, relative to the unit variance of the standardised answers.
PENALTY = 1.0
# Standard deviations over models are at least this share of the overall one, and never below what float32 resolves.
LEAST_DEVIATION = 0.02
RESOLUTION = 1e-6
# As in the kernels: infinite logits are as good as these.
LARGEST_LOGIT = 1e4


@dataclass(frozen=True)
class Conditioned:
    """Raw and conditioned answers.

    Attributes:
        raw: float32 ``[models, points, classes]`` of the representations that are not conditioned, standardised:
            ``scaled``, ``clipped`` and, where there are augmentations, ``contrast``; those of ``further``.
        residuals: float32 ``[models, points, classes]`` of each representation: ``identity`` (scaled logits of the
            point itself), ``centred`` (mean logits), ``clipped`` (mean clipped scaled logits) and, where there are
            augmentations, ``contrast`` (the point itself minus the mean of its augmentations); those of ``further``.
        inverses: float32 ``[points, models, models]``, the matrices behind them.
        neighbours: float32 ``[points, points]``, how alike the other points are; rows sum to 1.
    """

    raw: dict[str, NDArray[np.float32]]
    residuals: dict[str, NDArray[np.float32]]
    inverses: NDArray[np.float32]
    neighbours: NDArray[np.float32]


def condition_answers(
    predictions: Predictions, further: Mapping[str, NDArray[np.float32]] | None = None, threads: int = 1
) -> Conditioned:
    """Condition all models' answers at every point on their answers at other points.

    Args:
        predictions: at the points.
        further: what else is made of the answers, float32 ``[models, points, values]`` each, by name.
        threads: for the kernels; never changes a result.
    """
    scaled, centred = _read(predictions, threads)
    x = _representations(scaled, centred, profiles(predictions, threads).clipped)
    x |= {name: standardised(values) for name, values in (further or {}).items()}
    raw = {"scaled": standardised(scaled.mean(axis=2))} | {
        name: x[name] for name in ("clipped", "contrast", *(further or {})) if name in x
    }
    likeness = _likeness(standardised(centred.mean(axis=2)))
    np.fill_diagonal(likeness, 0)
    neighbours = _rows_to_one(likeness)
    stacked = np.concatenate(list(x.values()), axis=-1)
    regressors = _regressors(scaled, centred)
    residuals, inverses = _core.condition(stacked, regressors, neighbours, penalty=PENALTY, threads=threads)
    widths = [values.shape[-1] for values in x.values()]
    parts = np.split(residuals, np.cumsum(widths)[:-1], axis=-1)
    return Conditioned(raw, dict(zip(x, parts, strict=True)), inverses, neighbours)


def standardised(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Every entry of ``x`` ``[models, ...]`` with mean 0 and deviation 1 over the models."""
    deviation = x.std(axis=0, ddof=1)
    # An entry that all models agree on stays small instead of becoming noise of size one.
    floor = max(LEAST_DEVIATION * float(x.std()), RESOLUTION)
    result: NDArray[np.float32] = (x - x.mean(axis=0)) / np.maximum(deviation, np.float32(floor))
    # What all models agree on differs from its own mean by rounding, which later steps would take for an answer.
    result[:, (x == x[0]).all(axis=0)] = 0.0
    return result


def _read(predictions: Predictions, threads: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scaled logits, and raw logits minus their mean over classes, ``[models, points, augmentations, classes]``."""
    scaled = np.empty(predictions.shape, dtype=np.float32)
    centred = np.empty_like(scaled)
    for chosen, block in predictions.blocks():
        scaled[:, chosen] = predictions.log_odds(block, threads=threads)
        logits = np.clip(block.astype(np.float32), -LARGEST_LOGIT, LARGEST_LOGIT)
        centred[:, chosen] = logits - logits.mean(axis=-1, keepdims=True)
    return scaled, centred


def _representations(
    scaled: NDArray[np.float32], centred: NDArray[np.float32], clipped: NDArray[np.float32]
) -> dict[str, NDArray[np.float32]]:
    """The answers that are conditioned, standardised."""
    identity = scaled[:, :, 0]
    x = {"identity": identity, "centred": centred.mean(axis=2), "clipped": clipped}
    if scaled.shape[2] > 1:
        x["contrast"] = identity - scaled[:, :, 1:].mean(axis=2)
    return {name: standardised(values) for name, values in x.items()}


def _regressors(scaled: NDArray[np.float32], centred: NDArray[np.float32]) -> NDArray[np.float32]:
    """All answers about each point, standardised, ``[models, points, 2 x augmentations x classes]``."""
    models, points = scaled.shape[:2]
    parts = [standardised(part).reshape(models, points, -1) for part in (scaled, centred)]
    return np.concatenate(parts, axis=-1)


def _likeness(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """A power of the correlation over models and classes between points, ``[points, points]``."""
    rows = x.transpose(1, 0, 2).reshape(x.shape[1], -1)
    correlation = rows @ rows.T / np.float32(rows.shape[1])
    likeness: NDArray[np.float32] = np.maximum(correlation, 0) ** CORRELATION_POWER
    return likeness


def _rows_to_one(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows scaled to sum 1; a row of zeros, a point like no other, stays zero."""
    sums = weights.sum(axis=1, keepdims=True)
    rows = np.zeros_like(weights)
    np.divide(weights, sums, out=rows, where=sums > 0)
    return rows
