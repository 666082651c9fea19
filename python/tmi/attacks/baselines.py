"""Attacks without shadow models."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tmi.attacks.features.profiles import profiles
from tmi.attacks.registry import Attack, Needs, register
from tmi.predictions.attack_input import AttackInput


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
