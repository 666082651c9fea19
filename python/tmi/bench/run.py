"""Timing the cases and describing the machine."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from tmi import __version__
from tmi.bench.cases import Case, Size, attack_cases, feature_cases, made_up, metric_cases
from tmi.bench.measure import Spread, Times, interleaved
from tmi.errors import TmiError
from tmi.system.files import write_json
from tmi.system.machine import available_cores
from tmi.system.progress import Progress

SCHEMA = 1
KERNEL, REFERENCE, COPY, MORE_THREADS = "kernel", "reference", "copy", "more_threads"


@dataclass(frozen=True)
class Result:
    """The times of one case."""

    case: Case
    times: Times

    @property
    def seconds(self) -> Spread:
        """Of one call of the kernel."""
        return Spread.of(list(self.times.seconds[KERNEL]))

    def to_dict(self) -> dict[str, Any]:
        """As in the JSON file.

        ``to_reference`` is how many times as long the reference takes, ``to_copy`` how many times as long as a copy
        the kernel takes, ``more_threads`` how many times as long as with twice the threads. Times are in seconds.
        """
        ratios = {
            "to_reference": self.times.ratio(REFERENCE, KERNEL),
            "to_copy": self.times.ratio(KERNEL, COPY),
            "more_threads": self.times.ratio(KERNEL, MORE_THREADS),
        }
        return {
            "name": self.case.name,
            "unit": self.case.unit,
            "items": self.case.items,
            "bytes": self.case.source.nbytes,
            "reference": self.case.rival if self.case.reference else None,
            "seconds": dict(self.times.seconds),
            "ratios": {name: asdict(ratio) for name, ratio in ratios.items() if ratio is not None},
        }


def run_bench(
    size: Size,
    *,
    attacks: Sequence[str] = ("tmi", "gaussian", "adapted-lira"),
    targets: int = 2,
    threads: int = 1,
    repeat: int = 7,
    progress: Progress,
) -> list[Result]:
    """Time every case.

    Args:
        size: of the made-up answers.
        attacks: names of the attacks.
        targets: how many targets the attacks score.
        threads: of the kernels, and of the linear algebra in NumPy.
        repeat: rounds.
        progress: shows how far the work is.

    Raises:
        TmiError: no such attack, or the answers do not fit the memory.
    """
    try:
        answers = made_up(size)
        cases = [*feature_cases(answers), *metric_cases(), *attack_cases(answers, attacks, targets)]
        return list(_results(cases, threads, repeat, progress))
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
    return {
        "processor": _processor(),
        "architecture": platform.machine(),
        "cores": available_cores(),
        "system": platform.system(),
    }


def versions() -> dict[str, str]:
    """Of this package and of what it is compared with."""
    packages = ("numpy", "scipy", "scikit-learn", "lightgbm")
    return {"tmi": __version__, "python": platform.python_version()} | {name: version(name) for name in packages}


def _results(cases: Sequence[Case], threads: int, repeat: int, progress: Progress) -> Iterator[Result]:
    progress.begin("bench", len(cases))
    try:
        with threadpool_limits(threads):
            for case in cases:
                yield Result(case, _timed(case, threads, repeat))
                progress.advance(1)
    finally:
        progress.end()


def _timed(case: Case, threads: int, repeat: int) -> Times:
    copy = np.empty_like(case.source)
    calls: dict[str, Callable[[], Any]] = {KERNEL: lambda: case.kernel(threads)}
    if case.reference is not None:
        calls[REFERENCE] = case.reference
    calls[COPY] = lambda: np.copyto(copy, case.source)
    if 2 * threads <= available_cores():
        calls[MORE_THREADS] = lambda: case.kernel(2 * threads)
    return interleaved(calls, min(repeat, case.most_rounds or repeat))


def _processor() -> str:
    """The name of the processor as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
