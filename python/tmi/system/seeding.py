"""Independent random streams, each named by what it is for.

Every draw of a run comes from a stream keyed by the run's seed, a purpose and, where there is one, a model. Which
other models exist, in which process a model is trained or whether a run was resumed therefore changes no draw.
"""

from __future__ import annotations

import zlib

import numpy as np


def stream(seed: int, purpose: str, *indices: int) -> np.random.Generator:
    """A NumPy generator for one purpose, for instance ``stream(seed, "membership", model)``."""
    return np.random.default_rng(_sequence(seed, purpose, indices))


def torch_seed(seed: int, purpose: str, *indices: int) -> int:
    """A 63-bit seed for a ``torch.Generator`` of one purpose."""
    return int(_sequence(seed, purpose, indices).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _sequence(seed: int, purpose: str, indices: tuple[int, ...]) -> np.random.SeedSequence:
    return np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), *indices])
