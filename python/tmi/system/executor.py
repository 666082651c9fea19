"""Where jobs run: in this process, or in worker processes which never outlive the process that started them.

A job is a call of a function of a module with arguments that can be pickled. It says which files it reads and which it
leaves, so that an executor may run it where nobody sees the directory of the run: it copies the files that are read,
tells the job's subject where they are (`Movable`), and takes home what is left.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from threadpoolctl import threadpool_limits

from tmi.errors import TmiError
from tmi.system.machine import available_cores
from tmi.system.progress import Progress
from tmi.system.shared import Place, SharedMemory
from tmi.system.worker import become, receiving, sending, working

if TYPE_CHECKING:
    from typing_extensions import Self

Result = TypeVar("Result")
# Training takes a device for itself, scoring a core. Jobs that train seed the one global generator of torch: a process
# must not run two of them at a time.
Kind = Literal["train", "score"]

# How often the progress of worker processes is looked at.
REFRESH_SECONDS = 0.2


class Movable(Protocol):
    """What jobs are about and find their files through."""

    def moved(self, place: Callable[[Path], Path]) -> Self:
        """The same for a machine that has the file or directory ``path`` at ``place(path)``."""


@dataclass(frozen=True)
class Job:
    """One call of the function of a map.

    Attributes:
        arguments: of the function, behind the subject that all jobs of a map share.
        steps: how much progress it is worth.
        reads: files and directories that it looks at, if they exist.
        writes: files and directories that it leaves; of these, what does not exist afterwards is to be removed.
    """

    arguments: tuple[Any, ...]
    steps: int = 1
    reads: Sequence[Path] = ()
    writes: Sequence[Path] = ()


class Executor(ABC):
    """A place where jobs run; ``threads`` are cores of this machine, for work that is not split into jobs."""

    threads = 1

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    @abstractmethod
    def at_once(self, kind: Kind) -> int:
        """How many jobs of a kind run at the same time."""

    def on_a_machine(self, kind: Kind) -> int:
        """How many of them run on one machine and share its memory."""
        return self.at_once(kind)

    def nodes(self) -> str:
        """The machines on which jobs run, in words; empty where that is this one."""
        return ""

    @abstractmethod
    def run(
        self, kind: Kind, function: Callable[..., Result], subject: Movable, jobs: Sequence[Job]
    ) -> Iterable[Result]:
        """``function(subject, *job.arguments)`` of every job, in the order of the jobs, not that in which they end.

        Tells ``progress`` of the steps of a job that is done, and meanwhile of the samples that it reports with
        `tmi.system.worker.samples_trained`.

        Raises:
            TmiError: a worker was killed from outside; whatever a job raised.
        """

    def map(
        self,
        kind: Kind,
        label: str,
        function: Callable[..., Result],
        subject: Movable,
        jobs: Sequence[Job],
        samples: int = 0,
    ) -> list[Result]:
        """Run jobs and show how far they are.

        Args:
            kind: what the jobs do.
            label: what the user is told that goes on.
            function: a function of a module, so that another process can find it.
            subject: the first argument of every call.
            jobs: the other arguments.
            samples: what all jobs together will report.

        Returns:
            What the function returned for every job, in their order.
        """
        self.progress.begin(label, sum(job.steps for job in jobs), samples)
        try:
            return list(self.run(kind, function, subject, jobs))
        finally:
            self.progress.end()


class InProcess(Executor):
    """Runs one job after another in this process."""

    def at_once(self, kind: Kind) -> int:
        """One."""
        return 1

    def run(
        self, kind: Kind, function: Callable[..., Result], subject: Movable, jobs: Sequence[Job]
    ) -> Iterable[Result]:
        """See `Executor.run`."""
        with working(0, self.progress.trained):
            for job in jobs:
                yield function(subject, *job.arguments)
                self.progress.advance(job.steps)


class Processes(Executor):
    """Runs jobs in processes of one thread each, which are started with the first jobs and share what is sent apart.

    So many ``processes`` run at the same time; of jobs that train ``training``, or as many if that is left out.
    """

    def __init__(self, progress: Progress, processes: int, training: int | None = None) -> None:
        super().__init__(progress)
        self.threads = processes
        self._training = processes if training is None else training
        self._pool: ProcessPoolExecutor | None = None
        self._lifeline: Connection | None = None
        self._shared = SharedMemory()
        # Samples that each worker process has trained on. One writer each, so that none waits for another or dies
        # with a lock.
        self._samples = multiprocessing.get_context("spawn").RawArray("q", processes)

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._pool is not None and self._lifeline is not None:
            if kind is None:
                self._pool.shutdown()
            self._lifeline.close()
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._shared.close()

    def at_once(self, kind: Kind) -> int:
        """As many as processes; where models are trained on accelerators, one for each of these."""
        return self._training if kind == "train" else self.threads

    def run(
        self, kind: Kind, function: Callable[..., Result], subject: Movable, jobs: Sequence[Job]
    ) -> Iterable[Result]:
        """See `Executor.run`; a single job is done in this process."""
        processes = self.at_once(kind)
        if processes == 1 or len(jobs) <= 1:
            return InProcess(self.progress).run(kind, function, subject, jobs)
        if processes != self.threads:
            # Others, and no longer than they train: an idle process would hold the memory of its accelerator.
            with Processes(self.progress, processes) as trainers:
                return trainers.run(kind, function, subject, jobs)
        with sending(self._shared.send):
            packed = pickle.dumps(subject)
        apart = dict(self._shared.places)
        with not_interrupted():
            pool = self._pool or self._started()
            futures: list[Future[Result]] = [pool.submit(_work, function, packed, apart, job.arguments) for job in jobs]
        steps_of = {future: job.steps for future, job in zip(futures, jobs, strict=True)}
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
                    self.progress.advance(steps_of[future])
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
        # Spawned, not forked: a fork of a process that holds torch's or OpenMP's threads can hang.
        context = multiprocessing.get_context("spawn")
        worker_end, self._lifeline = context.Pipe(duplex=False)
        self._pool = ProcessPoolExecutor(
            self.threads,
            mp_context=context,
            initializer=_start_worker,
            initargs=(worker_end, context.Value("i", 0), self._samples),
        )
        return self._pool


def _work(
    function: Callable[..., Result], subject: bytes, apart: Mapping[str, Place], arguments: tuple[Any, ...]
) -> Result:
    with threadpool_limits(1), receiving(lambda key: apart[key].load() if key in apart else None):
        return function(pickle.loads(subject), *arguments)


@contextmanager
def executor_here(progress: Progress, workers: int = 0, device: str | None = None) -> Iterator[Executor]:
    """What runs so many jobs at a time on this machine, 0 for one per core; models, if any, train on ``device``."""
    processes, training = workers or available_cores(), None
    if device is not None:
        from tmi.system.devices import training_processes

        training = training_processes(device, processes)
    if processes == 1 and training in (None, 1):
        yield InProcess(progress)
    else:
        with Processes(progress, processes, training) as executor:
            yield executor


@contextmanager
def not_interrupted() -> Iterator[None]:
    """Put ctrl-C off while processes are started, which are then deaf to it from their first moment on.

    One that is interrupted before `_start_worker` prints a traceback, and so does one to which half of its job was
    sent. Which signals are blocked is handed on to new processes, unlike who handles them.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "pthread_sigmask"):
        yield
        return
    was_interrupted = False

    def remember(*_: object) -> None:
        nonlocal was_interrupted
        was_interrupted = True

    before = signal.signal(signal.SIGINT, remember)
    # Which starts on demand, and unblocks the signal when it has.
    resource_tracker.ensure_running()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, before)
    if was_interrupted:
        raise KeyboardInterrupt


def _start_worker(lifeline: Connection, started: Any, samples: Any) -> None:
    """Leave ctrl-C to the parent, and end when the parent is gone or lets go of its end of the lifeline."""
    with started.get_lock():
        # A process that replaces another shares its place; they count on.
        index = started.value % len(samples)
        started.value += 1

    def report(number: int) -> None:
        samples[index] += number

    def exit_at_end() -> None:
        try:
            lifeline.recv_bytes()
        except (EOFError, OSError):
            os._exit(1)

    become(index, report)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=exit_at_end, daemon=True).start()
