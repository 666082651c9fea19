"""Points as the numbers that a network reads."""

from __future__ import annotations

import re
import zlib
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmi.config import EncoderConfig
from tmi.datasets import PointKind
from tmi.errors import TmiError

WORD = re.compile(r"\w+|[^\w\s]")


def encode(raw: NDArray[Any], kind: PointKind, encoder: EncoderConfig) -> NDArray[Any]:
    """Encode points.

    Args:
        raw: as in `Points.raw`.
        kind: what ``raw`` holds.
        encoder: ``pixels`` leaves images and vectors as they are; ``hashed-words`` turns a text into a bag of words.
            ``mean`` and ``std`` are for the network, which scales and standardises its inputs batch by batch.

    Returns:
        ``[points, ...]``: uint8 for images that are uint8, else float32.

    Raises:
        TmiError: the encoder does not read points of this kind.
    """
    if (encoder.kind == "hashed-words") != (kind == "text"):
        raise TmiError(f"encoder.kind is {encoder.kind!r}, which does not read {kind}s")
    if kind == "text":
        return hashed_words(list(raw), encoder.dimensions, encoder.norm)
    return np.ascontiguousarray(raw, dtype=np.uint8 if raw.dtype == np.uint8 else np.float32)


def hashed_words(texts: list[str], dimensions: int, norm: float) -> NDArray[np.float32]:
    """Square-root counts of words and punctuation marks in hash buckets, scaled to a fixed norm.

    Args:
        texts: any strings; one without words becomes zeros.
        dimensions: number of buckets; a token falls into CRC-32 modulo ``dimensions``.
        norm: Euclidean norm of every row.

    Returns:
        float32 ``[texts, dimensions]``.
    """
    counts = np.zeros((len(texts), dimensions), dtype=np.float32)
    for row, text in zip(counts, texts, strict=True):
        for token in WORD.findall(text.lower()):
            row[_bucket(token, dimensions)] += 1
    roots = np.sqrt(counts)
    lengths = np.linalg.norm(roots, axis=1, keepdims=True)
    np.divide(norm * roots, lengths, out=roots, where=lengths > 0)
    return roots


@lru_cache(maxsize=1 << 16)
def _bucket(token: str, dimensions: int) -> int:
    return zlib.crc32(token.encode()) % dimensions
