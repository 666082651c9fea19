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
from tmi.predictions.tokens import TOKEN
from tmi.predictions.views import View


@dataclass(frozen=True)
class Reference:
    """Answers about further points of the pool, which nobody challenges: they tell more about every model.

    Attributes:
        predictions: of the finetuned models.
        membership: bool ``[models, points]``.
        pretraining_labels: int64 ``[points]``, as in `AttackInput`; None where points have none.
    """

    predictions: Predictions
    membership: NDArray[np.bool_]
    pretraining_labels: NDArray[np.int64] | None = None

    def at(self, points: slice) -> Reference:
        """The answers about some points, not copied."""
        labels = None if self.pretraining_labels is None else self.pretraining_labels[points]
        return Reference(self.predictions.at(points), self.membership[:, points], labels)

    def restricted(self, models: Sequence[int]) -> Reference:
        """The answers of some models, in that order."""
        return replace(self, predictions=self.predictions.restricted(models), membership=self.membership[list(models)])

    def with_target(self, answers: NDArray[Any]) -> Reference:
        """One more model, whose membership nobody knows, before all others."""
        return replace(
            self,
            predictions=self.predictions.with_first(answers),
            membership=_with_unknown(self.membership),
        )

    def seen_through(self, view: View) -> Reference:
        """The same answers in another view."""
        return replace(self, predictions=self.predictions.seen_through(view))


