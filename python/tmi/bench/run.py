"""Timing the cases, interleaved, so that what else the machine does hits all calls; and describing the machine."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from tmi import __version__
from tmi.bench.cases import Case, Size, attack_cases, feature_cases, made_up, metric_cases
from tmi.errors import TmiError
from tmi.system.files import write_json
from tmi.system.machine import available_cores, text_of
from tmi.system.progress import Progress

SCHEMA = 1
KERNEL, REFERENCE, COPY, MORE_THREADS = "kernel", "reference", "copy", "more_threads"


@dataclass(frozen=True)
class Spread:
    """The middle of some numbers and how far they reach."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Median, smallest and largest."""
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Result:
    """The seconds of every round of one case, by what was timed; the rounds of all are in step."""

    case: Case
    seconds: Mapping[str, list[float]]

    def ratio(self, slower: str, faster: str) -> Spread | None:
        """How many times as long one takes as the other, round by round; None if either was not timed."""
        if slower not in self.seconds or faster not in self.seconds:
            return None
        pairs = zip(self.seconds[slower], self.seconds[faster], strict=True)
        return Spread.of([numerator / denominator for numerator, denominator in pairs])

    def to_dict(self) -> dict[str, Any]:
        """As in the JSON file.

        ``to_reference`` is how many times as long the reference takes, ``to_copy`` how many times as long as a copy
        the kernel takes, ``more_threads`` how many times as long as with twice the threads. Times are in seconds.
        """
        ratios = {
            "to_reference": self.ratio(REFERENCE, KERNEL),
            "to_copy": self.ratio(KERNEL, COPY),
            "more_threads": self.ratio(KERNEL, MORE_THREADS),
        }
        return {
            "name": self.case.name,
            "unit": self.case.unit,
            "items": self.case.items,
            "bytes": self.case.source.nbytes,
            "reference": self.case.rival if self.case.reference else None,
            "seconds": dict(self.seconds),
            "ratios": {name: asdict(ratio) for name, ratio in ratios.items() if ratio is not None},
        }


def run_bench(
    size: Size,
    *,
    attacks: Sequence[str] = ("tmi", "gaussian", "adapted-lira"),
    targets: int = 3,
    threads: int = 1,
    repeat: int = 7,
    progress: Progress,
) -> list[Result]:
    """Time every case in so many rounds; the linear algebra in NumPy has as many threads as the kernels.

    Raises:
        TmiError: no such attack, or the answers do not fit the memory.
    """
    try:
        answers = made_up(size)
        cases = [*feature_cases(answers), *metric_cases(), *attack_cases(answers, attacks, targets)]
        progress.begin("bench", len(cases))
        results = []
        try:
            with threadpool_limits(threads):
                for case in cases:
                    results.append(Result(case, _timed(case, threads, repeat)))
                    progress.advance(1)
        finally:
            progress.end()
        return results
    except MemoryError:
        raise TmiError("the answers do not fit the memory; choose fewer --models or --points") from None


def document(results: Sequence[Result], size: Size, threads: int) -> dict[str, Any]:
    """Everything that is known about a run of the benchmark, as it is written to a JSON file."""
    return {
        "schema": SCHEMA,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(),
        "size": asdict(size),
        "threads": threads,
        "more_threads": 2 * threads,
        "results": [result.to_dict() for result in results],
    }


def write(path: Path, results: dict[str, Any]) -> None:
    """Write a benchmark `document` as JSON.

    Raises:
        TmiError: it cannot be written there.
    """
    try:
        write_json(path, results)
    except OSError as error:
        raise TmiError(f"{path}: cannot be written: {error.strerror}") from None


def machine() -> dict[str, Any]:
    """The processor, the cores that this process may use, and the system."""
    lines = text_of(Path("/proc/cpuinfo")).splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "architecture": platform.machine(),
        "cores": available_cores(),
        "system": platform.system(),
    }


def versions() -> dict[str, str]:
    """Of this package and of what it is compared with."""
    packages = ("numpy", "scipy", "scikit-learn", "lightgbm")
    return {"tmi": __version__, "python": platform.python_version()} | {name: version(name) for name in packages}


def _timed(case: Case, threads: int, repeat: int) -> dict[str, list[float]]:
    copy = np.empty_like(case.source)
    calls: dict[str, Callable[[], Any]] = {KERNEL: lambda: case.kernel(threads)}
    if case.reference is not None:
        calls[REFERENCE] = case.reference
    calls[COPY] = lambda: np.copyto(copy, case.source)
    if 2 * threads <= available_cores():
        calls[MORE_THREADS] = lambda: case.kernel(2 * threads)
    return interleaved(calls, min(repeat, case.most_rounds or repeat))


def interleaved(calls: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of calls in turn, A B C A B C ..., after one call of each that does not count."""
    for call in calls.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - started)
    return seconds
