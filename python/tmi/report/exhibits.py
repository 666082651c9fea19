"""What points look like on the page: images, texts and vectors as HTML elements."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from tmi.system.images import picture_of, png_of

LONGEST_SIDE = 256
"""Pixels to which larger images are shrunk: a page with full-size photographs would hardly load."""

LONGEST_TEXT = 600
"""Characters of a text that are shown."""

MOST_VALUES = 12
"""Values of a vector that are shown."""

SMALL_SIDE = 96
SMALL_TEXT = 240
"""The same of points that are shown on demand: there are many of them."""


@dataclass(frozen=True)
class Exhibit:
    """What a point of the pool looks like.

    Attributes:
        kind: how ``content`` is to be shown.
        content: ``image``: ``[height, width]``, ``[height, width, 3]`` or ``[channels, height, width]``,
            floats in [0, 1] or uint8; ``text``: a ``str``; ``vector``: a one-dimensional array.
    """

    kind: Literal["image", "text", "vector"]
    content: NDArray[Any] | str

    @property
    def html(self) -> Markup:
        """The content as an HTML element; text is escaped.

        Raises:
            ValueError: the content is no image of the shapes above.
        """
        return self._element(LONGEST_SIDE, LONGEST_TEXT)

    @property
    def small(self) -> Markup:
        """The same as `html`, with smaller images and shorter texts."""
        return self._element(SMALL_SIDE, SMALL_TEXT)

    def _element(self, side: int, characters: int) -> Markup:
        if self.kind == "image":
            encoded = base64.b64encode(png_of_image(np.asarray(self.content), side)).decode()
            return Markup('<img src="data:image/png;base64,{}" alt="" loading="lazy" decoding="async">').format(encoded)
        if self.kind == "text":
            return Markup("<blockquote>{}</blockquote>").format(_shortened(str(self.content), characters))
        return Markup("<code>{}</code>").format(_first_values(np.asarray(self.content)))


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


def _shortened(text: str, characters: int) -> str:
    if len(text) <= characters:
        return text
    return f"{text[:characters]} … ({len(text):,} characters)"


def _first_values(vector: NDArray[Any]) -> str:
    shown = ", ".join(f"{value:.4g}" for value in vector[:MOST_VALUES])
    return shown if len(vector) <= MOST_VALUES else f"{shown}, … ({len(vector):,} values)"
