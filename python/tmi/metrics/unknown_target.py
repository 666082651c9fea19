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

from tmi.errors import TmiError
from tmi.metrics.bootstrap import USUAL, Bootstrap
from tmi.metrics.estimate import Estimate
from tmi.metrics.roc import judge
from tmi.metrics.set_test import require_scores, set_test

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


def p_values(
    target_scores: NDArray[np.float64], shadow_scores: NDArray[np.float64], membership: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Each point's p-value of the hypothesis that the target was not trained on it.

    ``(1 + non-members with at least this score) / (1 + non-members)``, over the points of all shadows together: one
    threshold for all points, as everywhere in `tmi.metrics.roc` (conformal p-values; Vovk, Gammerman and Shafer 2005).
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
    require_scores(target_scores, shadow_scores, membership)
    return conformal_p_values(target_scores, shadow_scores[~membership])


def conformal_p_values(scores: NDArray[np.float64], of_non_members: NDArray[np.float64]) -> NDArray[np.float64]:
    """``(1 + non-members with at least this score) / (1 + non-members)`` of every score, float64 ``[points]``."""
    ordered = np.sort(of_non_members)
    p: NDArray[np.float64] = (1 + len(ordered) - np.searchsorted(ordered, scores, side="left")) / (1 + len(ordered))
    return p


def calls(
    target_scores: NDArray[np.float64],
    shadow_scores: NDArray[np.float64],
    membership: NDArray[np.bool_],
    rate: float,
    bootstrap: Bootstrap = USUAL,
) -> Calls:
    """Call the points members whose p-value is at most ``rate``.

    Args:
        target_scores: float64 ``[points]``, as in `p_values`.
        shadow_scores: float64 ``[shadows, points]``.
        membership: bool ``[shadows, points]``.
        rate: false positive rate, in (0, 1).
        bootstrap: behind the interval of the true positive rate, see `tmi.metrics.roc.judge`.

    Raises:
        TmiError: as `p_values`; also if no shadow has a member, or the rate is not in (0, 1).
    """
    return _calls_at_rates(target_scores, shadow_scores, membership, [rate], bootstrap)[0]


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
    bootstrap: Bootstrap = USUAL,
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
        bootstrap: as in `calls`.

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
        called = _calls_at_rates(scores, shadow_scores[attack], membership, wanted, bootstrap)
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
    bootstrap: Bootstrap,
) -> list[Calls]:
    """`calls` at several rates, on the same resamples."""
    require_scores(target_scores, shadow_scores, membership)
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
            bootstrap,
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


def _set_test_or_none(
    target_scores: NDArray[np.float64], shadow_scores: NDArray[np.float64], membership: NDArray[np.bool_]
) -> dict[str, float] | None:
    try:
        return asdict(set_test(target_scores, shadow_scores, membership))
    except TmiError:
        return None


# ------------------------------------------------------------------------------------- checks


def _without_infinity(table: dict[str, Any]) -> dict[str, Any]:
    """The same table with None for infinite numbers."""
    return {key: None if isinstance(value, float) and np.isinf(value) else value for key, value in table.items()}
