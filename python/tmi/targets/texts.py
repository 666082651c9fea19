"""Texts as the tokens about which a target that writes is asked, and what it says about these tokens.

Shadow models and target have to speak of the same tokens, since what they say stands side by side. So whatever a target
answers is compared with the run's own tokens, and that there are as many of its log-probabilities is not enough.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmi.errors import TmiError
from tmi.predictions.formats.files import open_npy
from tmi.predictions.tokens import ROUNDING, TOKEN, UNSEEN, plain_records

# An entry of an answer, for each place: the log-probability of the token there, and its rank; without a token the
# latter is negative.
NO_RANK = -1.0


@dataclass(frozen=True)
class Texts:
    """All texts that a target is asked about.

    Attributes:
        ids: the tokens of every text, at least one.
        tokens: places about which there is an answer, one less than the longest text has tokens.
        room: the same of the longest text that the run's models read: as much as is kept of an answer.
        spellings: by which texts servers call a token; None of a part of a character, which each calls in its own way.
        fingerprint: of the tokenizer.
    """

    ids: Mapping[str, tuple[int, ...]]
    tokens: int
    room: int
    spellings: Callable[[int], frozenset[str] | None]
    fingerprint: str

    @property
    def width(self) -> int:
        """Numbers of an answer that is kept."""
        return 2 * self.room

    def answer(self, log_probabilities: NDArray[np.float64], ranks: NDArray[np.float64]) -> NDArray[np.float64]:
        """What is kept of an answer, ``[width]``: of the tokens of a text but the first, a rank of -1 if not known."""
        kept = np.zeros((self.room, 2))
        kept[:, 1] = NO_RANK
        kept[: len(ranks), 0] = log_probabilities
        kept[: len(ranks), 1] = np.where(ranks < 0, UNSEEN, np.minimum(ranks, UNSEEN))
        return kept.ravel()

    def records(self, answers: NDArray[np.float64]) -> NDArray[Any]:
        """Kept answers ``[texts, width]`` as predictions ``[texts, tokens]`` of type ``TOKEN``."""
        parts = answers.reshape(len(answers), self.room, 2)[:, : self.tokens]
        return plain_records(parts[..., 0], parts[..., 1])


def checked(values: Any, number: int, where: str) -> NDArray[np.float64]:
    """Log-probabilities of so many tokens.

    Raises:
        TmiError: there are more or fewer, or they are no logarithms of probabilities.
    """
    try:
        found = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise TmiError(f"{where} no list of numbers, expected the log-probability of each token") from None
    if found.shape != (number,):
        raise TmiError(
            f"{where} shape {found.shape}, expected {(number,)}: log-probabilities of other tokens than ours, or not "
            "those of all tokens but the first"
        )
    if np.isnan(found).any() or (found > ROUNDING).any():
        wrong = found[np.isnan(found) | (found > ROUNDING)][0]
        raise TmiError(f"{where} the log-probability {wrong:g}, expected at most 0")
    return found


def load_records(path: Path, shape: tuple[int, ...], where: str) -> NDArray[Any]:
    """The predictions in a ``.npy`` file about texts, as those of a run's models.

    Raises:
        TmiError: there is no such file, or it has another type or shape.
    """
    try:
        array = open_npy(path)
    except TmiError as error:
        raise TmiError(f"{where}: {error}") from None
    if array.dtype != TOKEN or array.shape != shape:
        raise TmiError(
            f"{where}: {path} has type {array.dtype} and shape {array.shape}, expected {shape} of what a model says "
            "about tokens, as in predictions/000.npy of a run with finetune.objective 'causal'"
        )
    return np.array(array)
