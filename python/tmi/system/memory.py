"""How much memory scoring may take, and reading no more than that of what is in files."""

from __future__ import annotations

import re

UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
# Below this the blocks are so small that starting to work on them takes longer than the work.
LEAST_MEMORY = 64 << 20
DEFAULT_MEMORY = 1 << 30


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
