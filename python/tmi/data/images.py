"""Images that are encoded as PNG, JPEG or the like."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tmi.errors import TmiError
from tmi.system.files import file_size
from tmi.system.memory import require_room

# What Pillow may take a file for: some of its other formats start programs.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
# Of one image. No network that is trained here reads as many, and a PNG of one colour packs them into few bytes.
MOST_PIXELS = 4096 * 4096


def stack_images(encoded: Iterable[tuple[str, Path | bytes]], number: int) -> NDArray[np.uint8]:
    """Decode images of one size.

    Args:
        encoded: what each is called in error messages, and its file or content.
        number: how many there are.

    Returns:
        uint8 ``[images, 3, height, width]``, RGB.

    Raises:
        TmiError: an image is damaged, has another size than the first, or more than ``MOST_PIXELS`` pixels; or there is
            no memory for all of them, which is said before the first is decoded.
    """
    images = np.empty((0, 3, 0, 0), dtype=np.uint8)
    first = ""
    for index, (where, source) in enumerate(encoded):
        image = _decode(source, where, number if index == 0 else 1)
        if index == 0:
            images, first = np.empty((number, *image.shape), dtype=np.uint8), where
        if image.shape != images.shape[1:]:
            raise TmiError(
                f"{where}: is {_size(image)}, but {first} is {_size(images[0])}: expected images of one size, "
                "resize or crop them before"
            )
        images[index] = image
    return images


def _decode(source: Path | bytes, where: str, number: int) -> NDArray[np.uint8]:
    """One image, uint8 ``[3, height, width]``, if there is room for so many like it."""
    from PIL import Image

    try:
        packed = len(source) if isinstance(source, bytes) else file_size(source)
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as image:
            if (count := image.width * image.height) > MOST_PIXELS:
                raise TmiError(f"{where}: has {count:,} pixels, expected at most {MOST_PIXELS:,}: resize or crop it")
            of_all = where if number == 1 else f"{where} and the {number - 1} others"
            require_room(3 * count * number, of_all, packed * number)
            pixels: NDArray[np.uint8] = np.asarray(image.convert("RGB"))
    except FileNotFoundError:
        raise TmiError(f"{where}: there is no such file") from None
    except TmiError:
        raise
    except Exception as error:  # a damaged image fails in as many ways as there are formats
        raise TmiError(f"{where}: not a readable image: {error}") from None
    planes: NDArray[np.uint8] = pixels.transpose(2, 0, 1)
    return planes


def _size(image: NDArray[np.uint8]) -> str:
    return f"{image.shape[2]} x {image.shape[1]} pixels"
