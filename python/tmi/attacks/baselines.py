"""Attacks without shadow models, and the upper bound."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tmi import _core
from tmi.attacks.features.profiles import profiles
from tmi.attacks.registry import Attack, Needs, register
from tmi.errors import TmiError
from tmi.predictions.attack_input import AttackInput

# Shrinkage of the covariance towards a multiple of the identity, relative to the mean variance.
RIDGE = 0.5


@register
class Confidence(Attack):
    """The largest confidence of the answer, as log-odds, averaged over augmentations."""

    name = "confidence"
    summary = "how sure the finetuned model is; no shadow models"
    default = 60
    default_with = Needs.TOP_CLASS
    source = "Yeom et al. 2018; Salem et al. 2019"
    needs = Needs.NOTHING
    point_by_point = True

    def score(self, answers: AttackInput, targets: Sequence[int]) -> NDArray[np.float64]:
        """The largest entry of the mean scaled logits."""
        scaled = profiles(answers.predictions, answers.threads).scaled
        largest: NDArray[np.float32] = scaled[list(targets)].max(axis=-1)
        return largest.astype(np.float64)


@register
class Direct(Attack):
    """The likelihood ratio of the `gaussian` attack on the answers of the pretrained model itself."""

    name = "direct"
    summary = "the pretrained model queried directly: an upper bound"
    default = 100
    source = "Abascal et al. 2024, direct access to the pretrained model"
    needs = Needs.PRETRAINED_MODEL
    upper_bound = True
    point_by_point = True

    def score(self, answers: AttackInput, targets: Sequence[int]) -> NDArray[np.float64]:
        """Leave-one-model-out linear discriminant on the pretrained models' scaled logits.

        Raises:
            TmiError: the predictions of the pretrained models are not known.
        """
        if answers.pretrained is None:
            raise TmiError("the attack 'direct' needs the predictions of the pretrained models, which are not there")
        scaled = profiles(answers.pretrained, answers.threads).scaled
        return _core.gaussian_scores(
            scaled,
            answers.membership,
            np.asarray(targets, dtype=np.int64),
            ridge=RIDGE,
            threads=answers.threads,
        )
