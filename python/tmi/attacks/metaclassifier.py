"""Metaclassifiers: LightGBM learns from the shadows what membership does to the answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from tmi import _core
from tmi.answers import Answers
from tmi.attacks import register
from tmi.boosting import fit_and_score
from tmi.features import Profiles, profiles, target_features

# Small trees, many of them, each on a part of the features: larger trees and row subsampling do not help.
GLOBAL_RECIPE = {
    "num_leaves": 7,
    "learning_rate": 0.1,
    "trees": 60,
    "min_data_in_leaf": 200,
    "max_bin": 63,
    "feature_fraction": 0.5,
}
POINTWISE_RECIPE = {
    "num_leaves": 4,
    "learning_rate": 0.2,
    "trees": 20,
    "min_data_in_leaf": 10,
    "max_bin": 15,
}


@register
class Tmi:
    """One metaclassifier for all points of a target.

    Each row is a shadow at a point, described by how its answer compares with the answers of the other shadows that
    were and were not trained on that point (`features.target_features`). What membership looks like in these terms is
    much the same at every point, so thousands of rows teach one classifier where the paper's has dozens.
    """

    name = "tmi"
    summary = "one LightGBM for all points, on leave-one-out statistics of the answers"
    source = "after Abascal et al. 2024; one metaclassifier for all points"
    needs: Literal["shadow models"] = "shadow models"
    upper_bound = False

    def score(self, answers: Answers, targets: Sequence[int]) -> NDArray[np.float64]:
        """The classifier's log-odds of membership."""
        profile = profiles(answers.predictions, answers.threads)
        return np.stack([self._score_target(answers, profile, target) for target in targets])

    def _score_target(self, answers: Answers, profile: Profiles, target: int) -> NDArray[np.float64]:
        features = target_features(profile, answers.membership, target, answers.threads)
        shadows = np.arange(len(features)) != target
        rows = features[shadows].reshape(-1, features.shape[-1])
        labels = answers.membership[shadows].reshape(-1)
        return fit_and_score(rows, labels, features[target], GLOBAL_RECIPE, answers.seed)


@register
class TmiPointwise:
    """The paper's attack: a metaclassifier of its own for every challenge point.

    Rows are the answers of all shadows to all augmentations of the point; features are the logit-scaled confidences
    of all classes with the vector's norm clipped to 1. The score is the mean probability of membership over the
    target's answers (Section 4 of the paper, which uses a small neural network in place of LightGBM).
    """

    name = "tmi-pointwise"
    summary = "the paper's attack: one LightGBM per challenge point on the answers themselves"
    source = "Abascal et al. 2024, Section 4"
    needs: Literal["shadow models"] = "shadow models"
    upper_bound = False

    def score(self, answers: Answers, targets: Sequence[int]) -> NDArray[np.float64]:
        """Mean probability of membership over the target's augmentations."""
        scores = np.empty((len(targets), answers.membership.shape[1]))
        for chosen, block in answers.predictions.blocks():
            clipped = _core.scale_logits(
                block.reshape(-1, block.shape[-1]), clip_norm=1.0, threads=answers.threads
            ).reshape(block.shape)
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
