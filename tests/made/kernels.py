"""Arrays of any layout for kernels."""

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from scipy.special import logsumexp

# No deadline: on a shared machine any example may take long.
thorough = settings(deadline=None, max_examples=60)


def reference_scaled(logits: np.ndarray) -> np.ndarray:
    z = np.clip(logits.astype(np.float64), -1e4, 1e4)
    others = [logsumexp(np.delete(z, c, axis=-1), axis=-1) for c in range(z.shape[-1])]
    return z - np.stack(others, axis=-1)


def predictions_like(seed: int, shape: tuple[int, ...], dtype=np.float32, scale: float = 4.0) -> np.ndarray:
    return (scale * np.random.default_rng(seed).normal(size=shape)).astype(dtype)


def strided(array: np.ndarray) -> np.ndarray:
    """The same values in a view that is contiguous along no axis and runs backwards along the first."""
    padded = np.zeros(tuple(2 * n + 1 for n in array.shape), array.dtype)
    view = padded[tuple(slice(1, None, 2) for _ in array.shape)][::-1]
    view[...] = array
    assert not view.flags.c_contiguous or array.size <= 1
    return view


seeds = st.integers(0, 2**32 - 1)


float_types = st.sampled_from([np.float32, np.float16])


layouts = st.sampled_from([np.ascontiguousarray, np.asfortranarray, strided])


scales = st.sampled_from([0.01, 1.0, 8.0, 60.0])
