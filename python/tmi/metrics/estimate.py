"""A figure with its interval, and which rates a sample can say anything about."""

from __future__ import annotations

from dataclasses import dataclass

# With fewer false positives a true positive rate is mostly the luck of a few non-members, and too high on average.
LEAST_FALSE_POSITIVES = 10


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
    """Whether so many non-members say something about a false positive rate."""
    # Rounding must not make 0.01 of 1,000 less than 10.
    return rate * non_members >= LEAST_FALSE_POSITIVES * (1 - 1e-9)
