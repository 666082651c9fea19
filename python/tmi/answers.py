"""What an attack sees: the answers of all models, and who was trained on what."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmi.errors import TmiError
from tmi.memory import DEFAULT_MEMORY, FileRows, copy_rows, unmapped
from tmi.views import LOGITS, View

# Larger blocks are slower: they fit no cache, and the system has to clear their memory first.
LARGEST_BLOCK = 32 << 20


class Predictions:
    """Answers of all models, ``[models, points, augmentations, classes]``, read a block of points at a time.

    Args:
        models: one array ``[points, augmentations, classes]`` per model, raw logits in float32 or float16, memory
            maps or not. Read-only maps are read from their files, a block at a time.
        memory: bytes that working on a block of points may take.
        view: what the adversary sees of the logits; applied to each block as it is read.

    Raises:
        TmiError: the arrays differ in shape or type, are of another rank or type, or have too few classes for the view.
    """

    def __init__(self, models: Sequence[NDArray[Any]], memory: int = DEFAULT_MEMORY, view: View = LOGITS) -> None:
        first = models[0]
        if first.ndim != 3 or first.dtype not in (np.float32, np.float16):
            raise TmiError(
                f"predictions of model 0 have type {first.dtype} and shape {first.shape}, "
                "expected float32 or float16 [points, augmentations, classes]"
            )
        for model, array in enumerate(models):
            if array.shape != first.shape or array.dtype != first.dtype:
                raise TmiError(
                    f"predictions of model {model} have type {array.dtype} and shape {array.shape}, "
                    f"expected {first.dtype} {first.shape} as for model 0"
                )
        view.require_classes(first.shape[-1])
        self._models = [unmapped(model) for model in models]
        self.memory = memory
        self.view = view

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """``(models, points, augmentations, classes)``."""
        points, augmentations, classes = self._models[0].shape
        return len(self._models), points, augmentations, classes

    @property
    def points_in_memory(self) -> int:
        """How many points the working memory has room for, at least 1.

        Counted are the block as it is read, two copies of it in float32 (a view, and what an attack makes of it) and
        two profiles of it (`features.Profiles`, and what the kernel returns).
        """
        models, _, augmentations, classes = self.shape
        read = models * augmentations * classes * self._models[0].dtype.itemsize
        copies = 2 * models * augmentations * classes * 4
        profiles = 2 * models * (2 * classes + 1) * 4
        return max(1, min(self.memory // (read + copies + profiles), LARGEST_BLOCK // read))

    def at(self, points: slice) -> Predictions:
        """The predictions at some points, not copied."""
        return self._with([model[points] for model in self._models])

    def restricted(self, models: Sequence[int]) -> Predictions:
        """The predictions of some models, in that order, not copied."""
        return self._with([self._models[model] for model in models])

    def with_first(self, model: NDArray[Any]) -> Predictions:
        """The predictions with one more model before all others, in their type.

        Raises:
            TmiError: its answers have another shape.
        """
        if model.shape != self.shape[1:]:
            raise TmiError(
                f"the target's predictions have shape {model.shape}, expected {self.shape[1:]} "
                "(points, augmentations, classes) as those of the shadow models"
            )
        return self._with([np.ascontiguousarray(model, dtype=self._models[0].dtype), *self._models])

    def seen_through(self, view: View) -> Predictions:
        """The same logits in another view, not copied."""
        view.require_classes(self.shape[-1])
        other = self._with(self._models)
        other.view = view
        return other

    def block(self, points: slice) -> NDArray[Any]:
        """The view of the answers about some points, ``[models, points, augmentations, classes]``."""
        rows = range(self.shape[1])[points]
        block = np.empty((len(self._models), len(rows), *self.shape[2:]), dtype=self._models[0].dtype)
        for answers, model in zip(block, self._models, strict=True):
            copy_rows(model[points], answers)
        return self.view.apply(block)

    def blocks(self) -> Iterator[tuple[slice, NDArray[Any]]]:
        """All answers in blocks of points that fit the working memory, with the points of each block."""
        points, size = self.shape[1], self.points_in_memory
        for start in range(0, points, size):
            chosen = slice(start, min(start + size, points))
            yield chosen, self.block(chosen)

    def _with(self, models: list[NDArray[Any] | FileRows]) -> Predictions:
        """Parts of the same arrays, which need not be checked again."""
        other = copy.copy(self)
        other._models = models
        return other


@dataclass(frozen=True)
class Answers:
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
        inputs: the points themselves, as in `tmi.datasets.Points.raw`, for attacks that look at them.
    """

    predictions: Predictions
    membership: NDArray[np.bool_]
    pretrained: Predictions | None = None
    seed: int = 0
    threads: int = 1
    reference: Predictions | None = None
    labels: NDArray[np.int64] | None = None
    inputs: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        models, points, _, classes = self.predictions.shape
        if self.membership.dtype != np.bool_ or self.membership.shape != (models, points):
            raise TmiError(
                f"membership has type {self.membership.dtype} and shape {self.membership.shape}, "
                f"expected bool {(models, points)}, one row per model and one column per point of the predictions"
            )
        if models < 3:
            raise TmiError(f"predictions hold {models} models, expected at least 3: a target and two shadows")
        if self.labels is not None:
            _require_labels(self.labels, points, classes)

    @property
    def points_in_memory(self) -> int:
        """How many points the working memory has room for, at least 1."""
        predictions = (self.predictions, self.pretrained or self.predictions)
        return min(each.points_in_memory for each in predictions)

    def at(self, points: slice) -> Answers:
        """The answers about some points, not copied; the same object for all points."""
        if range(self.membership.shape[1])[points] == range(self.membership.shape[1]):
            return self
        return replace(
            self,
            predictions=self.predictions.at(points),
            membership=self.membership[:, points],
            pretrained=self.pretrained and self.pretrained.at(points),
            labels=None if self.labels is None else self.labels[points],
            inputs=None if self.inputs is None else self.inputs[points],
        )

    def restricted(self, models: Sequence[int]) -> Answers:
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
        )

    def with_target(self, answers: NDArray[Any], reference: NDArray[Any] | None = None) -> Answers:
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
        )

    def seen_through(self, view: View) -> Answers:
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


def _require_labels(labels: NDArray[np.int64], points: int, classes: int) -> None:
    if labels.dtype != np.int64 or labels.shape != (points,):
        raise TmiError(
            f"labels have type {labels.dtype} and shape {labels.shape}, expected int64 {(points,)}, one per point"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise TmiError(
            f"labels lie between {labels.min()} and {labels.max()}, expected 0 to {classes - 1}, "
            "the classes of the predictions"
        )
