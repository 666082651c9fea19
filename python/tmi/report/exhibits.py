"""What points look like on the page: images, texts and vectors as HTML elements."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from tmi.system.images import picture_of, png_of

# Pixels to which larger images are shrunk (a page with full-size photographs would hardly load), and characters of a
# text that are shown: there are many of them.
LONGEST_SIDE, LONGEST_TEXT = 128, 300
# Values of a vector that are shown.
MOST_VALUES = 12
# Characters of a text whose tokens are shaded: there are few of them.
LONGEST_SHADED = 2000
# The movement of a token's log-odds, either way, from which on its shade is the darkest: a factor of 20 in the odds.
DARKEST = 3.0


@dataclass(frozen=True)
class Exhibit:
    """What a point of the pool looks like.

    Attributes:
        kind: how ``content`` is to be shown.
        content: ``image``: ``[height, width]``, ``[height, width, 3]`` or ``[channels, height, width]``,
            floats in [0, 1] or uint8; ``text``: a ``str``; ``vector``: a one-dimensional array.
        tokens: of a text that models that write were asked about: where each of its tokens ends, in characters, and by
            how much membership moved its log-odds; NaN where models say nothing about it.
    """

    kind: Literal["image", "text", "vector"]
    content: NDArray[Any] | str
    tokens: Sequence[tuple[int, float]] = ()

    @property
    def html(self) -> Markup:
        """The content as an HTML element; text is escaped.

        Raises:
            ValueError: the content is no image of the shapes above.
        """
        if self.kind == "image":
            encoded = base64.b64encode(png_of_image(np.asarray(self.content))).decode()
            return Markup('<img src="data:image/png;base64,{}" alt="" loading="lazy" decoding="async">').format(encoded)
        if self.kind == "text":
            text = str(self.content)
            if self.tokens:
                return Markup("<blockquote>{}</blockquote>").format(_shaded(text, self.tokens))
            cut = text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]} … ({len(text):,} characters)"
            return Markup("<blockquote>{}</blockquote>").format(cut)
        vector = np.asarray(self.content)
        shown = ", ".join(f"{value:.4g}" for value in vector[:MOST_VALUES])
        cut = shown if len(vector) <= MOST_VALUES else f"{shown}, … ({len(vector):,} values)"
        return Markup("<code>{}</code>").format(cut)


def _shaded(text: str, tokens: Sequence[tuple[int, float]]) -> Markup:
    """A text with a shade behind each token, blue where members' models are surer of it, orange where they are less."""
    parts, start = [Markup("")], 0
    for end, moved in tokens:
        if not start < end <= LONGEST_SHADED:
            # One character may be several tokens; the first stands for all.
            continue
        part, start = text[start:end], end
        if math.isnan(moved):
            parts.append(Markup.escape(part))
            continue
        mark = Markup('<mark class="{}" style="--share: {}%" title="{}">{}</mark>')
        share = round(100 * min(abs(moved) / DARKEST, 1.0))
        parts.append(mark.format("more" if moved > 0 else "less", share, f"{moved:+.2f}", part))
    rest = text[start:]
    cut = rest if len(text) <= LONGEST_SHADED else f" … ({len(text):,} characters)"
    return Markup("").join([*parts, Markup.escape(cut)])


def png_of_image(image: NDArray[Any], longest_side: int = LONGEST_SIDE) -> bytes:
    """An image as PNG, shrunk where its longest side has more than so many pixels.

    Args:
        image: ``[height, width]``, ``[height, width, 3]`` or ``[channels, height, width]``; uint8, or floats
            of which [0, 1] is shown. Channels other than one or three are averaged to grey.
        longest_side: pixels.

    Raises:
        ValueError: the array has another shape.
    """
    picture = picture_of(_channels_last(image))
    picture.thumbnail((longest_side, longest_side))
    return png_of(picture)


def _channels_last(image: NDArray[Any]) -> NDArray[Any]:
    """``[height, width]`` or ``[height, width, 3]``, whatever the layout was."""
    if image.ndim == 2:
        return image
    if image.ndim != 3:
        raise ValueError(f"an image has the shape {list(image.shape)}, expected two or three dimensions")
    if image.shape[0] == 3 or image.shape[2] not in (1, 3):
        image = np.moveaxis(image, 0, 2)
    if image.shape[2] == 3:
        return image
    grey: NDArray[Any] = image.mean(axis=2).astype(image.dtype)
    return grey
