"""What every layout is turned into, and the steps that several of them need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmi.errors import TmiError
from tmi.predictions.formats.files import read_array
from tmi.predictions.intake import Meaning, as_labels, as_membership
from tmi.predictions.tokens import TOKEN

PREDICTIONS = ("predictions", "logits")
MEMBERSHIP = ("membership", "memberships", "keep", "mask")
LABELS = ("labels", "y_train", "targets", "y")
PRETRAINING_LABELS = ("pretraining_labels",)
TARGET = ("target",)

# A probability of 1 in float32 hides up to half the distance to the next smaller number; of 0, what is below the
# smallest number. `tmi.predictions.views` has the same floors.
LEAST_REST = 2.0**-25
LEAST_PROBABILITY = float(np.exp(-87.0))


@dataclass(frozen=True)
class SavedArrays:
    """Saved predictions, whatever tool has written them.

    Attributes:
        models: one array ``[points, augmentations, classes]`` per model, float32 or float16 logits, higher = more
            likely; memory maps where the files allow it.
        membership: bool ``[models, points]``.
        labels: int64 ``[points]``, the class of each point among those of the predictions; None if nobody said.
        read_as: what was understood, in sentences.
        files: all files that were read.
        target: the answers ``[points, augmentations, classes]`` of one more model, which is under attack; None where
            the layout has none.
        target_membership: bool ``[points]`` of that model, where the layout knows it.
        point_ids: int64 ``[points]``, ascending, what the tool calls each point; None where it has no names for them.
        pretraining_labels: int64 ``[points]``, the class that each point had in pretraining; None if nobody said.
        version: of the layout.
        reference: the same models' answers about further points of the pool, which nobody challenges, with their
            membership and labels; None where they were not asked.
    """

    models: list[NDArray[Any]]
    membership: NDArray[np.bool_]
    labels: NDArray[np.int64] | None
    read_as: list[str]
    files: list[Path]
    target: NDArray[Any] | None = None
    target_membership: NDArray[np.bool_] | None = None
    point_ids: NDArray[np.int64] | None = None
    pretraining_labels: NDArray[np.int64] | None = None
    version: int = 1
    reference: SavedArrays | None = None

    def __post_init__(self) -> None:
        first = self.models[0]
        every = [*enumerate(self.models), *([] if self.target is None else [("target", self.target)])]
        for name, model in every:
            if model.shape != first.shape or model.dtype != first.dtype:
                raise TmiError(
                    f"the predictions of model {name} have type {model.dtype} and shape {model.shape}, expected "
                    f"{first.dtype} {first.shape} as for model 0"
                )


@dataclass(frozen=True)
class Layout:
    """How one tool lays out predictions on disk.

    Attributes:
        name: as on the command line.
        summary: one line.
        detect: whether the predictions at a path, with that file of the membership if any, may be of this layout.
        read: the arrays, from the paths of predictions, membership and labels.
        version: raised when a change of the code changes what is read from the same files.
    """

    name: str
    summary: str
    detect: Callable[[Path, Path | None], bool]
    read: Callable[[Path, Path | None, Path | None], SavedArrays]
    version: int = 1


@dataclass
class Reading:
    """What one reading has found so far, and what the numbers of predictions are."""

    meaning: Meaning = "logits"
    read_as: list[str] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)

    def note(self, sentence: str) -> None:
        """Say something about what was understood, once."""
        if sentence not in self.read_as:
            self.read_as.append(sentence)

    def array(self, path: Path, names: Sequence[str] = ()) -> NDArray[Any]:
        """One array of a file, as `read_array` finds it."""
        array = read_array(path, names)
        if path not in self.files:
            self.files.append(path)
        return array

    def signals(self, values: NDArray[Any], where: str, *, loss: bool = False) -> NDArray[np.float32]:
        """One number per answer as two-class logits ``(s, 0)``, so that ``s`` is the log-odds that attacks see.

        Probabilities, numbers that all lie in [0, 1], become their log-odds, losses are negated, anything else is
        taken as it is: higher = more confident. The logits are float32 ``[..., 2]``.
        """
        if values.dtype.kind not in "fiu":
            raise TmiError(f"{where}: has type {values.dtype}, expected numbers")
        # NaN of whatever bits stays NaN, which is told when the logits are taken in.
        with np.errstate(invalid="ignore"):
            numbers = values.astype(np.float64)
        if numbers.min() >= 0 and numbers.max() <= 1:
            self.note(
                "All signals lie in [0, 1] and were read as probabilities of the right class: two-class logits "
                "(s, 0), s being their log-odds, with label 0 for every point."
            )
            p = np.maximum(numbers, LEAST_PROBABILITY)
            numbers = np.log(p) - np.log(np.maximum(1 - numbers, LEAST_REST))
        elif loss:
            self.note("Losses were negated and stand as two-class logits (-loss, 0), with label 0 for every point.")
            numbers = -numbers
        else:
            self.note("Signals s stand as two-class logits (s, 0), higher = more confident, label 0 for every point.")
        logits = np.zeros((*numbers.shape, 2), dtype=np.float32)
        with np.errstate(over="ignore"):
            logits[..., 0] = numbers
        return logits

    def given(
        self, membership: Path | None, labels: Path | None, shape: tuple[int, int]
    ) -> tuple[NDArray[np.bool_] | None, NDArray[np.int64] | None]:
        """Membership and labels from files that the user named, None for those not named."""
        mask = classes = None
        if membership is not None:
            mask = as_membership(self.array(membership, MEMBERSHIP), shape, str(membership), self.note)
        if labels is not None:
            classes = as_labels(self.array(labels, LABELS), shape[1], str(labels))
        return mask, classes

    def result(
        self,
        tool: str,
        models: list[NDArray[Any]],
        membership: NDArray[np.bool_],
        labels: NDArray[np.int64] | None,
        what: str = "logits",
        *,
        target: NDArray[Any] | None = None,
        target_membership: NDArray[np.bool_] | None = None,
        point_ids: NDArray[np.int64] | None = None,
        pretraining_labels: NDArray[np.int64] | None = None,
        reference: SavedArrays | None = None,
    ) -> SavedArrays:
        """What was read: the arrays, and before all notes a sentence with the tool, the shape and what was taken."""
        points, augmentations, classes = models[0].shape
        writes = models[0].dtype == TOKEN
        of_each = f"up to {classes} tokens" if writes else f"{classes} classes ({what}, {models[0].dtype})"
        self.read_as.insert(
            0,
            f"{tool}: {len(models)} models, {points} points, {augmentations} "
            f"quer{'y' if augmentations == 1 else 'ies'} per point, {of_each}.",
        )
        further = target, target_membership, point_ids, pretraining_labels
        return SavedArrays(models, membership, labels, self.read_as, self.files, *further, reference=reference)


def in_numeric_order(paths: Sequence[Path]) -> list[Path]:
    """Paths ordered by the numbers in their names: ``m2`` before ``m10``."""

    def key(path: Path) -> list[tuple[int, str]]:
        digits = "".join(character if character.isdecimal() else " " for character in path.name).split()
        return [*((int(number), "") for number in digits), (0, path.name)]

    return sorted(paths, key=key)
