"""Does a target of unknown membership belong to its shadow models: the same points in the same order, the same units?

Whatever else differs, models of one kind agree about most points. A target whose points are in another order, or whose
classes are, agrees with the shadows no more than by chance; probabilities in place of logits have another scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tmi.predictions.intake import are_probabilities

# Fisher's z of the target's agreement relative to the lowest of a shadow. In the golden data every model has at least
# 0.87 when 8 or more others are its shadows, 0.74 with 4; with half of its points in another order it has 0.33 to 0.51,
# with all of them 0.04 at most (docs/unknown-target.md).
LEAST_AGREEMENT = 0.6
# Below so many standard errors shadows do not agree with one another, and nothing can be said about the target.
SOME_AGREEMENT = 5.0
# Factors between the spread of the target's logits and that of the shadow nearest to it: impossible, and remarkable.
# Models of the golden data have 0.88 to 1.15, probabilities 0.04 to 0.10.
LARGEST_FACTOR, REMARKABLE_FACTOR = 2.0, 1.25
# Correlations of 1 have no Fisher's z.
LARGEST_CORRELATION = 1 - 1e-9


@dataclass(frozen=True)
class Belonging:
    """How the target compares with the shadows.

    Attributes:
        agreement: correlation of the target's logits with the mean of the OUT shadows, classes centred.
        lowest_agreement: the lowest such correlation of a shadow with the others, at points that it does not have;
            None if shadows do not agree, or there are too few.
        top_classes: share of shadows that hold the target's top class most likely, mean over points.
        shadows_top_classes: the same of the shadows with one another.
        factor: between the spread of the target's logits and that of the nearest shadow; 1 within their range.
        is_probabilities: whether the target's answers are probabilities and those of the shadows are not.
    """

    agreement: float
    lowest_agreement: float | None
    top_classes: float
    shadows_top_classes: float
    factor: float
    is_probabilities: bool

    @property
    def is_disordered(self) -> bool:
        """Whether points or classes can hardly be in the order of the shadows."""
        if self.lowest_agreement is None:
            return False
        return bool(_fisher(self.agreement) < LEAST_AGREEMENT * _fisher(self.lowest_agreement))


def belonging(target: NDArray[np.float32], shadows: NDArray[np.float32], membership: NDArray[np.bool_]) -> Belonging:
    """Compare a target with its shadows.

    Args:
        target: logits ``[points, augmentations, classes]``, finite.
        shadows: logits ``[shadows, points, augmentations, classes]``, finite.
        membership: bool ``[shadows, points]``.
    """
    of_target, of_shadows = _centred(target), _centred(shadows)
    out = ~membership
    total, count = np.where(out[..., None], of_shadows, 0.0).sum(axis=0), out.sum(axis=0)
    agreements = [
        _correlation(own[known], (total - own * mask[:, None])[known] / (count - mask)[known, None])
        for own, mask in zip(of_shadows, out, strict=True)
        if (known := mask & (count > 1)).sum() > 2
    ]
    known = count > 0
    points = int(known.sum())
    agreement = _correlation(of_target[known], total[known] / count[known, None]) if points > 2 else 0.0
    lowest = min(agreements, default=0.0)
    agree = _fisher(lowest) * np.sqrt(points) > SOME_AGREEMENT
    tops = of_shadows.argmax(axis=2)
    votes = np.stack([(tops == label).sum(axis=0) for label in range(shadows.shape[-1])], axis=1)
    number = len(shadows)
    spreads, spread = of_shadows.std(axis=(1, 2)), float(of_target.std())
    smallest, largest = float(spreads.min()), float(spreads.max())
    nearest = min(max(spread, smallest), largest)
    return Belonging(
        agreement,
        lowest if agree else None,
        float(votes[np.arange(len(votes)), of_target.argmax(axis=1)].mean()) / number,
        float((votes * (votes - 1)).sum(axis=1).mean()) / (number * (number - 1)),
        1.0 if spread == nearest else spread / nearest if nearest > 0 else np.inf,
        are_probabilities(target) and not are_probabilities(shadows),
    )


def _centred(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean logits over queries ``[..., points, classes]``, minus their mean over classes, which says nothing."""
    mean = logits.mean(axis=-2, dtype=np.float64)
    centred: NDArray[np.float64] = mean - mean.mean(axis=-1, keepdims=True)
    return centred


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Over points and classes, each class centred, so that a class that is likely everywhere is no agreement."""
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    scale = np.sqrt((a**2).sum() * (b**2).sum())
    return float((a * b).sum() / scale) if scale > 0 else 0.0


def _fisher(correlation: float) -> float:
    return float(np.arctanh(np.clip(correlation, -LARGEST_CORRELATION, LARGEST_CORRELATION)))
