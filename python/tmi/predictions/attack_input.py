"""What an attack sees: the answers of all models, and who was trained on what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmi.errors import TmiError
from tmi.predictions.arrays import Predictions
from tmi.predictions.designs import Design
from tmi.predictions.views import View


@dataclass(frozen=True)
class AttackInput:
    """The input of every attack.

    Attributes:
        predictions: of the finetuned models.
        membership: bool ``[models, points]``. An attack on target ``t`` must not look at row ``t``.
        pretrained: predictions of the pretrained bases under their own heads; None where nobody has them.
        seed: for attacks that draw random numbers.
        threads: for kernels; never changes a score.
        reference: answers of all models about further points, which nobody challenges and whose membership need not be
            known; `conditioning` uses them in place of the challenge points.
        labels: int64 ``[points]``, the class of each point among those of the predictions, for attacks that look at the
            confidence in it; None where pretraining points have no such class, which is the usual case.
        inputs: the points themselves, as in `tmi.data.points.Points.raw`, for attacks that look at them.
        of_all_points: the design of the membership of all points, where these are some of them.
    """

    predictions: Predictions
    membership: NDArray[np.bool_]
    pretrained: Predictions | None = None
    seed: int = 0
    threads: int = 1
    reference: Predictions | None = None
    labels: NDArray[np.int64] | None = None
    inputs: NDArray[Any] | None = None
    of_all_points: Design | None = None

    def __post_init__(self) -> None:
        models, points, _, classes = self.predictions.shape
        if self.membership.dtype != np.bool_ or self.membership.shape != (models, points):
            raise TmiError(
                f"membership has type {self.membership.dtype} and shape {self.membership.shape}, "
                f"expected bool {(models, points)}, one row per model and one column per point of the predictions"
            )
        if models < 3:
            raise TmiError(f"predictions hold {models} models, expected at least 3: a target and two shadows")
        if (labels := self.labels) is None:
            return
        if labels.dtype != np.int64 or labels.shape != (points,):
            raise TmiError(
                f"labels have type {labels.dtype} and shape {labels.shape}, expected int64 {(points,)}, one per point"
            )
        if labels.min() < 0 or labels.max() >= classes:
            raise TmiError(
                f"labels lie between {labels.min()} and {labels.max()}, expected 0 to {classes - 1}, "
                "the classes of the predictions"
            )

    @cached_property
    def design(self) -> Design:
        """How the membership was drawn, as seen at all points."""
        return self.of_all_points or Design.of(self.membership)

    @property
    def points_in_memory(self) -> int:
        """How many points the working memory has room for, at least 1."""
        return min(each.points_in_memory for each in (self.predictions, self.pretrained or self.predictions))

    def at(self, points: slice) -> AttackInput:
        """The answers about some points, not copied; the same object for all points."""
        chosen = range(self.membership.shape[1])[points]
        if chosen == range(self.membership.shape[1]):
            return self
        return replace(
            self,
            predictions=self.predictions.at(points),
            membership=self.membership[:, points],
            pretrained=self.pretrained and self.pretrained.at(points),
            labels=None if self.labels is None else self.labels[points],
            inputs=None if self.inputs is None else self.inputs[points],
            of_all_points=self.design.at(chosen.start),
        )

    def restricted(self, models: Sequence[int]) -> AttackInput:
        """The answers of some models, in that order, predictions not copied.

        Raises:
            TmiError: fewer than three models.
        """
        return replace(
            self,
            predictions=self.predictions.restricted(models),
            membership=self.membership[list(models)],
            pretrained=self.pretrained and self.pretrained.restricted(models),
            reference=self.reference and self.reference.restricted(models),
            of_all_points=None,
        )

    def with_target(self, answers: NDArray[Any], reference: NDArray[Any] | None = None) -> AttackInput:
        """One more model, whose membership nobody knows, before all others, which are its shadows.

        Args:
            answers: float32 or float16 ``[points, augmentations, classes]``, raw logits of that model.
            reference: its answers about the reference points, where there are such.

        Raises:
            TmiError: the answers have another shape than those of the shadows.
        """
        unknown = np.zeros((1, self.membership.shape[1]), dtype=bool)
        return replace(
            self,
            predictions=self.predictions.with_first(answers),
            membership=np.concatenate([unknown, self.membership]),
            pretrained=None,
            reference=None if self.reference is None or reference is None else self.reference.with_first(reference),
            of_all_points=self.design.with_first(),
        )

    def seen_through(self, view: View) -> AttackInput:
        """The same answers in another view, predictions not copied.

        The pretrained models may have fewer classes than the view shows: all of them are seen then.

        Raises:
            TmiError: the view shows more classes than the finetuned models have.
        """
        pretrained = self.pretrained
        return replace(
            self,
            predictions=self.predictions.seen_through(view),
            pretrained=pretrained and pretrained.seen_through(view.within(pretrained.shape[-1])),
            reference=self.reference and self.reference.seen_through(view),
        )


def neutral(membership: NDArray[np.bool_], targets: Sequence[int]) -> NDArray[np.bool_]:
    """Where a target's shadows are all members or all non-members, bool ``[targets, points]``.

    Attacks that compare the two sides have nothing to say there and give the neutral score.
    """
    members = membership.sum(axis=0)[None, :] - membership[list(targets)]
    one_sided: NDArray[np.bool_] = (members == 0) | (members == len(membership) - 1)
    return one_sided


# The name under which users of the Python API know it.
Answers = AttackInput
