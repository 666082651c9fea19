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


@register
class LabelProbe(Attack):
    """The log odds of the point's own pretraining label, of the target alone."""

    name = "label-probe"
    summary = "log odds of a point's pretraining label among the model's own answers; no shadow models"
    needs = Needs.PRETRAINING_LABELS
    default = 60

    def score(self, answers: AttackInput, targets: Sequence[int]) -> NDArray[np.float64]:
        """The log odds, averaged over the probes."""
        return mean_odds(answers)[list(targets)]


@register
class LabelProbeShadows(Attack):
    """The likelihood ratio of the target's log odds under those of the IN and of the OUT shadows at the same point.

    Normal distributions of one variance. The shift of the means at a point is known badly from a few dozen shadows, so
    it is shrunken towards the mean over points, by empirical Bayes.
    """

    name = "label-probe-shadows"
    summary = "label-probe, compared with the log odds of the shadows at the same point"
    default_with = Needs.PRETRAINING_LABELS
    default = 55

    def score(self, answers: AttackInput, targets: Sequence[int]) -> NDArray[np.float64]:
        """The log-likelihood ratio."""
        odds = mean_odds(answers)
        everyone = np.arange(len(odds))
        return np.stack(
            [_log_likelihood_ratio(odds[t], odds[everyone != t], answers.membership[everyone != t]) for t in targets]
        )

    def score_matched(self, answers: AttackInput, targets: Sequence[int]) -> NDArray[np.float64]:
        """The same against shadows that are matched for each target."""
        odds, scores = mean_odds(answers), np.zeros((len(targets), answers.membership.shape[1]))
        for row, target in enumerate(targets):
            _, *shadows = answers.design.shadows_of(target, answers.membership, answers.seed).dealt
            if len(shadows) > 1:
                chosen = np.stack(shadows)
                of_shadows = np.take_along_axis(odds, chosen, axis=0)
                members = np.take_along_axis(answers.membership, chosen, axis=0)
                scores[row] = _log_likelihood_ratio(odds[target], of_shadows, members)
        return scores


def mean_odds(answers: AttackInput) -> NDArray[np.float64]:
    """The log odds about the challenge points, averaged over the probes, float64 ``[models, points]``."""
    odds: NDArray[np.float64] = label_probes(answers)[:, : answers.membership.shape[1]].mean(axis=-1)
    return odds


def _log_likelihood_ratio(
    of_target: NDArray[np.float64], of_shadows: NDArray[np.float64], membership: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Scores ``[points]`` of log odds ``[points]`` by those ``[shadows, points]`` of shadows of known membership."""
    inside, outside = membership.sum(axis=0), (~membership).sum(axis=0)
    mean_in, mean_out = (
        np.where(side, of_shadows, 0).sum(axis=0) / np.maximum(number, 1)
        for side, number in ((membership, inside), (~membership, outside))
    )
    residuals = of_shadows - np.where(membership, mean_in, mean_out)
    variance = (residuals**2).sum(axis=0) / max(len(of_shadows) - 2, 1) + LEAST_VARIANCE
    known = (inside > 0) & (outside > 0)
    if not known.any():
        return np.zeros(len(of_target))
    shift = mean_in - mean_out
    noise = variance * (1 / np.maximum(inside, 1) + 1 / np.maximum(outside, 1))
    expected = shift[known].mean()
    spread = max(float(shift[known].var() - noise[known].mean()), LEAST_VARIANCE)
    shift = (shift * spread + expected * noise) / (spread + noise)
    # Of all shadows together, whose mean is known better than either side's.
    middle = of_shadows.mean(axis=0) - (inside / len(of_shadows) - 0.5) * shift
    return np.where(known, shift * (of_target - middle) / variance, 0.0)
