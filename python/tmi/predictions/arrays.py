"""Predictions of all models, read a block of points at a time."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmi.errors import TmiError
from tmi.predictions.rows import FileRows, unmapped
from tmi.predictions.views import LOGITS, View
from tmi.system.memory import DEFAULT_MEMORY

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
        self.memory, self.view = memory, view

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
        """The view of the answers about some points, ``[models, points, augmentations, classes]``.

        Raises:
            TmiError: they hold NaN.
        """
        rows = range(self.shape[1])[points]
        block = np.empty((len(self._models), len(rows), *self.shape[2:]), dtype=self._models[0].dtype)
        for answers, model in zip(block, self._models, strict=True):
            if isinstance(source := model[points], FileRows):
                source.read_into(answers)
            else:
                answers[...] = source
        if holds_nan(block):
            raise TmiError("predictions hold NaN, expected logits; `tmi check` says of which model")
        return self.view.apply(block)

    def rows(self, points: NDArray[np.int64]) -> NDArray[np.float32]:
        """The logits about some points, ascending, whatever the view: ``[models, points, augmentations, classes]``."""
        rows = np.empty((len(self._models), len(points), *self.shape[2:]), dtype=np.float32)
        whole = len(points) == self.shape[1]
        for answers, model in zip(rows, self._models, strict=True):
            if not isinstance(model, FileRows):
                answers[...] = model if whole else model[points]
                continue
            for chosen in [slice(None)] if whole else [slice(point, point + 1) for point in points]:
                part = model[chosen]
                read = np.empty(part.shape, part.dtype)
                part.read_into(read)
                answers[... if whole else np.searchsorted(points, chosen.start)] = read if whole else read[0]
        return rows

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


def holds_nan(array: NDArray[Any]) -> bool:
    """Whether any number of an array is none."""
    # The largest of some float32 is NaN if one is, and found at the speed of memory; of float16 it takes long.
    return bool(np.isnan(array).any() if array.dtype.itemsize == 2 else np.isnan(array.max(initial=-np.inf)))
