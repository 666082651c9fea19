"""``cifar10:DIR``: the 60,000 images of CIFAR-10."""

from __future__ import annotations

from pathlib import Path

from tmi.data.cifar import CIFAR10, CIFAR10_LAYOUTS, load_layout
from tmi.data.points import Points

# NAME is a path, relative to the configuration's file.
READS_FILES = True


def load(name: str, split: str | None = None) -> Points:
    """``cifar10:DIR``: uint8 ``[points, 3, 32, 32]`` in 10 classes.

    Args:
        name: the folder ``cifar-10-batches-py`` or ``cifar-10-batches-bin``, or the one that holds it; where both
            are, the first is read.
        split: ``train`` or ``test``; both if left out, ``train`` first.

    Raises:
        TmiError: no such folder or split, or a file that is missing, damaged or no CIFAR file.
    """
    return load_layout(Path(name), CIFAR10_LAYOUTS, split, CIFAR10, (CIFAR10,))
