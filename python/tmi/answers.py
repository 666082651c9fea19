"""What an attack sees: the answers of all models, and who was trained on what."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmi.errors import TmiError

# Working memory of one block of points: small enough for any machine, large enough to keep all cores busy.
BLOCK_BYTES = 256 << 20


class Predictions:
    """Raw logits of all models, ``[models, points, augmentations, classes]``, read a block of points at a time.

    Args:
        models: one array ``[points, augmentations, classes]`` per model, float32 or float16, memory maps or not.

    Raises:
        TmiError: the arrays differ in shape or type, or are of another rank or type.
    """

    def __init__(self, models: Sequence[NDArray[Any]]) -> None:
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
        self._models = models

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """``(models, points, augmentations, classes)``."""
        points, augmentations, classes = self._models[0].shape
        return len(self._models), points, augmentations, classes

    def block(self, points: slice) -> NDArray[Any]:
        """The answers about some points, ``[models, points, augmentations, classes]``."""
        return np.stack([model[points] for model in self._models])

    def blocks(self) -> Iterator[tuple[slice, NDArray[Any]]]:
        """All answers in blocks of points that fit the working memory, with the points of each block."""
        models, points, _, _ = self.shape
        size = max(1, BLOCK_BYTES // (models * self._models[0][:1].nbytes))
        for start in range(0, points, size):
            chosen = slice(start, min(start + size, points))
            yield chosen, self.block(chosen)


@dataclass(frozen=True)
class Answers:
    """The input of every attack.

    Attributes:
        predictions: of the finetuned models.
        membership: bool ``[models, points]``. An attack on target ``t`` must not look at row ``t``.
        pretrained: predictions of the pretrained bases under their own heads; None where nobody has them.
        seed: for attacks that draw random numbers.
        threads: for kernels; never changes a score.
    """

    predictions: Predictions
    membership: NDArray[np.bool_]
    pretrained: Predictions | None = None
    seed: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        models, points, _, _ = self.predictions.shape
        if self.membership.dtype != np.bool_ or self.membership.shape != (models, points):
            raise TmiError(
                f"membership has type {self.membership.dtype} and shape {self.membership.shape}, "
                f"expected bool {(models, points)}, one row per model and one column per point of the predictions"
            )
        if models < 3:
            raise TmiError(f"predictions hold {models} models, expected at least 3: a target and two shadows")


def neutral(membership: NDArray[np.bool_], targets: Sequence[int]) -> NDArray[np.bool_]:
    """Where a target's shadows are all members or all non-members, bool ``[targets, points]``.

    Attacks that compare the two sides have nothing to say there and give the neutral score.
    """
    members = membership.sum(axis=0)[None, :] - membership[list(targets)]
    one_sided: NDArray[np.bool_] = (members == 0) | (members == len(membership) - 1)
    return one_sided
