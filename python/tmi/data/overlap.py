"""Texts that have many words in a row in common: what a model learns of one, it has learned of the other.

Runs of words are compared by 64-bit hashes, upper and lower case alike. Two different runs have the same hash with
probability 2**-64; among ten million runs, one such pair is to be expected in some 400,000 data sets.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray


@dataclass(frozen=True)
class WordRuns:
    """All runs of so many words in some texts.

    Attributes:
        hashes: uint64 ``[runs]``.
        owners: int64 ``[runs]``, the text of each run.
        texts: number of texts; one with fewer words has no runs.
    """

    hashes: NDArray[np.uint64]
    owners: NDArray[np.int64]
    texts: int

    @classmethod
    def of(cls, texts: Iterable[str], words: int) -> WordRuns:
        """The runs of ``words`` words, which white space separates."""
        values = _WordValues()
        # Multilinear hashing of random values: a different weight for each place, odd, so that no bit is lost.
        weights = np.array([values[f"place {place}"] | 1 for place in range(words)], dtype=np.uint64)
        hashes = [np.empty(0, dtype=np.uint64)]
        numbers = []
        for text in texts:
            found = np.fromiter(map(values.__getitem__, text.casefold().split()), dtype=np.uint64)
            if len(found) >= words:
                hashes.append(sliding_window_view(found, words) @ weights)
            numbers.append(max(len(found) - words + 1, 0))
        return cls(np.concatenate(hashes), np.repeat(np.arange(len(numbers)), numbers), len(numbers))

    def in_several(self) -> NDArray[np.bool_]:
        """Bool ``[texts]``: whether a text shares a run with another one; one that it repeats does not count."""
        order = np.argsort(self.hashes)
        hashes, owners = self.hashes[order], self.owners[order]
        # Where one hash has several owners, each of them stands next to another one, however these are ordered.
        shared = (hashes[1:] == hashes[:-1]) & (owners[1:] != owners[:-1])
        return self._marked(np.concatenate([owners[1:][shared], owners[:-1][shared]]))

    def also_in(self, others: WordRuns) -> NDArray[np.bool_]:
        """Bool ``[texts]``: whether a text shares a run with one of the other texts."""
        return self._marked(self.owners[np.isin(self.hashes, others.hashes)])

    def _marked(self, owners: NDArray[np.int64]) -> NDArray[np.bool_]:
        marked = np.zeros(self.texts, dtype=np.bool_)
        marked[owners] = True
        return marked


class _WordValues(dict[str, int]):
    """A random-looking 64-bit number for every word, the same ones in every process."""

    def __missing__(self, word: str) -> int:
        value = self[word] = int.from_bytes(blake2b(word.encode(), digest_size=8).digest(), "little")
        return value
