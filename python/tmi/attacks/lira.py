"""LiRA, the likelihood ratio attack on one confidence per query, and what the TMI paper makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

from tmi import _core
from tmi.attacks.confidences import asking_alike, confidences, in_parts, of_whole_texts
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
        scores = np.concatenate([self._score_alike(answers, alike) for alike in asking_alike(answers, targets)])
        return np.where(neutral(answers.membership, targets), 0.0, scores)

    def _score_alike(self, answers: AttackInput, targets: Sequence[int]) -> NDArray[np.float64]:
        """Scores ``[targets, points]`` of targets whose confidences are about the same classes."""
        if self.variance == "full" or self.variance == "pooled":
            confidence = confidences(answers, targets[0])
            # As logits of two classes, whose scaled logits are plus and minus the confidence. The kernel takes either,
            # for all models the same, and the sign of a coordinate is nothing to a likelihood ratio.
            two = np.stack([confidence, np.zeros_like(confidence)], axis=-1).astype(np.float32)
            return _core.adapted_lira(
                two, answers.membership, np.array(targets), covariance=self.variance, threads=answers.threads
            )
        parts = in_parts(answers)

        @lru_cache(maxsize=1)  # a global variance is known once all parts were looked at, and one part is kept
        def compared(number: int) -> tuple[NDArray[np.float64], list[_Side]]:
            confidence, members = confidences(parts[number], targets[0]), parts[number].membership
            everyone = (members, ~members, np.ones_like(members))
            sides = [_Side(confidence, chosen, targets, self.location) for chosen in everyone]
            return confidence[list(targets)], sides

        deviations: list[NDArray[np.float64]] = []
        if self.variance == "global":
            moments = [[side.moments() for side in compared(number)[1][:2]] for number in range(len(parts))]
            deviations = [np.sqrt(_global_variance(side)) for side in zip(*moments, strict=True)]
        ratios = []
        for number in range(len(parts)):
            confidence, (in_, out, everyone) = compared(number)
            inside, outside = deviations or _deviations([in_, out], everyone, self.variance)
            ratio = _log_density(confidence, in_.centre, inside)
            ratio -= _log_density(confidence, out.centre, outside)
            ratios.append(ratio.sum(axis=-1))
        return np.concatenate(ratios, axis=1)


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
        return np.concatenate([self._score_alike(answers, alike) for alike in asking_alike(answers, targets)])

    def _score_alike(self, answers: AttackInput, targets: Sequence[int]) -> NDArray[np.float64]:
        """Scores ``[targets, points]`` of targets whose confidences are about the same classes."""
        parts = in_parts(answers)

        @lru_cache(maxsize=1)
        def compared(number: int) -> tuple[NDArray[np.float64], _Side]:
            confidence = confidences(parts[number], targets[0])
            return confidence[list(targets)], _Side(confidence, ~parts[number].membership, targets, self.location)

        everywhere = np.array(LEAST_VARIANCE)
        if self.variance == "global":
            everywhere = _global_variance([compared(number)[1].moments() for number in range(len(parts))])
        scores = []
        for number in range(len(parts)):
            confidence, out = compared(number)
            if self.variance == "global":
                is_known, variance = out.count >= 1, everywhere
            else:
                is_known, variance = out.count >= 2, np.maximum(out.variance(), LEAST_VARIANCE)
            distance = np.where(is_known, confidence - out.centre, 0.0)
            scores.append(log_ndtr(distance / np.sqrt(variance)).sum(axis=-1))
        return np.concatenate(scores, axis=1)


class _Side:
    """The confidences of the IN or of the OUT shadows of some targets, each of which has all other models.

    Args:
        confidence: float64 ``[models, points, augmentations]``.
        chosen: bool ``[models, points]``, the models of this side.
        targets: which models are left out, one for each set of shadows.
        location: how their centre is estimated.

    Attributes:
        count: int64 ``[targets, points, 1]``, shadows of this side.
        centre: float64 ``[targets, points, augmentations]``; 0 where there are none.
        squares: the same of the sum of squared deviations from the mean.
    """

    def __init__(
        self, confidence: NDArray[np.float64], chosen: NDArray[np.bool_], targets: Sequence[int], location: Location
    ) -> None:
        which = np.array(targets)
        self.count = _sums_without(chosen[..., None].astype(np.int64), which)
        divisor = np.maximum(self.count, 1)
        own = np.where(chosen[..., None], confidence, 0.0)
        # Not about a centre: one that all targets share would know of the other side, or of a target's membership.
        # Confidences are of the size of their differences, so that little is lost.
        self._mean = _sums_without(own, which) / divisor
        self.squares = np.maximum(_sums_without(own**2, which) - self.count * self._mean**2, 0.0)
        self.centre = self._mean if location == "mean" else self._median(confidence, chosen, which)

    def moments(self) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Number, mean and sum of squared deviations ``[targets]`` of all points and augmentations together."""
        numbers = np.broadcast_to(self.count, self._mean.shape)
        size = numbers.sum(axis=(1, 2))
        mean = (numbers * self._mean).sum(axis=(1, 2)) / np.maximum(size, 1)
        squares = (self.squares + numbers * (self._mean - mean[:, None, None]) ** 2).sum(axis=(1, 2))
        return size, mean, squares

    def variance(self) -> NDArray[np.float64]:
        """The variance ``[targets, points, augmentations]``, divisor n as in the paper's code; 0 of one shadow."""
        variance: NDArray[np.float64] = self.squares / np.maximum(self.count, 1)
        return variance

    def _median(
        self, confidence: NDArray[np.float64], chosen: NDArray[np.bool_], targets: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """The median of the shadows of this side, from the order of all models: that of the others skips the target."""
        values = np.where(chosen[..., None], confidence, np.inf)
        ordered = np.sort(values, axis=0)
        places = np.stack([(values < values[target]).sum(axis=0) for target in targets])
        middle = []
        for index in ((self.count - 1) // 2, self.count // 2):
            place = np.broadcast_to(np.maximum(index, 0), places.shape)
            middle.append(np.take_along_axis(ordered, place + (place >= places), axis=0))
        median: NDArray[np.float64] = np.where(self.count > 0, (middle[0] + middle[1]) / 2, 0.0)
        return median


def _sums_without(x: NDArray[Any], targets: NDArray[np.int64]) -> NDArray[Any]:
    """The sums over all models but each target, ``[targets, ...]`` of ``[models, ...]``.

    Those before and those behind it are added up apart: no bit of a sum depends on what is left out.
    """
    before, behind = np.zeros((2, len(x), *x.shape[1:]), dtype=x.dtype)
    np.cumsum(x[:-1], axis=0, out=before[1:])
    np.cumsum(x[:0:-1], axis=0, out=behind[-2::-1])
    total: NDArray[Any] = before[targets] + behind[targets]
    return total


def _log_density(
    x: NDArray[np.float64], centre: NDArray[np.float64], deviation: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Of a Gaussian."""
    density: NDArray[np.float64] = -(((x - centre) / deviation) ** 2) / 2 - LOG_ROOT_TWO_PI - np.log(deviation)
    return density


def _global_variance(
    moments: Sequence[tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]],
) -> NDArray[np.float64]:
    """The variance ``[targets, 1, 1]`` over all points, shadows and augmentations, from the moments of parts."""
    sizes, means, squares = (np.stack(each) for each in zip(*moments, strict=True))
    total = np.maximum(sizes.sum(axis=0), 1)
    mean = (sizes * means).sum(axis=0) / total
    variance = (squares + sizes * (means - mean) ** 2).sum(axis=0) / total
    floored: NDArray[np.float64] = np.maximum(variance, LEAST_VARIANCE)[:, None, None]
    return floored


def _deviations(sides: Sequence[_Side], everyone: _Side, variance: OnlineVariance) -> list[NDArray[np.float64]]:
    """Standard deviations of each side, ``[targets, points, augmentations]`` or one for all augmentations.

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
        pooled = sum((side.squares for side in sides), start=np.zeros(overall.shape)) / np.maximum(freedom, 1)
        estimates = [np.where(freedom >= 1, pooled, overall)] * 2
    else:
        estimates = [np.where(side.count >= 2, side.variance(), overall) for side in sides]
    return [np.sqrt(np.maximum(estimate, least)) for estimate in estimates]
