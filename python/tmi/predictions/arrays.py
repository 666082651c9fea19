"""Predictions of all models, read a block of points at a time."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmi import _core
from tmi.errors import TmiError
from tmi.predictions.rows import FileRows, unmapped
from tmi.predictions.tokens import TOKEN, UNSEEN, least_likely, tokens_there
from tmi.predictions.views import LOGITS, TOKENS, View
from tmi.system.memory import DEFAULT_MEMORY

# Larger blocks are slower: they fit no cache, and the system has to clear their memory first.
LARGEST_BLOCK = 32 << 20
# What most attacks see of what is said about the tokens of a text: how sure a model is of the least likely of them, so
# many percent, all of them last. On 32 small GPT-2 that were finetuned as a whole, the AUC of `tmi` was .987 by these,
# .951 by the means of 8 parts of the text and .957 by those of 16; such means beside these added less than .001.
LEAST_LIKELY = (2, 5, 10, 20, 50, 100)


class Predictions:
    """Answers of all models, ``[models, points, augmentations, classes]``, read a block of points at a time.

    Those of models that write are about the tokens of each text instead of classes.

    Args:
        models: one array ``[points, augmentations, classes]`` per model, raw logits in float32 or float16, or of type
            `tmi.predictions.tokens.TOKEN`, memory maps or not. Read-only maps are read from their files, a block at a
            time.
        memory: bytes that working on a block of points may take.
        view: what the adversary sees of the answers, all if left out; applied to each block as it is read.

    Raises:
        TmiError: the arrays differ in shape or type, are of another rank or type, or have too few classes for the view.
    """

    def __init__(self, models: Sequence[NDArray[Any]], memory: int = DEFAULT_MEMORY, view: View | None = None) -> None:
        first = models[0]
        if first.ndim != 3 or first.dtype not in (np.float32, np.float16, TOKEN):
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
        view = view or (TOKENS if first.dtype == TOKEN else LOGITS)
        view.require(first.dtype, first.shape[-1])
        self._models = [unmapped(model) for model in models]
        self.memory, self.view = memory, view
        self._is_summarised = False

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """``(models, points, augmentations, classes)`` as they are seen."""
        points, augmentations, classes = self._models[0].shape
        width = len(LEAST_LIKELY) if self._is_summarised else self.view.width(self.dtype, classes)
        return len(self._models), points, augmentations, width

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the answers before anything is made of them."""
        return self._models[0].dtype

    @property
    def points_in_memory(self) -> int:
        """How many points the working memory has room for, at least 1.

        Counted are the block as it is read, two copies of it in float32 (a view, and what an attack makes of it) and
        two profiles of it (`features.Profiles`, and what the kernel returns). Whatever is made of the tokens of texts,
        all of them are read, and put in order in as much room as five such copies.
        """
        models, _, augmentations, classes = self.shape
        held, copied = self._models[0].shape[-1], 5 if self.dtype == TOKEN else 2
        read = models * augmentations * held * self.dtype.itemsize
        copies = copied * models * augmentations * held * 4
        profiles = 2 * models * (2 * classes + 1) * 4
        return max(1, min(self.memory // (read + copies + profiles), LARGEST_BLOCK // read))

    def at(self, points: slice) -> Predictions:
        """The predictions at some points, not copied."""
        return self.with_models([model[points] for model in self._models])

    def restricted(self, models: Sequence[int]) -> Predictions:
        """The predictions of some models, in that order, not copied."""
        return self.with_models([self._models[model] for model in models])

    def with_first(self, model: NDArray[Any]) -> Predictions:
        """The predictions with one more model before all others, in their type.

        Raises:
            TmiError: its answers have another shape, or are about classes where these are about tokens.
        """
        if (model.dtype == TOKEN) != (self.dtype == TOKEN):
            own, others = ("the tokens of texts" if each == TOKEN else "classes" for each in (model.dtype, self.dtype))
            raise TmiError(
                f"the target's predictions are about {own}, those of the shadow models about {others}: expected the "
                "same"
            )
        if model.shape != self._models[0].shape:
            raise TmiError(
                f"the target's predictions have shape {model.shape}, expected {self._models[0].shape} "
                "(points, augmentations, classes) as those of the shadow models"
            )
        return self.with_models([np.ascontiguousarray(model, dtype=self._models[0].dtype), *self._models])

    def seen_through(self, view: View) -> Predictions:
        """The same answers in another view, those about texts as a whole, not copied."""
        view.require(self.dtype, self._models[0].shape[-1])
        other = self.with_models(self._models)
        other.view, other._is_summarised = view, False
        return other

    def summarised(self) -> Predictions:
        """The predictions about texts in as many numbers for each text, however long it is; others as they are.

        There are more tokens than models, and membership moves all of them the same way, those most that surprise a
        model: how sure it is of the least likely tokens tells more than where in the text they are.
        """
        if not self.are_log_odds:
            return self
        other = self.with_models(self._models)
        other._is_summarised = True
        return other

    def records(self, points: slice) -> NDArray[Any]:
        """The answers about some points as they were given, whatever the view.

        Raises:
            TmiError: they hold NaN.
        """
        rows = range(self.shape[1])[points]
        block = np.empty((len(self._models), len(rows), *self._models[0].shape[1:]), dtype=self.dtype)
        for answers, model in zip(block, self._models, strict=True):
            if isinstance(source := model[points], FileRows):
                source.read_into(answers)
            else:
                answers[...] = source
        if holds_nan(block):
            raise TmiError("predictions hold NaN, expected logits; `tmi check` says of which model")
        return block

    def block(self, points: slice) -> NDArray[Any]:
        """The view of the answers about some points, ``[models, points, augmentations, classes]``.

        Raises:
            TmiError: they hold NaN.
        """
        block = self.records(points)
        seen = self.view.apply(block)
        return least_likely(seen, tokens_there(block), LEAST_LIKELY) if self._is_summarised else seen

    def rows(self, points: NDArray[np.int64]) -> NDArray[Any]:
        """The answers about some points, ascending, whatever the view: ``[models, points, augmentations, classes]``.

        Logits are float32; what is said about tokens is as it was given.
        """
        dtype = self.dtype if self.dtype == TOKEN else np.float32
        rows = np.empty((len(self._models), len(points), *self._models[0].shape[1:]), dtype=dtype)
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

    @property
    def ranks(self) -> bool:
        """Whether the first model tells of any token how many others are likelier in its place."""
        return any((records["rank"] < UNSEEN).any() for records in self._of_first_model())

    @property
    def standardises(self) -> bool:
        """Whether the first model tells of any token how likely it is for all others in its place."""
        return any((records["standardised"] != 0).any() for records in self._of_first_model())

    def _of_first_model(self) -> Iterator[NDArray[Any]]:
        first = self.restricted([0])
        return (first.records(points) for points in first.spans())

    @property
    def are_log_odds(self) -> bool:
        """Whether what is seen are log-odds already, of the tokens of texts."""
        return self.view.shows_log_odds(self.dtype)

    def log_odds(self, block: NDArray[Any], clip_norm: float | None = None, threads: int = 1) -> NDArray[np.float32]:
        """The log-odds of every class, or token, of a block of the view, float32 of its shape.

        Args:
            block: ``[..., classes]``, as `block` returns it.
            clip_norm: limits the norm of the logits, see `tmi._core.scale_logits`; of tokens it has no meaning.
            threads: for the kernel; never changes a result.
        """
        if self.are_log_odds:
            return block
        rows = block.reshape(-1, block.shape[-1])
        return _core.scale_logits(rows, clip_norm=clip_norm, threads=threads).reshape(block.shape)

    def spans(self) -> Iterator[slice]:
        """All points, so many at a time that their answers fit the working memory."""
        points, size = self.shape[1], self.points_in_memory
        for start in range(0, points, size):
            yield slice(start, min(start + size, points))

    def blocks(self) -> Iterator[tuple[slice, NDArray[Any]]]:
        """All answers in blocks of points that fit the working memory, with the points of each block."""
        for chosen in self.spans():
            yield chosen, self.block(chosen)

    def with_models(self, models: Sequence[NDArray[Any] | FileRows]) -> Predictions:
        """Others, or parts of the same, that are read and seen in the same way; they are not checked."""
        other = copy.copy(self)
        other._models = list(models)
        return other


def holds_nan(array: NDArray[Any]) -> bool:
    """Whether any number of an array is none."""
    if array.dtype.names:
        return any(holds_nan(array[name]) for name in array.dtype.names)
    # The largest of some float32 is NaN if one is, and found at the speed of memory; of float16 it takes long.
    return bool(np.isnan(array).any() if array.dtype.itemsize == 2 else np.isnan(array.max(initial=-np.inf)))
