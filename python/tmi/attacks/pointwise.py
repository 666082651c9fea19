"""The attack of the TMI paper: a metaclassifier of its own for every challenge point."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from tmi.attacks.metaclassifiers.lightgbm import fit_and_score
from tmi.attacks.registry import Attack, register
from tmi.predictions.attack_input import AttackInput, neutral
from tmi.system.seeding import stream

# Networks of this many points are trained as one: few enough for their hidden layers to stay in the processor's cache.
POINTS_AT_ONCE = 32

POINTWISE_RECIPE = {
    "num_leaves": 4,
    "learning_rate": 0.2,
    "trees": 20,
    "min_data_in_leaf": 10,
    "max_bin": 15,
}


@register
class TmiPointwise(Attack):
    """The paper's attack: a metaclassifier of its own for every challenge point.

    Rows are the answers of all shadows to all augmentations of the point; features are the logit-scaled confidences
    of all classes with the vector's norm clipped to 1. The score is the mean probability of membership over the
    target's answers (Section 4 of the paper, which uses a small neural network in place of LightGBM).
    """

    name = "tmi-pointwise"
    summary = "the paper's attack: one LightGBM per challenge point on the answers themselves"
    default = 40
    source = "Abascal et al. 2024, Section 4"
    point_by_point = True

    def score(self, answers: AttackInput, targets: Sequence[int]) -> NDArray[np.float64]:
        """Mean probability of membership over the target's augmentations."""
        scores = np.empty((len(targets), answers.membership.shape[1]))
        for chosen, block in answers.predictions.blocks():
            # The norm of each answer is clipped to 1.
            clipped = answers.predictions.log_odds(block, clip_norm=1.0, threads=answers.threads)
            for point in range(*chosen.indices(answers.membership.shape[1])):
                at_point = clipped[:, point - chosen.start]
                for row, target in enumerate(targets):
                    scores[row, point] = self._score_point(at_point, answers.membership[:, point], target, answers.seed)
        return scores

    def _score_point(self, answers: NDArray[np.float32], members: NDArray[np.bool_], target: int, seed: int) -> float:
        shadows = np.arange(len(answers)) != target
        augmentations, classes = answers.shape[1:]
        rows = answers[shadows].reshape(-1, classes)
        labels = np.repeat(members[shadows], augmentations)
        log_odds = fit_and_score(rows, labels, answers[target], POINTWISE_RECIPE, seed)
        return float(np.mean(expit(log_odds)))


@register
class TmiMlp(Attack):
    """The paper's attack with the paper's metaclassifier: a small neural network for every challenge point.

    Rows, features and score are those of `TmiPointwise`; the network and its training are those of the authors' code
    (`tmi.attacks.metaclassifiers.mlp`). Each point of each target has an initialisation, batches and dropout of its
    own. They are keyed by the index of the point, so a score is the point's own business but for its index.
    """

    name = "tmi-mlp"
    summary = "the paper's attack: one neural network per challenge point on the answers themselves"
    source = "Abascal et al. 2024, section 4, and the authors' code"

    def score(self, answers: AttackInput, targets: Sequence[int]) -> NDArray[np.float64]:
        """Mean probability of membership over the target's augmentations; 1/2 where all shadows are alike."""
        points = answers.membership.shape[1]
        scores = np.empty((len(targets), points))
        for start in range(0, points, POINTS_AT_ONCE):
            chosen = range(start, min(start + POINTS_AT_ONCE, points))
            here = slice(chosen.start, chosen.stop)
            block = answers.predictions.block(here)
            # The norm of each answer is clipped to 1.
            clipped = answers.predictions.log_odds(block, clip_norm=1.0, threads=answers.threads)
            for row, target in enumerate(targets):
                scores[row, here] = _score_points(answers, clipped, chosen, target)
        scores[neutral(answers.membership, targets)] = 0.5
        return scores


def _score_points(
    answers: AttackInput, clipped: NDArray[np.float32], points: range, target: int
) -> NDArray[np.float64]:
    """Scores ``[points]`` of one target, with the clipped logits of all models at these points."""
    # torch takes a second to import, which the other attacks need not wait for.
    from tmi.attacks.metaclassifiers.mlp import fit_and_score as fit_networks

    _, _, augmentations, classes = clipped.shape
    rows = np.delete(clipped, target, axis=0).transpose(1, 0, 2, 3).reshape(len(points), -1, classes)
    members = np.delete(answers.membership[:, points.start : points.stop], target, axis=0).T
    randoms = [stream(answers.seed, "tmi-mlp", target, point) for point in points]
    return fit_networks(rows, np.repeat(members, augmentations, axis=1), clipped[target], randoms)
