"""``imagefolder:DIR``: folders of images, one per class."""

from __future__ import annotations

from pathlib import Path

from tmi.data.arrays import with_ids, with_named_labels
from tmi.data.images import stack_images
from tmi.data.points import Points
from tmi.errors import TmiError, listed

# NAME is a path, relative to the configuration's file.
READS_FILES = True
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def load(name: str, split: str | None = None) -> Points:
    """``imagefolder:DIR``: image files ``DIR/CLASS/FILE`` or ``DIR/SPLIT/CLASS/FILE``, as uint8 RGB.

    A point is called by its path below ``DIR``.

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
        found = listed(folder.name for folder in _folders(root)) or "none"
        raise TmiError(f"{root}: split is {split!r}, but there is no such folder in it, found {found}")
    classes = _class_folders(root if split is None else root / split)
    files = [(file, folder.name) for folder in classes for file in _image_files(folder)]
    raw = stack_images(((str(file), file) for file, _ in files), len(files))
    points = with_named_labels(raw, [label for _, label in files], "image")
    return with_ids(points, [file.relative_to(root).as_posix() for file, _ in files], str(root))


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
