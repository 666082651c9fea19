"""Does the membership belong to the predictions as they lie, or only when models or points are put in another order?

Rows that are shifted by one and a model that leaks nothing give the same scores. They differ in that another order of
the same membership fits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Shifts of models and points that are tried, either way.
FURTHEST = 32
# Classes that are looked at, those that vary most.
MOST_CLASSES = 20
# No class of a point decides alone; of the square of a difference in standard errors.
LARGEST_SQUARE = 25.0
# By how many deviations among other orders one has to fit better than the given one, and than most. 320 redrawn
# memberships of the golden answers (8 to 65 models, independent and balanced) came to 4.1 at most; a shift by one to 7
# and more with 8 models, 14 with 16, 41 with 65.
CERTAIN_LEAD = 6.0
# Few points and classes have heavier tails: of 750 draws of noise at 40 to 100 points by 3 to 10 classes, the largest
# lead was 7.1 with 160 of both (3.9 with 1,000). The lead asked for grows by so many over their product.
FEW_CELLS = 40.0


@dataclass(frozen=True)
class Alignment:
    """The order in which the membership fits best.

    Attributes:
        remedy: what puts the membership into that order, or what order it is; empty if it fits as it is given, or no
            order fits clearly better.
        lead: by how many deviations among all orders that one fits better than the given one and than most.
    """

    remedy: str
    lead: float


def find_order(logits: NDArray[np.float32], membership: NDArray[np.bool_], points: NDArray[np.int64]) -> Alignment:
    """Try the orders that mistakes lead to.

    How well a membership fits is the mean, over points and classes, of the squared difference between the answers of IN
    and OUT models in standard errors. That it is the square makes a membership and its opposite alike.

    Args:
        logits: ``[models, sampled points, augmentations, classes]``.
        membership: bool ``[models, points]``, of all points.
        points: int64 ``[sampled points]``, which points were sampled.
    """
    standard = _standardised(logits)
    sums = standard.sum(axis=0), (standard**2).sum(axis=0)
    given = membership[:, points]
    fits, remedies = [], []
    for remedy, other in _orders(membership, points):
        if not np.array_equal(other, given):
            fits.append(_fit(standard, sums, other))
            remedies.append(remedy)
    if not fits:
        return Alignment("", 0.0)
    best = int(np.argmax(fits))
    # Of the others, one or two are right if the given one is wrong: the median does not mind them.
    middle = float(np.median(fits))
    spread = 1.4826 * float(np.median(np.abs(np.array(fits) - middle)))
    lead = (fits[best] - max(middle, _fit(standard, sums, given))) / spread if spread > 0 else 0.0
    is_certain = lead >= CERTAIN_LEAD * (1 + FEW_CELLS / (standard.shape[1] * standard.shape[2]))
    return Alignment(remedies[best] if is_certain else "", lead)


def _orders(membership: NDArray[np.bool_], points: NDArray[np.int64]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """The membership at the sampled points in other orders, with what leads there."""
    models, every = membership.shape
    for shift in _shifts(models):
        yield f"numpy.roll(membership, {shift}, axis=0)", np.roll(membership, shift, axis=0)[:, points]
    for shift in _shifts(every):
        yield f"numpy.roll(membership, {shift}, axis=1)", membership[:, (points - shift) % every]
    yield "membership[::-1]", membership[::-1][:, points]
    yield "membership[:, ::-1]", membership[:, every - 1 - points]
    # Files that were listed as text: 0, 1, 10, 11, ..., 2, 20.
    as_text = np.array(sorted(range(models), key=str))
    yield "membership[sorted(range(models), key=str)]", membership[as_text][:, points]
    yield "membership[numpy.argsort(sorted(range(models), key=str))]", membership[np.argsort(as_text)][:, points]
    yield "membership.reshape(points, models).T", membership.reshape(every, models).T[:, points]
    yield "membership.T.reshape(models, points)", membership.T.reshape(models, every)[:, points]


def _shifts(length: int) -> list[int]:
    furthest = min(FURTHEST, length // 2)
    return [shift for shift in range(-furthest, furthest + 1) if shift not in (0, -length / 2)]


def _standardised(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean logits ``[models, points, classes]`` without what a point and what a model adds everywhere."""
    mean = logits.mean(axis=2, dtype=np.float64)
    mean -= mean.mean(axis=2, keepdims=True)
    if mean.shape[2] > MOST_CLASSES:
        varied = mean.var(axis=0).mean(axis=0)
        mean = mean[:, :, np.argsort(-varied, kind="stable")[:MOST_CLASSES]]
    mean -= mean.mean(axis=0)
    spread = mean.std(axis=0)
    mean = np.divide(mean, spread, out=np.zeros_like(mean), where=spread > 0)
    centred: NDArray[np.float64] = mean - mean.mean(axis=1, keepdims=True)
    return centred


def _fit(
    standard: NDArray[np.float64], sums: tuple[NDArray[np.float64], NDArray[np.float64]], membership: NDArray[np.bool_]
) -> float:
    """The mean squared difference between IN and OUT in standard errors, from the sums over models and of squares.

    Over points that two models have and two lack; 0 where there is none.
    """
    inside = membership.sum(axis=0)
    outside = len(membership) - inside
    usable = (inside > 1) & (outside > 1)
    if not usable.any():
        return 0.0
    of_members = np.einsum("mp,mpc->pc", membership.astype(np.float64), standard)[usable]
    total, squares, k, o = sums[0][usable], sums[1][usable], inside[usable, None], outside[usable, None]
    mean_in, mean_out = of_members / k, (total - of_members) / o
    variance = np.maximum(squares - k * mean_in**2 - o * mean_out**2, 0.0) / (len(membership) - 2)
    error = variance * (1 / k + 1 / o)
    square = np.divide((mean_in - mean_out) ** 2, error, out=np.zeros_like(error), where=error > 0)
    return float(np.minimum(square, LARGEST_SQUARE).mean())
