"""Likelihood ratios under Gaussians fitted to the shadows' answers at one point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tmi import _core
from tmi.answers import Answers
from tmi.attacks import register
from tmi.features import profiles

# Shrinkage of the covariance towards a multiple of the identity, relative to the mean variance.
RIDGE = 0.5


@register
class Gaussian:
    """A linear discriminant per point on the mean scaled logits of all classes.

    IN and OUT shadows share one covariance over classes, pooled and shrunk; with the few shadows that one has,
    separate covariances lose to a shared one.
    """

    name = "gaussian"
    summary = "likelihood ratio on the whole logit vector, one Gaussian pair per point"
    source = ""
    needs: Literal["shadow models"] = "shadow models"
    upper_bound = False

    def score(self, answers: Answers, targets: Sequence[int]) -> NDArray[np.float64]:
        """The log-likelihood ratio of each target's mean scaled logits."""
        scaled = profiles(answers.predictions, answers.threads).scaled
        return _core.gaussian_scores(
            scaled,
            answers.membership,
            np.asarray(targets, dtype=np.int64),
            ridge=RIDGE,
            threads=answers.threads,
        )


@register
class AdaptedLira:
    """The baseline of the TMI paper: LiRA on the confidence of the class that the target itself predicts."""

    name = "adapted-lira"
    summary = "LiRA on the confidence of the target's own top class, full covariance over augmentations"
    source = "Abascal et al. 2024, adapted from Carlini et al. 2022"
    needs: Literal["shadow models"] = "shadow models"
    upper_bound = False

    def score(self, answers: Answers, targets: Sequence[int]) -> NDArray[np.float64]:
        """Log N(answer | IN) - log N(answer | OUT), the answer being one scaled logit per augmentation."""
        wanted = np.asarray(targets, dtype=np.int64)
        scores = np.empty((len(wanted), answers.membership.shape[1]))
        for points, block in answers.predictions.blocks():
            scores[:, points] = _core.adapted_lira(
                block, answers.membership[:, points], wanted, covariance="full", threads=answers.threads
            )
        return scores
