"""LiRA, the likelihood ratio attack on one confidence per query, and what the TMI paper makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

from tmi import _core
from tmi.attacks.confidences import confidences, in_parts, of_whole_texts
from tmi.attacks.registry import Attack, Needs, register
from tmi.errors import TmiError, did_you_mean
from tmi.predictions.attack_input import AttackInput, neutral

Location: TypeAlias = Literal["mean", "median"]
OnlineVariance: TypeAlias = Literal["global", "per-point", "per-point-in-out", "spherical", "full", "pooled"]
OfflineVariance: TypeAlias = Literal["global", "per-point"]

# No variance is below this share of that of all shadows at the point, nor below the second number: IN or OUT shadows
# that agree to the last bit would otherwise make any other answer infinitely unlikely.
LEAST_SHARE = 1e-6
LEAST_VARIANCE = 1e-9
LOG_ROOT_TWO_PI = np.log(np.sqrt(2 * np.pi))


def _require(option: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise TmiError(f"the {option} of LiRA is {value!r}{did_you_mean(value, list(known))}")


class _AdaptedLira(Attack):
    """LiRA as the TMI paper uses it where points have no label among the downstream classes.

    The answer is, for each augmentation, the scaled logit of the class that the target itself holds most likely.
    """

    source = "Abascal et al. 2024, section 5, adapted from Carlini et al. 2022"
    point_by_point = True
    covariance: Literal["full", "pooled", "diagonal"]

    def score(self, answers: AttackInput, targets: Sequence[int]) -> NDArray[np.float64]:
        """Log N(answer | IN) - log N(answer | OUT), the answer being one scaled logit per augmentation."""
        wanted = np.asarray(targets, dtype=np.int64)
        scores = np.empty((len(wanted), answers.membership.shape[1]))
        for points, block in of_whole_texts(answers.predictions).blocks():
            scores[:, points] = _core.adapted_lira(
                block, answers.membership[:, points], wanted, covariance=self.covariance, threads=answers.threads
            )
        return scores


@register
class AdaptedLira(_AdaptedLira):
    """The baseline of the TMI paper: a full covariance over augmentations for each side."""

    name = "adapted-lira"
    summary = "LiRA on the confidence of the target's own top class, full covariance over augmentations"
    default = 50
    default_with = Needs.TOP_CLASS
    covariance = "full"


@register
class AdaptedLiraPooled(_AdaptedLira):
    """One covariance for both sides, shrunk to a multiple of the identity: fewer numbers to learn from few shadows."""

    name = "adapted-lira-pooled"
    summary = "adapted-lira with one shrunken covariance for IN and OUT shadows"
    covariance = "pooled"


@register
class AdaptedLiraDiagonal(_AdaptedLira):
    """A variance per augmentation for each side, augmentations taken as independent."""

    name = "adapted-lira-diagonal"
    summary = "adapted-lira with variances only, augmentations taken as independent"
    covariance = "diagonal"


@register
class LiraOnline(Attack):
    """LiRA with IN and OUT shadows: the log-likelihood ratio of the target's confidences.

    A Gaussian each is fitted to the IN and the OUT shadows' confidences of each query of a point; queries are taken as
    independent, so their log-ratios add up, unless the variance is "full" or "pooled".

    Args:
        variance: "global", one variance per side over all points and shadows, which the paper recommends below 64
            shadows; "per-point", one per point and query from both sides; "per-point-in-out", one per point, query and
            side (``fix_variance=False`` in its code, whose ``fix_variance=True`` takes the IN variance for both sides);
            "spherical", one per point and side for all queries, as the paper says of several queries. Where there are
            too few shadows for these three, the variance of all shadows at the point stands in. "full" and "pooled":
            the covariance of the queries at the point, as in `AdaptedLira` and `AdaptedLiraPooled`.
        location: "mean" as in the paper's algorithm, or "median" as in its code; the mean where queries covary.

    Raises:
        TmiError: no such variance or location.
    """

    name = "lira-online"
    summary = "LiRA: likelihood ratio of one class's confidence, queries taken as independent"
    default = 70
    default_with = Needs.LABELS
    source = "Carlini et al. 2022, algorithm 1"
    labelled = True

    def __init__(self, variance: OnlineVariance = "global", location: Location = "mean") -> None:
        _require("variance", variance, get_args(OnlineVariance))
        _require("location", location, get_args(Location))
        self.variance = variance
        self.location = location
        # A global variance depends on the answers about all points.
        self.point_by_point = variance != "global"

    def score(self, answers: AttackInput, targets: Sequence[int]) -> NDArray[np.float64]:
        """The log-likelihood ratio, 0 where no IN or no OUT shadow is left."""
        return np.stack([self._score_target(answers, target) for target in targets])

    def _score_target(self, answers: AttackInput, target: int) -> NDArray[np.float64]:
        if self.variance == "full" or self.variance == "pooled":
            confidence = confidences(answers, target)
            # As logits of two classes, whose scaled logits are plus and minus the confidence. The kernel takes either,
            # for all models the same, and the sign of a coordinate is nothing to a likelihood ratio.
            two = np.stack([confidence, np.zeros_like(confidence)], axis=-1).astype(np.float32)
            ratio = _core.adapted_lira(
                two, answers.membership, np.array([target]), covariance=self.variance, threads=answers.threads
            )
            return np.asarray(ratio[0])
        parts = in_parts(answers)

        @lru_cache(maxsize=1)  # a global variance is known once all parts were looked at, and one part is kept
        def compared(number: int) -> tuple[NDArray[np.float64], list[_Side]]:
            confidence = confidences(parts[number], target)
            shadows = np.delete(confidence, target, axis=0)
            members = np.delete(parts[number].membership, target, axis=0)
            everyone = (members, ~members, np.ones_like(members))
            return confidence[target], [_Side(shadows, chosen, self.location) for chosen in everyone]

        deviations: list[NDArray[np.float64]] = []
        if self.variance == "global":
            moments = [[side.moments() for side in compared(number)[1][:2]] for number in range(len(parts))]
            deviations = [np.sqrt(np.array(_global_variance(side))) for side in zip(*moments, strict=True)]
        ratios = []
        for number in range(len(parts)):
            confidence, (in_, out, everyone) = compared(number)
            inside, outside = deviations or _deviations([in_, out], everyone, self.variance)
            ratio = _log_density(confidence, in_.centre, inside)
            ratio -= _log_density(confidence, out.centre, outside)
            ratios.append(ratio.sum(axis=-1))
        return np.where(neutral(answers.membership, [target])[0], 0.0, np.concatenate(ratios))


@register
class LiraOffline(Attack):
    """LiRA without IN shadows: how surely the target's confidences are above those of the OUT shadows.

    The score is ``log(1 - Pr[Z > confidence])`` for ``Z`` from the Gaussian fitted to the OUT shadows, added up over
    the queries of a point. It takes for granted that members are answered with more confidence. Points that are in no
    shadow's pretraining set are scored as well: they are what this attack is for.

    Args:
        variance: "global" or "per-point", as for `LiraOnline`, of the OUT shadows.
        location: "mean" or "median".

    Raises:
        TmiError: no such variance or location.
    """

    name = "lira-offline"
    summary = "LiRA from OUT shadows alone: is the target surer than they are?"
    default = 80
    default_with = Needs.LABELS
    source = "Carlini et al. 2022, section IV, offline attack"
    labelled = True

    def __init__(self, variance: OfflineVariance = "global", location: Location = "mean") -> None:
        _require("variance", variance, get_args(OfflineVariance))
        _require("location", location, get_args(Location))
        self.variance = variance
        self.location = location
        self.point_by_point = variance != "global"

    def score(self, answers: AttackInput, targets: Sequence[int]) -> NDArray[np.float64]:
        """The log of one minus the p-value; that of the middle where too few OUT shadows are left for a variance."""
        return np.stack([self._score_target(answers, target) for target in targets])

    def _score_target(self, answers: AttackInput, target: int) -> NDArray[np.float64]:
        parts = in_parts(answers)

        @lru_cache(maxsize=1)
        def compared(number: int) -> tuple[NDArray[np.float64], _Side]:
            confidence = confidences(parts[number], target)
            outsiders = ~np.delete(parts[number].membership, target, axis=0)
            return confidence[target], _Side(np.delete(confidence, target, axis=0), outsiders, self.location)

        everywhere = LEAST_VARIANCE
        if self.variance == "global":
            everywhere = _global_variance([compared(number)[1].moments() for number in range(len(parts))])
        scores = []
        for number in range(len(parts)):
            confidence, out = compared(number)
            if self.variance == "global":
                is_known, variance = out.count >= 1, np.array(everywhere)
            else:
                is_known, variance = out.count >= 2, np.maximum(out.variance(), LEAST_VARIANCE)
            distance = np.where(is_known, confidence - out.centre, 0.0)
            scores.append(log_ndtr(distance / np.sqrt(variance)).sum(axis=-1))
        return np.concatenate(scores)


class _Side:
    """The confidences of the IN or of the OUT shadows.

    Args:
        confidence: float64 ``[shadows, points, augmentations]``.
        chosen: bool ``[shadows, points]``, the shadows of this side.
        location: how their centre is estimated.

    Attributes:
        count: int64 ``[points, 1]``, shadows of this side.
        centre: float64 ``[points, augmentations]``; 0 where there are none.
    """

    def __init__(self, confidence: NDArray[np.float64], chosen: NDArray[np.bool_], location: Location) -> None:
        self._confidence = confidence
        self._chosen = chosen[..., None]
        self.count = chosen.sum(axis=0)[:, None]
        self._mean = np.where(self._chosen, confidence, 0.0).sum(axis=0) / np.maximum(self.count, 1)
        self.centre = self._mean if location == "mean" else self._median()

    def squares(self) -> NDArray[np.float64]:
        """The sum of squared deviations from the mean, ``[points, augmentations]``."""
        squares: NDArray[np.float64] = (np.where(self._chosen, self._confidence - self._mean, 0.0) ** 2).sum(axis=0)
        return squares

    def moments(self) -> tuple[int, float, float]:
        """Number, mean and variance of the confidences of all points, shadows and augmentations together."""
        everything = self._confidence[np.broadcast_to(self._chosen, self._confidence.shape)]
        return (
            (everything.size, float(everything.mean()), float(everything.var())) if everything.size else (0, 0.0, 0.0)
        )

    def variance(self) -> NDArray[np.float64]:
        """The variance ``[points, augmentations]``, divisor n as in the paper's code; 0 of fewer than two shadows."""
        variance: NDArray[np.float64] = self.squares() / np.maximum(self.count, 1)
        return variance

    def _median(self) -> NDArray[np.float64]:
        """The median ``[points, augmentations]`` of the shadows of this side."""
        ordered = np.sort(np.where(self._chosen, self._confidence, np.inf), axis=0)
        lower, upper = (self.count - 1) // 2, self.count // 2
        middle = [np.take_along_axis(ordered, np.maximum(index, 0)[None], axis=0)[0] for index in (lower, upper)]
        return np.where(self.count > 0, (middle[0] + middle[1]) / 2, 0.0)


