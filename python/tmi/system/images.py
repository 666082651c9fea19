"""Arrays as pictures with 8 bits a channel."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image


def picture_of(pixels: NDArray[Any]) -> Image:
    """A picture of ``[height, width]`` or ``[height, width, channels]``, uint8 or floats of which [0, 1] is shown."""
    from PIL import Image

    if pixels.dtype != np.uint8:
        pixels = np.rint(np.clip(np.nan_to_num(pixels), 0, 1) * 255).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(pixels))


def png_of(picture: Image) -> bytes:
    """The content of a PNG file."""
    stream = io.BytesIO()
    picture.save(stream, format="PNG")
    return stream.getvalue()
