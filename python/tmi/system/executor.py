"""Worker processes of one thread each, which never outlive the process that started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from tmi.errors import TmiError
from tmi.system.progress import Progress, Silent

Result = TypeVar("Result")

# How often the progress of worker processes is looked at.
REFRESH_SECONDS = 0.2


def samples_trained(samples: int) -> None:
    """Called by a job: it has trained on some samples."""
    _report(samples)


def worker_index() -> int:
    """Which of the worker processes this is, from 0; 0 in the main process."""
    return _index


# What a job's report does in this process, and which of the workers the process is.
_report: Callable[[int], None] = Silent().trained
_index = 0


class Workers:
    """Runs jobs in processes and shows how far they are.

    With one worker the jobs run in this process. The order in which jobs end has no influence on what they return.
    """

    def __init__(self, processes: int, progress: Progress) -> None:
        self.processes = processes
        self.progress = progress
        self._executor: ProcessPoolExecutor | None = None
        self._lifeline: Connection | None = None
        # Samples that each worker process has trained on. One writer each, so that none waits for another or dies
        # with a lock.
        self._samples = multiprocessing.get_context("spawn").RawArray("q", processes)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._executor is None or self._lifeline is None:
            return
        if kind is None:
            self._executor.shutdown()
        self._lifeline.close()
        self._executor.shutdown(wait=True, cancel_futures=True)

    def map(
        self,
        label: str,
        function: Callable[..., Result],
        jobs: Sequence[tuple[Any, ...]],
        steps: Iterable[int],
        samples: int = 0,
    ) -> list[Result]:
        """``[function(*job) for job in jobs]``, in parallel and with progress.

        Args:
            label: what the user is told that goes on.
            function: a function of a module, so that another process can find it.
            jobs: arguments of every call.
            steps: how much progress each job is worth.
            samples: what all jobs together will report with `samples_trained`.

        Raises:
            TmiError: a worker process was killed from outside; whatever a job raised.
        """
        steps = list(steps)
        with _shown(self.progress, label, sum(steps), samples):
            if self.processes == 1 or len(jobs) <= 1:
                return list(self._here(function, jobs, steps))
            return self._elsewhere(function, jobs, steps)

    def _here(
        self, function: Callable[..., Result], jobs: Sequence[tuple[Any, ...]], steps: list[int]
    ) -> Iterator[Result]:
        with _reporting_to(self.progress.trained):
            for job, size in zip(jobs, steps, strict=True):
                yield function(*job)
                self.progress.advance(size)

    def _elsewhere(
        self, function: Callable[..., Result], jobs: Sequence[tuple[Any, ...]], steps: list[int]
    ) -> list[Result]:
        executor = self._started()
        futures: list[Future[Result]] = [executor.submit(function, *job) for job in jobs]
        size_of = dict(zip(futures, steps, strict=True))
        try:
            running = set(futures)
            seen = sum(self._samples)
            while running:
                done, running = wait(running, REFRESH_SECONDS, FIRST_COMPLETED)
                if (now := sum(self._samples)) > seen:
                    self.progress.trained(now - seen)
                    seen = now
                for future in done:
                    future.result()
                    self.progress.advance(size_of[future])
        except BrokenProcessPool:
            raise TmiError(
                "a worker process was killed, most likely because memory ran out; try fewer --workers or a smaller "
                "compute.models_at_once (what was finished is kept)"
            ) from None
        except BaseException:
            for future in futures:
                future.cancel()
            raise
        return [future.result() for future in futures]

    def _started(self) -> ProcessPoolExecutor:
        if self._executor is None:
            # Spawned, not forked: a fork of a process that holds torch's or OpenMP's threads can hang.
            context = multiprocessing.get_context("spawn")
            worker_end, self._lifeline = context.Pipe(duplex=False)
            self._executor = ProcessPoolExecutor(
                self.processes,
                mp_context=context,
                initializer=_start_worker,
                initargs=(worker_end, context.Value("i", 0), self._samples),
            )
        return self._executor


def _start_worker(lifeline: Connection, started: Any, samples: Any) -> None:
    """Leave ctrl-C to the parent, and end when the parent is gone or lets go of its end of the lifeline."""
    global _index, _report
    with started.get_lock():
        # A process that replaces another shares its place; they count on.
        _index = started.value % len(samples)
        started.value += 1

    def report(number: int) -> None:
        samples[_index] += number

    _report = report
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_at_end_of, args=(lifeline,), daemon=True).start()


def _exit_at_end_of(lifeline: Connection) -> None:
    try:
        lifeline.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)


@contextmanager
def _reporting_to(report: Callable[[int], None]) -> Iterator[None]:
    global _report
    before, _report = _report, report
    try:
        yield
    finally:
        _report = before


@contextmanager
def _shown(progress: Progress, label: str, total: int, samples: int) -> Iterator[None]:
    progress.begin(label, total, samples)
    try:
        yield
    finally:
        progress.end()
