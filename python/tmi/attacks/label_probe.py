"""Attacks by the pretraining label alone: does a model tell a point's own label better than it should?

See `tmi.attacks.features.probe`. It takes labelled queries to the target and no shadow model; with shadow models the
target's log odds are compared with theirs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tmi.attacks.features.probe import label_probes
from tmi.attacks.registry import Attack, Needs, register
from tmi.predictions.attack_input import AttackInput

# Variances of log odds are at least this: below, models agree.
LEAST_VARIANCE = 1e-6
# Of the identity in the covariance of the probes, which are much alike.
RIDGE = 0.05


@register
class LabelProbe(Attack):
    """The log odds of the point's own pretraining label, of the target alone, relative to the points of that label."""

    name = "label-probe"
    summary = "log odds of a point's pretraining label among the model's own answers; no shadow models"
    needs = Needs.PRETRAINING_LABELS
    default = 60
    together = True

    def score(self, answers: AttackInput, targets: Sequence[int]) -> NDArray[np.float64]:
        """The mean log odds over the probes, on one scale for all labels."""
        if answers.inputs is None:
            return _odds(answers, targets)[..., -1]
        # Finetunings of one given model: what is found out is about that.
        mean = _odds(answers)[..., -1].mean(axis=0)
        return np.tile(mean, (len(targets), 1))


@register
class LabelProbeShadows(Attack):
    """The likelihood ratio of the target's log odds under those of the IN and of the OUT shadows at the same point.

    The probes are weighed as they tell the shadows' members from their non-members best, over all points (Fisher's
    discriminant). What they say together has normal distributions of one variance at each point. The shift of their
    means is known badly from a few dozen shadows, so it is shrunken towards the mean over points, by empirical Bayes.
    """

    name = "label-probe-shadows"
    summary = "label-probe, compared with the log odds of the shadows at the same point"
    default_with = Needs.PRETRAINING_LABELS
    default = 55
    together = True

    def score(self, answers: AttackInput, targets: Sequence[int]) -> NDArray[np.float64]:
        """The log-likelihood ratio."""
        odds, membership, everyone = _odds(answers), answers.membership, np.arange(len(answers.membership))
        return np.stack(
            [_log_likelihood_ratio(odds[t], odds[everyone != t], membership[everyone != t]) for t in targets]
        )

    def score_matched(self, answers: AttackInput, targets: Sequence[int]) -> NDArray[np.float64]:
        """The same against shadows that are matched for each target."""
        odds, scores = _odds(answers), np.zeros((len(targets), answers.membership.shape[1]))
        for row, target in enumerate(targets):
            dealt = answers.design.shadows_of(target, answers.membership, answers.seed).dealt[1:]
            if len(dealt) > 1:
                of_shadows = np.take_along_axis(odds, dealt[..., None], axis=0)
                members = np.take_along_axis(answers.membership, dealt, axis=0)
                scores[row] = _log_likelihood_ratio(odds[target], of_shadows, members)
        return scores


def _odds(answers: AttackInput, models: Sequence[int] | None = None) -> NDArray[np.float64]:
    """What the probes say about the challenge points, float64 ``[models, points, values]``."""
    return label_probes(answers, models)[:, : answers.membership.shape[1]]


def _log_likelihood_ratio(
    of_target: NDArray[np.float64], of_shadows: NDArray[np.float64], membership: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Scores ``[points]`` of what is said ``[points, values]`` by that of shadows ``[shadows, points, values]``."""
    sides = membership, ~membership
    inside, outside = (side.sum(axis=0) for side in sides)
    # Where no other point has the label, all say nothing.
    known = (inside > 0) & (outside > 0) & (of_shadows != of_shadows[0]).any(axis=(0, 2))
    if not known.any():
        return np.zeros(len(of_target))
    mean_in, mean_out = (
        np.where(side[..., None], of_shadows, 0).sum(axis=0) / np.maximum(side.sum(axis=0), 1)[:, None]
        for side in sides
    )
    residuals = of_shadows - np.where(membership[..., None], mean_in, mean_out)
    deviation = np.sqrt((residuals**2).sum(axis=0) / max(len(of_shadows) - 2, 1) + LEAST_VARIANCE)
    shift, residuals = (mean_in - mean_out) / deviation, residuals / deviation
    covariance = np.einsum("npi,npj->ij", residuals, residuals) / residuals[..., 0].size
    # Members lie nearer to others of their label. At least what noise makes of none, or else chance would give this a
    # sign, which all targets share.
    chance = np.sqrt((1 / inside[known] + 1 / outside[known]).mean() / known.sum())
    mean = np.maximum(shift[known].mean(axis=0), chance)
    direction = np.linalg.solve(covariance + RIDGE * np.eye(len(covariance)), mean)
    shift, target, shadows = shift @ direction, of_target / deviation @ direction, of_shadows / deviation @ direction
    variance = max(float(direction @ covariance @ direction), LEAST_VARIANCE)
    noise = variance * (1 / np.maximum(inside, 1) + 1 / np.maximum(outside, 1))
    expected = float(mean @ direction)
    spread = max(float(shift[known].var() - noise[known].mean()), LEAST_VARIANCE * variance)
    shift = (shift * spread + expected * noise) / (spread + noise)
    # Of all shadows together, whose mean is known better than that of either side.
    middle = shadows.mean(axis=0) - (inside / len(shadows) - 0.5) * shift
    return np.where(known, shift * (target - middle) / variance, 0.0)
