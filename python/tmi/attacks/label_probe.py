"""Attacks by the pretraining label alone: does a model tell a point's own label better than it should?

See `tmi.attacks.features.probe`. It takes labelled queries to the target and no shadow model; with shadow models the
target's log odds are compared with theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tmi.attacks.features.probe import held_probes, label_probes
from tmi.attacks.registry import Attack, Needs, register
from tmi.predictions.attack_input import AttackInput

# Variances of log odds are at least this: below, models agree.
LEAST_VARIANCE = 1e-6
# Of the identity in the covariance of the probes, which are much alike.
RIDGE = 0.05
# Models at a point, of which four numbers each are looked at together.
PART_ENTRIES = 5_000_000


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
        points = answers.membership.shape[1]
        if answers.inputs is None:
            return np.concatenate([found[:, :points, -1] for _, found in label_probes(answers, targets)])
        # Finetunings of one given model: what is found out is about that.
        mean = np.concatenate([found[:, :points, -1] for _, found in label_probes(answers)]).mean(axis=0)
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
        odds, everyone = held_probes(answers), np.arange(len(answers.membership))

        def of_target(target: int) -> Compared:
            shadows = everyone != target

            def compared(points: range) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
                found = odds.at(points)
                return found[target], found[shadows], answers.membership[shadows, points.start : points.stop]

            return compared

        return np.stack([_log_likelihood_ratio(of_target(target), _parts(answers)) for target in targets])

    def score_matched(self, answers: AttackInput, targets: Sequence[int]) -> NDArray[np.float64]:
        """The same against shadows that are matched for each target."""
        odds, scores = held_probes(answers), np.zeros((len(targets), answers.membership.shape[1]))

        def of_target(target: int, dealt: NDArray[np.int64]) -> Compared:
            def compared(points: range) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
                found, here = odds.at(points), slice(points.start, points.stop)
                of_shadows = np.take_along_axis(found, dealt[:, here, None], axis=0)
                return (
                    found[target],
                    of_shadows,
                    np.take_along_axis(answers.membership[:, here], dealt[:, here], axis=0),
                )

            return compared

        for row, target in enumerate(targets):
            dealt = answers.design.shadows_of(target, answers.membership, answers.seed).dealt[1:]
            if len(dealt) > 1:
                scores[row] = _log_likelihood_ratio(of_target(target, dealt), _parts(answers))
        return scores


# At some points, what is said of the target ``[points, values]``, of its shadows ``[shadows, points, values]``, and who
# of these was trained on what, ``[shadows, points]``.
Compared: TypeAlias = Callable[[range], tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]]


def _parts(answers: AttackInput) -> list[range]:
    """Points that are looked at together: all, unless that takes much memory."""
    models, points = answers.membership.shape
    size = max(1, PART_ENTRIES // models)
    return [range(start, min(start + size, points)) for start in range(0, points, size)]


def _log_likelihood_ratio(compared: Compared, parts: Sequence[range]) -> NDArray[np.float64]:
    """Scores of the points of all parts."""
    read = lru_cache(maxsize=1)(compared)  # twice, and mostly there is one part
    of_parts, products, pairs = [], [], 0
    for part in parts:
        of_target, of_shadows, membership = read(part)
        sides = membership, ~membership
        inside, outside = (side.sum(axis=0) for side in sides)
        # Where no other point has the label, all say nothing.
        known = (inside > 0) & (outside > 0) & (of_shadows != of_shadows[0]).any(axis=(0, 2))
        mean_in, mean_out = (
            np.where(side[..., None], of_shadows, 0).sum(axis=0) / np.maximum(side.sum(axis=0), 1)[:, None]
            for side in sides
        )
        residuals = of_shadows - np.where(membership[..., None], mean_in, mean_out)
        deviation = np.sqrt((residuals**2).sum(axis=0) / max(len(of_shadows) - 2, 1) + LEAST_VARIANCE)
        residuals /= deviation
        products.append(np.einsum("npi,npj->ij", residuals, residuals))
        pairs += membership.size
        of_parts.append((inside, outside, known, (mean_in - mean_out) / deviation, deviation, of_target / deviation))
    inside, outside, known, shift, deviation, of_target = (
        each[0] if len(each) == 1 else np.concatenate(each) for each in zip(*of_parts, strict=True)
    )
    if not known.any():
        return np.zeros(len(of_target))
    covariance = sum(products) / pairs
    # Members lie nearer to others of their label. At least what noise makes of none, or else chance would give this a
    # sign, which all targets share.
    chance = np.sqrt((1 / inside[known] + 1 / outside[known]).mean() / known.sum())
    mean = np.maximum(shift[known].mean(axis=0), chance)
    direction = np.linalg.solve(covariance + RIDGE * np.eye(len(covariance)), mean)
    shift, target = shift @ direction, of_target @ direction
    variance = max(float(direction @ covariance @ direction), LEAST_VARIANCE)
    noise = variance * (1 / np.maximum(inside, 1) + 1 / np.maximum(outside, 1))
    expected = float(mean @ direction)
    spread = max(float(shift[known].var() - noise[known].mean()), LEAST_VARIANCE * variance)
    shift = (shift * spread + expected * noise) / (spread + noise)
    scores = np.empty(len(target))
    for part in parts:
        _, of_shadows, _ = read(part)
        here = slice(part.start, part.stop)
        shadows = of_shadows / deviation[here] @ direction
        # Of all shadows together, whose mean is known better than that of either side.
        middle = shadows.mean(axis=0) - (inside[here] / len(shadows) - 0.5) * shift[here]
        scores[here] = shift[here] * (target[here] - middle) / variance
    return np.where(known, scores, 0.0)
