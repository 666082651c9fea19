"""``cifar100:DIR``: the 60,000 images of CIFAR-100."""

from __future__ import annotations

from pathlib import Path

from tmi.data.cifar import CIFAR100_LAYOUTS, COARSE, FINE, load_layout
from tmi.data.points import Points
from tmi.errors import TmiError, did_you_mean

# NAME is a path, relative to the configuration's file.
READS_FILES = True


def load(name: str, split: str | None = None, labels: str | None = None) -> Points:
    """``cifar100:DIR``: uint8 ``[points, 3, 32, 32]`` in 100 fine or 20 coarse classes.

    Args:
        name: the folder ``cifar-100-python`` or ``cifar-100-binary``, or the one that holds it; where both are, the
            first is read.
        split: ``train`` or ``test``; both if left out, ``train`` first.
        labels: ``fine`` (if left out) or ``coarse``.

    Raises:
        TmiError: no such folder, split or labels, or a file that is missing, damaged or no CIFAR file.
    """
    kinds = {"fine": FINE, "coarse": COARSE}
    if labels is not None and labels not in kinds:
        raise TmiError(f"source 'cifar100:{name}': labels is {labels!r}{did_you_mean(labels, list(kinds))}")
    return load_layout(Path(name), CIFAR100_LAYOUTS, split, kinds[labels or "fine"], (COARSE, FINE))