@dataclass(frozen=True, eq=False)
class AttackInput:
    """The input of every attack.

    Attributes:
        predictions: of the finetuned models.
        membership: bool ``[models, points]``. An attack on target ``t`` must not look at row ``t``.
        pretrained: predictions of the pretrained bases under their own heads; None where nobody has them.
        seed: for attacks that draw random numbers.
        threads: for kernels; never changes a score.
        reference: answers of all models about further points of the pool, if they were asked.
        labels: int64 ``[points]``, the class of each point among those of the predictions, for attacks that look at the
            confidence in it; None where pretraining points have no such class, which is the usual case.
        pretraining_labels: int64 ``[points]``, the class that each point had in pretraining, any integers; None where
            points have none. They are not classes of the predictions.
        companions: the same models finetuned in other ways, of the same points: what an adversary sees if several
            finetunings of one pretrained model are released.
        inputs: the points themselves, as in `tmi.data.points.Points.raw`, for attacks that look at them; where the
            models are finetunings of one given model or write, and None elsewhere and where nobody has them.
        of_all_points: the design of the membership of all points, where these are some of them.
    """

    predictions: Predictions
    membership: NDArray[np.bool_]
    pretrained: Predictions | None = None
    seed: int = 0
    threads: int = 1
    reference: Reference | None = None
    labels: NDArray[np.int64] | None = None
    pretraining_labels: NDArray[np.int64] | None = None
    companions: tuple[AttackInput, ...] = ()
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
        if (labels := self.pretraining_labels) is not None and (labels.dtype != np.int64 or labels.shape != (points,)):
            raise TmiError(
                f"pretraining labels have type {labels.dtype} and shape {labels.shape}, expected int64 {(points,)}, "
                "one per point"
            )
        if labels is not None and self.reference is not None and self.reference.pretraining_labels is None:
            raise TmiError("the challenge points have pretraining labels and the reference points have none")
        for number, companion in enumerate(self.companions, 2):
            if (found := companion.membership.shape) != (models, points):
                raise TmiError(
                    f"finetuning {number} has {found[0]} models at {found[1]} points, expected {models} at {points} as "
                    "the first: the same pretrained models, asked about the same points"
                )
            if not np.array_equal(companion.membership, self.membership):
                raise TmiError(
                    f"finetuning {number} differs from the first in its membership, expected the same pretrained models"
                )
            if (companion.reference is None) != (self.reference is None):
                raise TmiError(f"finetuning {number} and the first were not asked about the same reference points")
        if self.predictions.dtype == TOKEN and (self.labels is not None or self.pretraining_labels is not None):
            raise TmiError("points have labels, and predictions about the tokens of texts, which have no classes")
        if (labels := self.labels) is None:
            return
        if labels.dtype != np.int64 or labels.shape != (points,):
            raise TmiError(
                f"labels have type {labels.dtype} and shape {labels.shape}, expected int64 {(points,)}, one per point"
            )
        if labels.min() < 0 or labels.max() >= classes:
            raise TmiError(
                f"labels lie between {labels.min()} and {labels.max()}, expected 0 to {classes - 1}, "
                "the classes of the predictions; those of pretraining are given as pretraining labels"
            )

    @cached_property
    def design(self) -> Design:
        """How the membership was drawn, as seen at all points."""
        return self.of_all_points or Design.of(self.membership)

    @cached_property
    def summarised(self) -> AttackInput:
        """The same with a few numbers for each text, see `Predictions.summarised`; itself where models see classes."""
        reference, pretrained = self.reference, self.pretrained
        if not self.predictions.are_log_odds:
            return self
        return replace(
            self,
            predictions=self.predictions.summarised(),
            pretrained=pretrained and pretrained.summarised(),
            reference=reference and replace(reference, predictions=reference.predictions.summarised()),
            companions=tuple(companion.summarised for companion in self.companions),
        )

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
            pretraining_labels=None if self.pretraining_labels is None else self.pretraining_labels[points],
            companions=tuple(companion.at(points) for companion in self.companions),
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
            companions=tuple(companion.restricted(models) for companion in self.companions),
            of_all_points=None,
        )

    def with_reference_points(self) -> AttackInput:
        """The challenge points and behind them the reference points, if there are any, all in memory as one kind."""
        companions = tuple(companion.with_reference_points() for companion in self.companions)
        if (reference := self.reference) is None:
            return replace(self, companions=companions) if companions else self
        blocks = [each.records(slice(None)) for each in (self.predictions, reference.predictions)]
        labels = None
        if self.pretraining_labels is not None and reference.pretraining_labels is not None:
            labels = np.concatenate([self.pretraining_labels, reference.pretraining_labels])
        return AttackInput(
            self.predictions.with_models(list(np.concatenate(blocks, axis=1))),
            np.concatenate([self.membership, reference.membership], axis=1),
            seed=self.seed,
            threads=self.threads,
            pretraining_labels=labels,
            companions=companions,
            of_all_points=self.design,
        )

    def with_target(
        self, answers: NDArray[Any], reference: NDArray[Any] | None = None, companions: Sequence[NDArray[Any]] = ()
    ) -> AttackInput:
        """One more model, whose membership nobody knows, before all others, which are its shadows.

        Args:
            answers: float32 or float16 ``[points, augmentations, classes]``, raw logits of that model.
            reference: its answers about the reference points, where there are such.
            companions: its answers as it was finetuned in the first other ways; the further ones are left out.

        Raises:
            TmiError: the answers have another shape than those of the shadows.
        """
        return replace(
            self,
            predictions=self.predictions.with_first(answers),
            membership=_with_unknown(self.membership),
            pretrained=None,
            reference=None if self.reference is None or reference is None else self.reference.with_target(reference),
            companions=tuple(
                companion.with_target(others) for companion, others in zip(self.companions, companions, strict=False)
            ),
            of_all_points=self.design.with_first(),
        )

    def together(self, finetunings: int) -> AttackInput:
        """The answers in the first so many of the finetunings."""
        return replace(self, companions=self.companions[: finetunings - 1])

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
            pretrained=pretrained and pretrained.seen_through(view.within(pretrained.dtype, pretrained.shape[-1])),
            reference=self.reference and self.reference.seen_through(view),
            companions=tuple(companion.seen_through(view) for companion in self.companions),
        )


def _with_unknown(membership: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Membership with a row more, before all others, of a model about which nobody knows it."""
    return np.concatenate([np.zeros_like(membership[:1]), membership])


def neutral(membership: NDArray[np.bool_], targets: Sequence[int]) -> NDArray[np.bool_]:
    """Where a target's shadows are all members or all non-members, bool ``[targets, points]``.

    Attacks that compare the two sides have nothing to say there and give the neutral score.
    """
    members = membership.sum(axis=0)[None, :] - membership[list(targets)]
    one_sided: NDArray[np.bool_] = (members == 0) | (members == len(membership) - 1)
    return one_sided


# The name under which users of the Python API know it.
Answers = AttackInput