def _log_density(
    x: NDArray[np.float64], centre: NDArray[np.float64], deviation: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Of a Gaussian."""
    density: NDArray[np.float64] = -(((x - centre) / deviation) ** 2) / 2 - LOG_ROOT_TWO_PI - np.log(deviation)
    return density


def _global_variance(moments: Sequence[tuple[int, float, float]]) -> float:
    """The variance over all points, shadows and augmentations together, as in the paper's code, from those of parts."""
    sizes, means, variances = np.array(moments).T
    if not sizes.any():
        return LEAST_VARIANCE
    shares = sizes / sizes.sum()
    return max(float(shares @ (variances + (means - shares @ means) ** 2)), LEAST_VARIANCE)


def _deviations(sides: Sequence[_Side], everyone: _Side, variance: OnlineVariance) -> list[NDArray[np.float64]]:
    """Standard deviations of each side, ``[points, augmentations]`` or one number.

    Args:
        sides: the IN and the OUT shadows.
        everyone: all of them, whose variance stands in where a side has none of its own.
        variance: how it is estimated, not over all points.
    """
    overall = everyone.variance()
    least = np.maximum(LEAST_SHARE * overall, LEAST_VARIANCE)
    if variance == "spherical":
        estimates = [np.where(side.count >= 2, side.variance(), overall).mean(axis=-1, keepdims=True) for side in sides]
    elif variance == "per-point":
        freedom = everyone.count - len(sides)
        pooled = sum((side.squares() for side in sides), start=np.zeros(overall.shape)) / np.maximum(freedom, 1)
        estimates = [np.where(freedom >= 1, pooled, overall)] * 2
    else:
        estimates = [np.where(side.count >= 2, side.variance(), overall) for side in sides]
    return [np.sqrt(np.maximum(estimate, least)) for estimate in estimates]
