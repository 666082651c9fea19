"""How much memory scoring may take, and reading no more than that of what is in files."""

from __future__ import annotations

import re

from tmi.errors import TmiError
from tmi.system.machine import total_memory

UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
# Below this the blocks are so small that starting to work on them takes longer than the work.
LEAST_MEMORY = 64 << 20
DEFAULT_MEMORY = 1 << 30
# What is read from a file as a whole is copied once at least: as points, then as those of a model.
MOST_OF_THE_MACHINE = 1 / 2
# What a file may unpack to: so many times its size. No real logits shrink a thousandfold, but small files of zeros do.
LARGEST_RATIO = 1000
RATIO_MATTERS_FROM = 64 << 20


def require_room(size: int, where: str, packed: int | None = None) -> None:
    """Refuse, before it is read or made, what this machine has no memory for.

    Args:
        size: bytes that it takes, as far as that is known beforehand.
        where: begins the error message.
        packed: bytes of the files that it is unpacked from, if it is.

    Raises:
        TmiError: it is too large, or so many times as large as its files that these were made to be so.
    """
    limit = total_memory()
    if limit is not None and size > limit * MOST_OF_THE_MACHINE:
        raise TmiError(
            f"{where} takes {_sized(size)} of memory, expected at most {_sized(int(limit * MOST_OF_THE_MACHINE))}, "
            "half of this machine's"
        )
    if packed is not None and size > max(RATIO_MATTERS_FROM, LARGEST_RATIO * packed):
        raise TmiError(
            f"{where}: {_sized(packed)} would unpack to {_sized(size)}, expected at most {LARGEST_RATIO} times as much"
        )


def _sized(size: int) -> str:
    return f"{size / (1 << 30):,.1f} GiB" if size >= 1 << 30 else f"{size:,} bytes"


def parse_memory(text: str) -> int:
    """Bytes from a number with a unit: ``500M``, ``1.5G``, ``2000000K``; K, M and G are powers of 1024.

    Raises:
        ValueError: not of that form, or less than 64M.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG])(?:i?B)?", text.strip(), re.IGNORECASE)
    if found is None:
        raise ValueError("expected a number with the unit K, M or G, for instance 500M or 2G")
    size = int(float(found[1]) * UNITS[found[2].upper()])
    if size < LEAST_MEMORY:
        raise ValueError(f"expected at least {LEAST_MEMORY >> 20}M")
    return size
