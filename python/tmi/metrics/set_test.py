"""Whether a target was trained on any of the points at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from tmi.errors import TmiError
from tmi.system.seeding import stream

# The interval of the set test's excess.
CONFIDENCE = 0.95


# With fewer, the spread between models is anybody's guess.
LEAST_SHADOWS = 3


# Observations that the common variance counts for beside a point's own: with K shadows the point's own has K - 1.
PRIOR_WEIGHT = 8.0


# Standardised scores are cut off here, so that no point decides alone about its model.
LARGEST_DEVIATION = 5.0


# A spread below this, in units of the standard normal distribution, is rounding.
LEAST_SPREAD = 1e-6


@dataclass(frozen=True)
class ShuffledSetTest:
    """Whether points, as a set, hold members at all, as told by known non-members instead of shadow models.

    Attributes:
        p_value: one-sided, of the null hypothesis that the target was trained on none of the points.
        mean_excess: their mean score minus that of the non-members of the same label, mean over labels.
        shuffles: behind the p-value, which is at least ``1 / (1 + shuffles)``.
    """

    p_value: float
    mean_excess: float
    shuffles: int


@dataclass(frozen=True)
class SetTest:
    """Whether the points, as a set, hold members at all.

    Attributes:
        p_value: one-sided, of the null hypothesis that the target was trained on none of the points.
        statistic: the excess in standard errors of its prediction; Student's t with ``shadows - 1`` degrees of freedom
            under the null hypothesis.
        shadows: shadow models behind it.
        mean_excess: the target's mean standardised score minus that of the shadows on points they do not have.
        low: lower end of the 95% interval of the excess over a model that has none of the points.
        high: its upper end.
    """

    p_value: float
    statistic: float
    shadows: int
    mean_excess: float
    low: float
    high: float


def set_test(
    target_scores: NDArray[np.float64], shadow_scores: NDArray[np.float64], membership: NDArray[np.bool_]
) -> SetTest:
    """Test whether the target was trained on any of the points (as dataset inference: Maini et al. 2021, ICLR).

    Points of one model are not independent, but models are, so a model's mean over points is one observation. At each
    point a score is compared with the scores of the other shadows that do not have the point either. A shadow's mean
    over the points that it does not have is a draw of what a model gives that has none of them; the target's mean over
    all points is compared with the prediction interval of one more draw (Student's t; the variance between models).
    Shadows average over fewer points than the target and so spread a little more, which errs towards a large p-value.

    Args:
        target_scores: float64 ``[points]``, as in `p_values`.
        shadow_scores: float64 ``[shadows, points]``.
        membership: bool ``[shadows, points]``.

    Raises:
        TmiError: as `p_values`; also if fewer than three shadows have points that neither they nor two others have.
    """
    require_scores(target_scores, shadow_scores, membership)
    out = ~membership
    # With two others at least: one alone says nothing about a spread.
    used = out & (out.sum(axis=0) > 2)
    draws = used.any(axis=1)
    shadows = int(draws.sum())
    if shadows < LEAST_SHADOWS:
        raise TmiError(
            f"membership gives {shadows} shadows with a point that neither they nor at least two others are trained "
            f"on, expected at least {LEAST_SHADOWS} for a test of the set"
        )
    common = _on_one_scale(np.vstack([target_scores, shadow_scores]), shadow_scores[out])
    deviations = _deviations(common[1:], common[0], used)
    means = np.array([deviations[1 + shadow, used[shadow]].mean() for shadow in np.flatnonzero(draws)])
    return _prediction_test(float(deviations[0, used.any(axis=0)].mean()), means)


def shuffled_set_test(
    scores: NDArray[np.float64], candidates: NDArray[np.bool_], labels: NDArray[np.int64], shuffles: int, seed: int
) -> ShuffledSetTest:
    """Test whether the target was trained on any of the candidates, the other points being known non-members.

    If it was on none, which of the points of a label are candidates tells nothing about their scores, and all ways to
    say it are equally likely (Fisher's permutation test, within labels). That is exact whatever the scores depend on,
    each other included, as long as they do not know who is a candidate. Labels without candidates, or without
    non-members, say nothing.

    Args:
        scores: float64 ``[points]``, higher = member, finite.
        candidates: bool ``[points]``.
        labels: int64 ``[points]``.
        shuffles: how many ways are drawn, at least 1.
        seed: of the draws.

    Raises:
        TmiError: no label has both candidates and non-members.
    """
    _, which, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    asked = np.bincount(which, candidates)
    weight = float((asked * (sizes - asked) / sizes).sum())
    if weight == 0:
        raise TmiError("no label has both candidates and known non-members, expected one for a test of the set")
    centred = scores - (np.bincount(which, scores) / sizes)[which]
    # Points by label; of each label the first so many are the candidates.
    by_label = np.sort(which)
    place = np.arange(len(which)) - np.searchsorted(by_label, by_label)
    first = place < asked[by_label]
    random = stream(seed, "shuffled set test")
    sums = np.array([centred[np.lexsort((random.random(len(which)), which))[first]].sum() for _ in range(shuffles)])
    found = float(centred[candidates].sum())
    # The same points in another order are the same way, whatever rounding makes of their sum.
    as_high = sums >= found - 1e-9 * float(np.abs(centred).sum())
    return ShuffledSetTest(float((1 + as_high.sum()) / (1 + shuffles)), found / weight, shuffles)


def _on_one_scale(scores: NDArray[np.float64], non_members: NDArray[np.float64]) -> NDArray[np.float64]:
    """The normal quantile of each score's place among the non-members: any scale, outliers and infinities are fine.

    Ties count one half, so that equal scores of all models stay equal and say nothing.
    """
    ordered = np.sort(non_members)
    below = np.searchsorted(ordered, scores, side="left") + np.searchsorted(ordered, scores, side="right")
    places: NDArray[np.float64] = special.ndtri((below / 2 + 0.5) / (len(ordered) + 1))
    return places


def _deviations(
    shadows: NDArray[np.float64], target: NDArray[np.float64], used: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Scores standardised by those of *other* shadows that do not have the point, ``[1 + shadows, points]``.

    Row 0 is the target, to which all shadows are other ones; a shadow's row counts where ``used`` only. Variances are
    shrunken towards their mean over points, since few shadows determine them badly.
    """
    own = np.where(used, shadows, 0.0)
    # Row 0 takes nothing away from the sums over all shadows, row s takes shadow s.
    taken = np.vstack([np.zeros_like(target), own])
    count = used.sum(axis=0) - np.vstack([np.zeros_like(used[:1]), used])
    mean = (own.sum(axis=0) - taken) / np.maximum(count, 1)
    squares = np.maximum((own**2).sum(axis=0) - taken**2 - count * mean**2, 0.0)
    freedom = np.maximum(count - 1, 0)
    # Summed over shadows and points that count: the same common variance for everyone, target and shadows.
    everyone = used.any(axis=0)
    common = squares[0, everyone].sum() / freedom[0, everyone].sum()
    scale = np.sqrt((squares + PRIOR_WEIGHT * common) / (freedom + PRIOR_WEIGHT))
    centred = np.vstack([target, shadows]) - mean
    standardised = np.divide(centred, scale, out=np.zeros_like(centred), where=scale > LEAST_SPREAD)
    clipped: NDArray[np.float64] = np.clip(standardised, -LARGEST_DEVIATION, LARGEST_DEVIATION)
    return clipped


def _prediction_test(target: float, shadows: NDArray[np.float64]) -> SetTest:
    """Whether one more draw from where the shadows' means come from would be as high as the target's.

    Where the shadows' means do not vary at all they say nothing about the target: the p-value is 1.
    """
    size = len(shadows)
    excess = target - float(shadows.mean())
    error = float(shadows.std(ddof=1)) * np.sqrt(1 + 1 / size)
    half = float(special.stdtrit(size - 1, (1 + CONFIDENCE) / 2)) * error
    statistic, p = (excess / error, float(special.stdtr(size - 1, -excess / error))) if error > 0 else (0.0, 1.0)
    return SetTest(p, statistic, size, excess, excess - half, excess + half)


def require_scores(
    target_scores: NDArray[np.float64], shadow_scores: NDArray[np.float64], membership: NDArray[np.bool_]
) -> None:
    """Raise TmiError unless the three arrays fit one another and hold what the figures need."""
    if membership.dtype != np.bool_ or membership.ndim != 2 or 0 in membership.shape:
        raise TmiError(
            f"membership of the shadows has type {membership.dtype} and shape {membership.shape}, "
            "expected bool [shadows, points] with at least one of each"
        )
    shapes = {
        "target scores": (target_scores, membership.shape[1:]),
        "shadow scores": (shadow_scores, membership.shape),
    }
    for what, (scores, shape) in shapes.items():
        if scores.dtype != np.float64 or scores.shape != shape:
            raise TmiError(
                f"{what} have type {scores.dtype} and shape {scores.shape}, expected float64 {shape}, "
                f"as the membership of the shadows has shape {membership.shape}"
            )
        if np.isnan(scores).any():
            raise TmiError(f"{what} hold {int(np.isnan(scores).sum())} NaN, expected none")
    if membership.all():
        raise TmiError("membership holds no non-member of any shadow, expected members and non-members")
