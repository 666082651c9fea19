"""RMIA, the relative attack: is the target surer of a point than it is of other points, each against the shadows?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_expit

from tmi.attacks.confidences import confidences, in_parts
from tmi.attacks.registry import Attack, Needs, register
from tmi.errors import TmiError
from tmi.predictions.attack_input import AttackInput, neutral

# The paper's experiments have 2. Models that fit weakly seldom double a probability: on nine sets of predictions, with
# and without labels, 1 had the higher AUC but for one (.590 instead of .594), by up to .19.
GAMMA = 1.0
# Ratios that differ by less are equal: at a gamma of 1 rounding would otherwise decide which of equal points is ahead.
ROUNDING = 1e-9
# As in the paper for CIFAR-10.
OFFLINE_A = 0.3


@register
class Rmia(Attack):
    """The pairwise likelihood ratio test with IN and OUT shadows.

    With ``Pr(x | target)`` the probability of the class of `confidences` and ``Pr(x)`` the mean of the IN shadows' and
    of the OUT shadows' mean probability, ``r_x = Pr(x | target) / Pr(x)`` and the score of ``x`` is the share of
    population points ``z`` with ``r_x / r_z >= gamma``. The population is all other challenge points of the target,
    members among them: their membership is not known and not needed. Each augmentation is tested by itself and the
    shares are averaged, a vote in which every pair of point and augmentation counts (the paper takes the majority over
    augmentations for each pair of points).

    Args:
        gamma: how much likelier than ``z`` relative to the shadows.

    Raises:
        TmiError: ``gamma`` is not above 0.
    """

    name = "rmia"
    summary = "RMIA: share of other points that the target is relatively less sure of"
    default = 90
    default_with = Needs.LABELS
    source = "Zarifzadeh, Liu and Shokri 2024, relative likelihood ratio test"
    labelled = True

    def __init__(self, gamma: float = GAMMA) -> None:
        if not gamma > 0:
            raise TmiError(f"the gamma of RMIA is {gamma}, expected a number above 0")
        self.gamma = gamma

    def score(self, answers: AttackInput, targets: Sequence[int]) -> NDArray[np.float64]:
        """The share of the population, 0 to 1; where no IN or no OUT shadow is left, that of ``r_x = 1``."""
        return np.stack([self._score_target(answers, target) for target in targets])

    def _score_target(self, answers: AttackInput, target: int) -> NDArray[np.float64]:
        ratios = []
        for part in in_parts(answers):
            log_p = log_expit(confidences(part, target))
            shadows, members = np.delete(log_p, target, axis=0), np.delete(part.membership, target, axis=0)
            means = [_log_mean(shadows, chosen) for chosen in (members, ~members)]
            ratios.append(log_p[target] - (np.logaddexp(*means) - np.log(2)))
        is_known = ~neutral(answers.membership, [target])[0]
        return _share_below(np.concatenate(ratios), is_known, self.gamma)


@register
class RmiaOffline(Attack):
    """RMIA without IN shadows: ``Pr(x) = ((1 + a) Pr_OUT(x) + (1 - a)) / 2``.

    That is the mean of ``Pr_OUT`` and of ``Pr_IN`` when the latter is taken to be ``a Pr_OUT + 1 - a``. Points that are
    in no shadow's pretraining set are scored as well.

    Args:
        gamma: as for `Rmia`.
        offline_a: ``a``, from 0 to 1; 1 where membership changes little, lower where members are answered with
            certainty.

    Raises:
        TmiError: ``gamma`` is not above 0, or ``offline_a`` outside 0 to 1.
    """

    name = "rmia-offline"
    summary = "RMIA from OUT shadows alone"
    source = "Zarifzadeh, Liu and Shokri 2024, offline attack"
    labelled = True

    def __init__(self, gamma: float = GAMMA, offline_a: float = OFFLINE_A) -> None:
        if not gamma > 0:
            raise TmiError(f"the gamma of RMIA is {gamma}, expected a number above 0")
        if not 0 <= offline_a <= 1:
            raise TmiError(f"the offline_a of RMIA is {offline_a}, expected 0 to 1")
        self.gamma = gamma
        self.offline_a = offline_a

    def score(self, answers: AttackInput, targets: Sequence[int]) -> NDArray[np.float64]:
        """The share of the population, 0 to 1; where no OUT shadow is left, that of ``r_x = 1``."""
        return np.stack([self._score_target(answers, target) for target in targets])

    def _score_target(self, answers: AttackInput, target: int) -> NDArray[np.float64]:
        ratios, has_outside = [], []
        for part in in_parts(answers):
            log_p = log_expit(confidences(part, target))
            outside = ~np.delete(part.membership, target, axis=0)
            has_outside.append(outside.any(axis=0))
            mean_out = np.exp(_log_mean(np.delete(log_p, target, axis=0), outside))
            # At a = 1 a probability that underflows would leave the logarithm of 0.
            mean = np.maximum((1 + self.offline_a) * mean_out + (1 - self.offline_a), np.finfo(np.float64).tiny) / 2
            ratios.append(log_p[target] - np.log(mean))
        return _share_below(np.concatenate(ratios), np.concatenate(has_outside), self.gamma)


def _log_mean(log_p: NDArray[np.float64], chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The logarithm of the mean probability ``[points, augmentations]`` over the chosen ``[shadows, points]``.

    Minus infinity where none is chosen; never so because a probability underflows.
    """
    count = np.maximum(chosen.sum(axis=0), 1)[:, None]
    total: NDArray[np.float64] = np.logaddexp.reduce(log_p, axis=0, where=chosen[..., None], initial=-np.inf)
    mean: NDArray[np.float64] = total - np.log(count)
    return mean


def _share_below(log_ratio: NDArray[np.float64], is_known: NDArray[np.bool_], gamma: float) -> NDArray[np.float64]:
    """The share of population points ``z`` with ``r_x / r_z >= gamma``, the mean over augmentations.

    Sorted and searched, so that no matrix of all pairs is made.

    Args:
        log_ratio: ``log r``, ``[points, augmentations]``.
        is_known: bool ``[points]``. Where it is false, ``r_x`` is taken to be 1, and the point is in nobody's
            population.
        gamma: see above.

    Returns:
        float64 ``[points]``, from 0 to 1; 0 where the population is empty.
    """
    log_ratio = np.where(is_known[:, None], log_ratio, 0.0)
    limits = log_ratio - np.log(gamma) + ROUNDING
    ordered = np.sort(log_ratio[is_known], axis=0)
    below = np.stack(
        [np.searchsorted(column, limit, side="right") for column, limit in zip(ordered.T, limits.T, strict=True)],
        axis=1,
    )
    # A point is not in its own population.
    below = below - (is_known[:, None] & (log_ratio <= limits))
    population = np.maximum(is_known.sum() - is_known, 1)
    share: NDArray[np.float64] = below.mean(axis=1) / population
    return share
