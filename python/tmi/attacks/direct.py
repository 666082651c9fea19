"""Attacks with direct access: the pretrained model itself is asked, and says what its own labels are to it.

No adversary of a finetuned model can do that. They are what attacks on finetuned models are held against: how much the
pretrained model gives away to the best that is known. That is no bound, as nobody knows the best attack of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tmi.attacks.features.classes import MOST_CLASSES, likeliest_classes
from tmi.attacks.lira import LiraOnline, Location, OnlineVariance
from tmi.attacks.registry import Needs, register
from tmi.attacks.tmi import Tmi
from tmi.errors import TmiError
from tmi.predictions.arrays import Predictions
from tmi.predictions.attack_input import AttackInput

# Classes that are kept of more, besides that of the label.
LIKELIEST = 3
# Standard errors by which answers must agree with labels more often than by chance.
CERTAIN = 4.0


@register
class Direct(Tmi):
    """`tmi` on the answers of the pretrained models themselves, with their confidence in the label of every point.

    Where points have no label among the classes of these answers, it goes without.
    """

    name = "direct"
    summary = "tmi on the pretrained model's own answers and its confidence in the point's label: direct access"
    default = 100
    source = "direct access as in Abascal et al. 2024; the attack is that of tmi"
    needs = Needs.PRETRAINED_MODEL
    direct_access = True
    together = False

    def score(self, answers: AttackInput, targets: Sequence[int]) -> NDArray[np.float64]:
        """The classifier's log-odds of membership.

        Raises:
            TmiError: the predictions of the pretrained models are not known.
        """
        return super().score(_with_few_classes(answers), targets)

    def score_matched(self, answers: AttackInput, targets: Sequence[int]) -> NDArray[np.float64]:
        """The same by folds of shadows that are matched for each target, as `Tmi` does it."""
        return super().score_matched(_with_few_classes(answers), targets)


@register
class DirectLira(LiraOnline):
    """LiRA on the pretrained models' confidence in the label of every point, with one Gaussian per point and side.

    Options as of `LiraOnline`. Without labels it looks at the target's own top class.
    """

    name = "direct-lira"
    summary = "LiRA on the pretrained model's own confidence in the point's label: direct access"
    source = "Carlini et al. 2022, algorithm 1; direct access as in Abascal et al. 2024"
    needs = Needs.PRETRAINED_MODEL
    direct_access = True
    labelled = False

    def __init__(self, variance: OnlineVariance = "per-point-in-out", location: Location = "mean") -> None:
        super().__init__(variance, location)
        # Whether answers agree with the labels is seen at all points.
        self.point_by_point = False

    def score(self, answers: AttackInput, targets: Sequence[int]) -> NDArray[np.float64]:
        """The log-likelihood ratio, 0 where no IN or no OUT shadow is left.

        Raises:
            TmiError: the predictions of the pretrained models are not known.
        """
        return super().score(_asked_directly(answers), targets)


# One each, which all parts of an attack and the next one share.
@lru_cache(maxsize=1)
def _asked_directly(answers: AttackInput) -> AttackInput:
    """The answers of the pretrained models in place of those of the finetuned ones, with labels if they are theirs."""
    if answers.pretrained is None:
        raise TmiError("direct access needs the predictions of the pretrained models, which are not there")
    labels = answers.pretraining_labels
    if labels is not None and not _are_classes(labels, answers.pretrained):
        labels = None
    return replace(
        answers,
        predictions=answers.pretrained,
        pretrained=None,
        reference=None,
        labels=labels,
        companions=(),
        of_all_points=answers.design,
    )


def _are_classes(labels: NDArray[np.int64], predictions: Predictions) -> bool:
    """Whether labels, which may be any integers, are what these answers tell apart."""
    models, points, _, classes = predictions.shape
    if labels.min() < 0 or labels.max() >= classes:
        return False
    top = np.concatenate([block[:, :, 0].argmax(axis=-1) for _, block in predictions.blocks()], axis=1)
    chance = np.bincount(top.ravel(), minlength=classes)[labels] / (models * points)
    excess = (top == labels).mean(axis=0) - chance
    return bool(excess.mean() > CERTAIN * excess.std() / np.sqrt(points))


@lru_cache(maxsize=1)
def _with_few_classes(answers: AttackInput) -> AttackInput:
    """Of many classes those that matter at a point: that of its label, the likeliest others, and the rest as one."""
    answers = _asked_directly(answers)
    _, points, _, classes = answers.predictions.shape
    if classes <= MOST_CLASSES:
        return answers
    predictions = likeliest_classes(answers.predictions, LIKELIEST + 1, answers.labels)
    labels = None if answers.labels is None else np.zeros(points, dtype=np.int64)
    # No probe can learn pretraining labels from classes that are others at every point.
    return replace(answers, predictions=predictions, labels=labels, pretraining_labels=labels)
