"""Points as the numbers that a network reads."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmi.config import EncoderConfig
from tmi.data.points import PointKind
from tmi.data.tokens import Tokenizer, load_tokenizer, train_tokenizer
from tmi.errors import TmiError

TEXT_ENCODERS = ("hashed-words", "tokens")
WORD = re.compile(r"\w+|[^\w\s]")


def encode(
    raw: NDArray[Any],
    kind: PointKind,
    encoder: EncoderConfig,
    tokenizer: Tokenizer | None = None,
    *,
    in_windows: bool = False,
) -> NDArray[Any]:
    """Encode points.

    Args:
        raw: as in `Points.raw`.
        kind: what ``raw`` holds.
        encoder: ``pixels`` leaves images and vectors as they are; ``hashed-words`` turns a text into a bag of words,
            ``tokens`` into the ids of its tokens, of which there are at most ``length``; what follows them is
            `tmi.data.tokens.PADDING`. ``mean`` and ``std`` are for the network, which scales and standardises its
            inputs batch by batch.
        tokenizer: of ``tokens``; see `tokenizer_for`.
        in_windows: texts are read in windows if the encoder has a ``stride``, so that they may have any length.

    Returns:
        ``[points, ...]``: of ``tokens`` int64 ``[points, length]``, or ``[points, longest]`` with ``in_windows``; uint8
        for images that are uint8, else float32.

    Raises:
        TmiError: the encoder does not read points of this kind, or a point has too many tokens.
        ValueError: ``tokens`` without a tokenizer.
    """
    if (encoder.kind in TEXT_ENCODERS) != (kind == "text"):
        raise TmiError(f"encoder.kind is {encoder.kind!r}, which does not read {kind}s")
    if encoder.kind == "tokens":
        if tokenizer is None:
            raise ValueError("encoder.kind is 'tokens', which needs the tokenizer of tokenizer_for")
        return tokenizer.encode(raw, encoder.longest if in_windows else encoder.length, encoder.truncate)
    if encoder.kind == "hashed-words":
        return hashed_words(list(raw), encoder.dimensions, encoder.norm)
    return np.ascontiguousarray(raw, dtype=np.uint8 if raw.dtype == np.uint8 else np.float32)


def tokenizer_for(encoder: EncoderConfig, downstream: Sequence[str] | NDArray[Any]) -> Tokenizer | None:
    """The tokenizer that an encoder names: ``downstream`` is trained on the texts of the downstream task.

    Args:
        encoder: its ``tokenizer`` and ``vocabulary`` are read.
        downstream: all texts of the downstream task. No model is pretrained on any of them, so that the tokens tell
            nothing about who is a member; those of the pool would.

    Returns:
        None if the encoder needs none.

    Raises:
        TmiError: the tokenizer cannot be loaded, or the points are no texts.
    """
    if encoder.kind != "tokens":
        return None
    if encoder.tokenizer != "downstream":
        return load_tokenizer(encoder.tokenizer)
    texts = list(downstream)
    if not all(isinstance(text, str) for text in texts):
        raise TmiError("encoder.kind is 'tokens', which reads texts; the points of the downstream task are none")
    return train_tokenizer(texts, encoder.vocabulary)


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
