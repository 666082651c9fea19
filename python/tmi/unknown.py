"""A target whose membership nobody knows: which points it was trained on, and whether on any of them at all.

The shadow models play the target against one another, leave-one-out, so that one knows what non-members and members
score. The target's own scores are read against these. All of it rests on one assumption: to a model that has not been
trained on a point, it makes no difference whether the model is a shadow or the target. See
``docs/unknown-target.md``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from tmi.errors import TmiError
from tmi.metrics import Estimate, judge

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
SUSPECTED_POINTS = 120


@dataclass(frozen=True)
class Calls:
    """The points that are called members at a false positive rate.

    Attributes:
        called: how many.
        expected_false: how many there would be on average if none of the points were a member.
        threshold: points with a score above it are called; infinite where no score would be enough.
        tpr: the share of members that are called where shadows play the target.
        resolvable: False if there are too few non-members among the shadows' points for so small a rate: then no point
            is called, whatever its score.
    """

    called: int
    expected_false: float
    threshold: float
    tpr: Estimate
    resolvable: bool


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


def p_values(
    target_scores: NDArray[np.float64], shadow_scores: NDArray[np.float64], membership: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Each point's p-value of the hypothesis that the target was not trained on it.

    ``(1 + non-members with at least this score) / (1 + non-members)``, over the points of all shadows together: one
    threshold for all points, as everywhere in `tmi.metrics` (conformal p-values; Vovk, Gammerman and Shafer 2005).
    That non-members rarely have small ones holds on average over points, not at every single one.

    Args:
        target_scores: float64 ``[points]``, against all shadows; higher = member; without NaN, infinities are legal.
        shadow_scores: float64 ``[shadows, points]``, of each shadow against the others.
        membership: bool ``[shadows, points]``.

    Returns:
        float64 ``[points]``, in (0, 1]; small = member.

    Raises:
        TmiError: shapes or types do not fit, a score is NaN, or no shadow has a non-member.
    """
    _require(target_scores, shadow_scores, membership)
    non_members = np.sort(shadow_scores[~membership])
    as_high = len(non_members) - np.searchsorted(non_members, target_scores, side="left")
    p: NDArray[np.float64] = (1 + as_high) / (1 + len(non_members))
    return p


def calls(
    target_scores: NDArray[np.float64],
    shadow_scores: NDArray[np.float64],
    membership: NDArray[np.bool_],
    rate: float,
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    threads: int = 1,
) -> Calls:
    """Call the points members whose p-value is at most ``rate``.

    Args:
        target_scores: float64 ``[points]``, as in `p_values`.
        shadow_scores: float64 ``[shadows, points]``.
        membership: bool ``[shadows, points]``.
        rate: false positive rate, in (0, 1).
        resamples: bootstrap resamples behind the interval of the true positive rate, see `metrics.judge`.
        confidence: of the interval.
        seed: of the resamples.
        threads: for the kernels; never changes a figure.

    Raises:
        TmiError: as `p_values`; also if no shadow has a member, or the rate is not in (0, 1).
    """
    return _calls_at_rates(target_scores, shadow_scores, membership, [rate], resamples, confidence, seed, threads)[0]


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
    _require(target_scores, shadow_scores, membership)
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


