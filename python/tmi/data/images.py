"""Images that are encoded as PNG, JPEG or the like."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tmi.errors import TmiError


def stack_images(encoded: Iterable[tuple[str, Path | bytes]], number: int) -> NDArray[np.uint8]:
    """Decode images of one size.

    Args:
        encoded: what each is called in error messages, and its file or content.
        number: how many there are.

    Returns:
        uint8 ``[images, 3, height, width]``, RGB.

    Raises:
        TmiError: an image is damaged, or has another size than the first.
    """
    images = np.empty((0, 3, 0, 0), dtype=np.uint8)
    first = ""
    for index, (where, source) in enumerate(encoded):
        image = _decode(source, where)
        if index == 0:
            images, first = np.empty((number, *image.shape), dtype=np.uint8), where
        if image.shape != images.shape[1:]:
            raise TmiError(
                f"{where}: is {_size(image)}, but {first} is {_size(images[0])}: expected images of one size, "
                "resize or crop them before"
            )
        images[index] = image
    return images


def _decode(source: Path | bytes, where: str) -> NDArray[np.uint8]:
    """One image, uint8 ``[3, height, width]``."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            pixels: NDArray[np.uint8] = np.asarray(image.convert("RGB"))
    except FileNotFoundError:
        raise TmiError(f"{where}: there is no such file") from None
    except Exception as error:  # a damaged image fails in as many ways as there are formats
        raise TmiError(f"{where}: not a readable image: {error}") from None
    planes: NDArray[np.uint8] = pixels.transpose(2, 0, 1)
    return planes


def _size(image: NDArray[np.uint8]) -> str:
    return f"{image.shape[2]} x {image.shape[1]} pixels"
