"""Images that are encoded as PNG, JPEG or the like, and folders of them."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tmi.data.points import Points
from tmi.data.sources.arrays import with_named_labels
from tmi.errors import TmiError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def load_imagefolder(name: str, split: str | None = None) -> Points:
    """``imagefolder:DIR``: image files ``DIR/CLASS/FILE`` or ``DIR/SPLIT/CLASS/FILE``, as uint8 RGB.

    Args:
        name: the folder.
        split: one of its folders, which then holds those of the classes; if left out, all of it.

    Raises:
        TmiError: a folder is missing or has no images, an image is damaged, or their sizes differ.
    """
    root = Path(name)
    if not root.is_dir():
        raise TmiError(f"{root}: there is no such directory")
    if split is not None and not (root / split).is_dir():
        found = ", ".join(folder.name for folder in _folders(root)) or "none"
        raise TmiError(f"{root}: split is {split!r}, but there is no such folder in it, found {found}")
    classes = _class_folders(root if split is None else root / split)
    files = [(file, folder.name) for folder in classes for file in _image_files(folder)]
    raw = stack_images(((str(file), file) for file, _ in files), len(files))
    return with_named_labels(raw, [label for _, label in files], "image")


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


def _class_folders(root: Path) -> list[Path]:
    """The folders of the classes, those of all splits where the folders in ``root`` hold folders only."""
    folders = _folders(root)
    if not folders:
        raise TmiError(f"{root}: holds no folders, expected one per class with its images")
    if any(_images_in(folder) for folder in folders):
        return folders
    return [inner for folder in folders for inner in _folders(folder)] or folders


def _image_files(folder: Path) -> list[Path]:
    files = _images_in(folder)
    if not files:
        raise TmiError(f"{folder}: holds no images, expected those of its class ({', '.join(SUFFIXES)})")
    return files


def _images_in(folder: Path) -> list[Path]:
    return sorted(
        file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
    )


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