def target_results(
    target_scores: Mapping[str, NDArray[np.float64]],
    shadow_scores: Mapping[str, NDArray[np.float64]],
    membership: NDArray[np.bool_],
    rates: Sequence[float],
    *,
    headline: str,
    name: str,
    fpr: float = 0.01,
    points: NDArray[np.int64] | None = None,
    labels: Sequence[str] | None = None,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    threads: int = 1,
) -> dict[str, Any]:
    """The table ``target`` of ``results.json``.

    JSON has no infinity: an infinite threshold or score is None. ``set_test`` is None where it cannot be computed.

    Args:
        target_scores: float64 ``[points]`` of each attack, as in `p_values`.
        shadow_scores: float64 ``[shadows, points]`` of the same attacks.
        membership: bool ``[shadows, points]``.
        rates: false positive rates at which points are called; ``fpr`` is added if it is not among them.
        headline: the attack that the list of suspected points is about.
        name: of the target.
        fpr: the false positive rate of that list.
        points: int64 ``[points]``, indices in the pool; None for 0, 1, 2, ...
        labels: what each point is called; None for nothing.
        resamples: as in `calls`, like the following.
        confidence: of the intervals of true positive rates.
        seed: of the resamples.
        threads: for the kernels.

    Raises:
        TmiError: as `calls`; also if the attacks of target and shadows differ, the headline is none of them, or
            ``points`` or ``labels`` are not one per point.
    """
    if set(target_scores) != set(shadow_scores) or headline not in target_scores:
        raise TmiError(
            f"target scores are of {', '.join(target_scores) or 'no attack'}, expected those of the shadow scores, "
            f"{', '.join(shadow_scores) or 'none'}, and among them the headline {headline}"
        )
    shadows, size = membership.shape if membership.ndim == 2 else (len(membership), -1)
    for what, values in (("points", points), ("labels", labels)):
        if values is not None and len(values) != size:
            raise TmiError(f"{what} hold {len(values)} entries, expected {size}, one per column of the membership")
    wanted = sorted({*rates, fpr})
    attacks: dict[str, Any] = {}
    for attack, scores in target_scores.items():
        called = _calls_at_rates(
            scores, shadow_scores[attack], membership, wanted, resamples, confidence, seed, threads
        )
        attacks[attack] = {
            "set_test": _set_test_or_none(scores, shadow_scores[attack], membership),
            "calls": {f"{rate:g}": _without_infinity(asdict(each)) for rate, each in zip(wanted, called, strict=True)},
        }
    p = p_values(target_scores[headline], shadow_scores[headline], membership)
    return {
        "name": name,
        "points": size,
        "shadows": shadows,
        "fpr": fpr,
        "attack": headline,
        "attacks": attacks,
        "most_suspected": [
            _without_infinity(
                {
                    "index": int(index),
                    "point": int(index if points is None else points[index]),
                    "score": float(target_scores[headline][index]),
                    "p_value": float(p[index]),
                    "called": bool(p[index] <= fpr),
                    "label": "" if labels is None else labels[index],
                }
            )
            for index in np.argsort(-target_scores[headline], kind="stable")[:SUSPECTED_POINTS]
        ],
    }


# ------------------------------------------------------------------------------------- calls


def _calls_at_rates(
    target_scores: NDArray[np.float64],
    shadow_scores: NDArray[np.float64],
    membership: NDArray[np.bool_],
    rates: Sequence[float],
    resamples: int,
    confidence: float,
    seed: int,
    threads: int,
) -> list[Calls]:
    """`calls` at several rates, on the same resamples."""
    _require(target_scores, shadow_scores, membership)
    if not all(0 < rate < 1 for rate in rates):
        raise TmiError(f"false positive rates are {', '.join(f'{rate:g}' for rate in rates)}, expected all in (0, 1)")
    if not membership.any():
        raise TmiError("membership holds no member of any shadow, expected members and non-members")
    non_members = np.sort(shadow_scores[~membership])[::-1]
    places = [_place_of_threshold(rate, len(non_members)) for rate in rates]
    # The true positive rate at a false positive rate between two steps is that of the threshold between them.
    steps = {place: (place - 0.5) / len(non_members) for place in places if place}
    judged = {}
    if steps:
        judgement = judge(
            shadow_scores,
            membership,
            list(steps.values()),
            resamples=resamples,
            confidence=confidence,
            seed=seed,
            threads=threads,
        )
        judged = {place: judgement.tpr_at_fpr[f"{step:g}"] for place, step in steps.items()}
    result = []
    for rate, place in zip(rates, places, strict=True):
        threshold = float(non_members[place - 1]) if place else np.inf
        result.append(
            Calls(
                called=int((target_scores > threshold).sum()),
                expected_false=rate * target_scores.size,
                threshold=threshold,
                tpr=replace(judged[place], resolvable=True) if place else Estimate(0.0, 0.0, 0.0, False),
                resolvable=place > 0,
            )
        )
    return result


def _place_of_threshold(rate: float, non_members: int) -> int:
    """Of the non-members, highest first, the place of the one that is the threshold; 0 if there is no such place.

    A score above the m-th highest has a p-value of at most ``m / (1 + non_members)``; this is the largest m for which
    that is at most ``rate``, in the same arithmetic as `p_values`.
    """
    return int((np.arange(1, non_members + 1) / (1 + non_members) <= rate).sum())


# ------------------------------------------------------------------------------------- the test of the set


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
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, size - 1)) * error
    statistic, p = (excess / error, float(stats.t.sf(excess / error, size - 1))) if error > 0 else (0.0, 1.0)
    return SetTest(p, statistic, size, excess, excess - half, excess + half)


def _set_test_or_none(
    target_scores: NDArray[np.float64], shadow_scores: NDArray[np.float64], membership: NDArray[np.bool_]
) -> dict[str, float] | None:
    try:
        return asdict(set_test(target_scores, shadow_scores, membership))
    except TmiError:
        return None


# ------------------------------------------------------------------------------------- checks


def _require(
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


def _without_infinity(table: dict[str, Any]) -> dict[str, Any]:
    """The same table with None for infinite numbers."""
    return {key: None if isinstance(value, float) and np.isinf(value) else value for key, value in table.items()}
