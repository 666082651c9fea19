"""Timing several ways to do the same, interleaved, so that what else the machine does hits all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Spread:
    """The middle of some numbers and how far they reach."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """Median, smallest and largest."""
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Times:
    """Seconds of every round, by what was timed; the rounds of all are in step."""

    seconds: Mapping[str, list[float]]

    def spread(self, name: str) -> Spread | None:
        """Seconds of one of them, None if it was not timed."""
        return Spread.of(self.seconds[name]) if name in self.seconds else None

    def ratio(self, slower: str, faster: str) -> Spread | None:
        """How many times as long one takes as the other, round by round; None if either was not timed."""
        if slower not in self.seconds or faster not in self.seconds:
            return None
        pairs = zip(self.seconds[slower], self.seconds[faster], strict=True)
        return Spread.of([numerator / denominator for numerator, denominator in pairs])


def interleaved(calls: Mapping[str, Callable[[], Any]], rounds: int) -> Times:
    """Time calls in turn: A B C A B C ..., after one call of each that does not count.

    Args:
        calls: what to time, by name.
        rounds: how often each is timed.
    """
    for call in calls.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - started)
    return Times(seconds)
