"""How the scores of members and of non-members are spread."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 40
# Between these percentiles of all scores the bins are of equal width; the outer bins take what lies beyond.
SHOWN = (0.5, 99.5)


def score_histogram(scores: NDArray[np.float64], labels: NDArray[np.bool_]) -> dict[str, Any]:
    """Counts of members and of non-members in bins of the score.

    Args:
        scores: float64 of any shape, without NaN; infinities are legal and fall into the outer bins.
        labels: bool of the same shape.

    Returns:
        ``edges`` of the bins, one more than there are bins, and the counts ``members`` and ``non_members``, whose sums
        are the numbers of either.
    """
    finite = scores[np.isfinite(scores)]
    low, high = np.percentile(finite, SHOWN) if len(finite) else (0.0, 0.0)
    if np.spacing(max(abs(low), abs(high))) * BINS >= high - low:
        # All scores alike, or nearly: bins must still have a width that floats can tell.
        margin = max(0.5, float(np.spacing(max(abs(low), abs(high))) * BINS))
        low, high = low - margin, high + margin
    edges = np.linspace(low, high, BINS + 1)
    bins = np.searchsorted(edges[1:-1], scores, side="right")
    return {
        "edges": edges.tolist(),
        "members": np.bincount(bins[labels], minlength=BINS).tolist(),
        "non_members": np.bincount(bins[~labels], minlength=BINS).tolist(),
    }
