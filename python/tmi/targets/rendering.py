"""A raw point as JSON, as a picture, and as a hash."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from tmi.system.images import picture_of, png_of

if TYPE_CHECKING:
    from PIL.Image import Image

PointKind = Literal["image", "text", "vector"]


def as_json(point: Any, kind: PointKind, image: Literal["png", "list"]) -> str:
    """The JSON of one point: a string, a PNG in base64, or (nested) lists of numbers."""
    if kind == "text":
        return json.dumps(str(point))
    if kind == "image" and image == "png":
        return json.dumps(base64.b64encode(png_of(as_picture(point))).decode("ascii"))
    return json.dumps(np.asarray(point).tolist())


def as_picture(image: NDArray[Any]) -> Image:
    """An image ``[height, width]`` or ``[channels, height, width]``, uint8 or float in [0, 1], with 8 bits a pixel."""
    if image.ndim == 3:
        image = image[0] if image.shape[0] == 1 else np.moveaxis(image, 0, -1)
    return picture_of(image)


def digest(point: Any) -> bytes:
    """A hash of everything that a point is."""
    if isinstance(point, str):
        return hashlib.sha256(b"text " + point.encode("utf-8", "surrogatepass")).digest()
    array = np.ascontiguousarray(point)
    return hashlib.sha256(f"{array.dtype.str} {array.shape} ".encode() + array.tobytes()).digest()
