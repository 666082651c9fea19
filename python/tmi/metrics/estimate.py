"""A figure with its interval, and which rates a sample can say anything about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

# With fewer false positives a true positive rate is mostly the luck of a few non-members, and too high on average.
LEAST_FALSE_POSITIVES = 10
# How often an effect is to be seen for which data are said to be large enough.
POWER = 0.8


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval.

    Attributes:
        estimate: on all scores.
        low: lower end of the interval.
        high: upper end of the interval.
        resolvable: False if the sample is too small for the figure to mean anything.
        p_value: one-sided, of a figure no better than chance; None for figures that are compared with none.
    """

    estimate: float
    low: float
    high: float
    resolvable: bool = True
    p_value: float | None = None


def resolves(rate: float, non_members: int) -> bool:
    """Whether so many non-members say something about a false positive rate: it stands for about ten of them."""
    # Ten after rounding: 64 models with 150 non-members each are enough for 0.1%.
    return rate * non_members >= LEAST_FALSE_POSITIVES - 0.5


def detectable(estimate: Estimate, confidence: float) -> float:
    """The true distance from chance whose interval would exclude chance in four of five such measurements.

    The standard error follows from the width of the interval, as if the estimate were normal:
    ``(z(1 - alpha / 2) + z(power)) * standard error``.
    """
    of_interval = NormalDist().inv_cdf((1 + confidence) / 2)
    standard_error = (estimate.high - estimate.low) / (2 * of_interval)
    return standard_error * (of_interval + NormalDist().inv_cdf(POWER))


def holm(p_values: Sequence[float]) -> NDArray[np.float64]:
    """P-values for looking at all of them: chance makes any of them at most x with probability x at most (Holm 1979).

    Args:
        p_values: of hypotheses that may depend on one another in any way.

    Returns:
        Adjusted p-values in the same order.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return adjusted
