"""The queries about a point: the point itself and variations of it, the same ones for every model."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tmi.config import QueryConfig
from tmi.data.points import Points, as_floats
from tmi.errors import TmiError
from tmi.system.memory import require_room
from tmi.system.seeding import stream

# What each augmentation is for; ``none`` is for all points.
SUITS = {
    "shift": "image",
    "flip-crop": "image",
    "word-dropout": "text",
    "word-masking": "text",
    "truncation": "text",
    "lower-case": "text",
}
# How many queries there are where nothing is drawn.
COUNTS = {"none": 1, "lower-case": 2}
WORD = re.compile(r"\S+")
Variation = Callable[[str, np.random.Generator], str]


def make_queries(
    points: Points, query: QueryConfig, seed: int, purpose: str = "queries", mask_token: str | None = None
) -> NDArray[Any]:
    """All queries about all points.

    Args:
        points: the challenge points.
        query: which variations and how many; query 0 is the point itself.
        seed: the run's seed; what is drawn depends on it, on the purpose and on the points only.
        purpose: names the random stream, so that two sets of points draw independently.
        mask_token: what ``word-masking`` puts in the place of a word (`tmi.data.tokens.Tokenizer.mask_token`); None
            leaves the word out, for encoders that have no such token.

    Returns:
        An array like ``points.raw`` with an axis more: ``[points, augmentations, ...]``. Images that are uint8 stay
        so, except for those of ``shift``, which are between pixels: float32 in [0, 1].

    Raises:
        TmiError: the augmentation does not fit points of this kind, or there is no memory for so many queries.
    """
    suits = SUITS.get(query.augmentation, points.kind)
    if suits != points.kind:
        raise TmiError(
            f"query.augmentation is {query.augmentation!r}, which is for {suits}s; the points are {points.kind}s"
        )
    if query.count != (expected := COUNTS.get(query.augmentation, query.count)):
        raise TmiError(
            f"query.count is {query.count}, expected {expected} with query.augmentation {query.augmentation!r}"
        )

    size = sum(map(len, points.raw)) if points.kind == "text" else points.raw.nbytes
    # Of shifted images there is a copy in floats.
    width = 4 if query.augmentation == "shift" and points.raw.dtype == np.uint8 else 1
    require_room(size * width * query.count, f"query.count is {query.count}, which for {len(points):,} points")
    if query.augmentation == "flip-crop":
        return flip_crop(points, query.count, _whole_pixels(points, query), seed, purpose)
    if query.augmentation in ("word-masking", "truncation"):
        return _vary(points, query.count, _variation(query, mask_token), seed, purpose)
    variations = [points.raw]
    if query.augmentation == "shift":
        images = as_floats(points.raw)
        others = query.count - 1
        directions = [2 * math.pi * index / others for index in range(others)]
        variations = [images, *(shift(images, direction, query.strength) for direction in directions)]
    elif query.augmentation == "word-dropout":
        random = stream(seed, purpose)
        variations += [drop_words(points.raw, query.strength, random) for _ in range(query.count - 1)]
    elif query.augmentation == "lower-case":
        variations.append(np.array([text.lower() for text in points.raw], dtype=object))
    return np.stack(variations, axis=1)


def shift(images: NDArray[np.float32], direction: float, pixels: float) -> NDArray[np.float32]:
    """Move images by a fraction of a pixel or more, bilinearly; the border repeats.

    Args:
        images: float32 ``[points, ..., height, width]``.
        direction: angle in radians, 0 = right, pi/2 = down.
        pixels: how far.
    """
    offsets = [0.0] * (images.ndim - 2) + [pixels * math.sin(direction), pixels * math.cos(direction)]
    shifted: NDArray[np.float32] = ndimage.shift(images, offsets, order=1, mode="nearest")
    return shifted


def flip_crop(points: Points, count: int, pixels: int, seed: int, purpose: str) -> NDArray[Any]:
    """The image, its mirror image, then windows of the image padded by reflection, mirrored or not.

    These are the augmentations that networks for images are commonly trained with (He et al. 2016, section 4.2). Each
    image draws from a stream of its own, named by its content: which others there are changes no draw.

    Args:
        points: images ``[points, ..., height, width]``.
        count: queries per image.
        pixels: of the padding on every side, fewer than the image has; a window may begin anywhere in it.
        seed: the run's seed.
        purpose: names the random streams.

    Returns:
        ``[points, count, ..., height, width]``, of the type of ``points.raw``.
    """
    images = points.raw
    height, width = images.shape[-2:]
    queries = np.empty((len(images), count, *images.shape[1:]), dtype=images.dtype)
    queries[:, 0] = images
    queries[:, 1:2] = images[:, None, ..., ::-1]
    padding = [(0, 0)] * (images.ndim - 3) + [(pixels, pixels)] * 2
    for image, digest, windows in zip(images, points.digests, queries[:, 2:], strict=True):
        random = stream(seed, purpose, int.from_bytes(digest, "big"))
        padded = np.pad(image, padding, mode="reflect")
        draws = random.integers(0, [2, 2 * pixels + 1, 2 * pixels + 1], size=(len(windows), 3))
        for window, (mirrored, top, left) in zip(windows, draws, strict=True):
            cut = padded[..., top : top + height, left : left + width]
            window[...] = cut[..., ::-1] if mirrored else cut
    return queries


def drop_words(texts: NDArray[Any], fraction: float, random: np.random.Generator) -> NDArray[Any]:
    """Leave out each word with probability ``fraction``, but never all of them."""
    shortened = np.empty_like(texts)
    for index, text in enumerate(texts):
        words = text.split()
        kept = [word for word, draw in zip(words, random.random(len(words)), strict=True) if draw >= fraction]
        shortened[index] = " ".join(kept or words[:1])
    return shortened


def mask_words(text: str, fraction: float, mask_token: str | None, random: np.random.Generator) -> str:
    """Replace each word with probability ``fraction``, but never all of them; the white space stays as it is.

    Args:
        text: the text.
        fraction: of the words.
        mask_token: what stands in the place of a word; None leaves it out.
        random: one draw per word is made.
    """
    draws = random.random(len(text.split()))
    masked = draws < fraction
    if len(draws) and masked.all():
        masked[draws.argmax()] = False
    if mask_token is None:
        return " ".join(word for word, hidden in zip(text.split(), masked, strict=True) if not hidden)
    hidden = iter(masked)
    return WORD.sub(lambda word: mask_token if next(hidden) else word[0], text)


def truncate(text: str, share: float, random: np.random.Generator) -> str:
    """Cut off words at the end: at least one of them and at most ``share``, if that is a word, but never all."""
    ends = [word.end() for word in WORD.finditer(text)]
    most = min(int(share * len(ends)), len(ends) - 1)
    return text[: ends[-1 - int(random.integers(1, most + 1))]] if most > 0 else text


def _vary(points: Points, count: int, variation: Variation, seed: int, purpose: str) -> NDArray[Any]:
    """Texts and their variations ``[points, count]``, each text with a stream of its own as in `flip_crop`."""
    queries = np.empty((len(points), count), dtype=object)
    for own, text, digest in zip(queries, points.raw, points.digests, strict=True):
        random = stream(seed, purpose, int.from_bytes(digest, "big"))
        own[:] = [text, *(variation(text, random) for _ in range(count - 1))]
    return queries


def _variation(query: QueryConfig, mask_token: str | None) -> Variation:
    if query.strength > 1:
        raise TmiError(
            f"query.strength is {query.strength:g}, expected at most 1, a share of the words, with query.augmentation "
            f"{query.augmentation!r}"
        )
    if query.augmentation == "truncation":
        return lambda text, random: truncate(text, query.strength, random)
    return lambda text, random: mask_words(text, query.strength, mask_token, random)


def _whole_pixels(points: Points, query: QueryConfig) -> int:
    least = min(points.raw.shape[-2:])
    if not query.strength.is_integer() or query.strength >= least:
        raise TmiError(
            f"query.strength is {query.strength:g}, expected a whole number of pixels below {least}, the size of the "
            "images, with query.augmentation 'flip-crop'"
        )
    return int(query.strength)
