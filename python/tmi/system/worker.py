"""What a job knows of where it runs: which of the workers that is, and whom it tells of its progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# Of the context, not of the process, since an executor may run several jobs in threads.
_index = ContextVar("index", default=0)
_report: ContextVar[Callable[[int], None] | None] = ContextVar("report", default=None)


def samples_trained(samples: int) -> None:
    """Called by a job: it has trained on some samples."""
    if (report := _report.get()) is not None:
        report(samples)


def worker_index() -> int:
    """Which of the workers this is, from 0; 0 outside of a job."""
    return _index.get()


def become(index: int, report: Callable[[int], None] | None) -> None:
    """Make this process or thread the worker of that index from 0, whose jobs report the samples that they train on.

    The index tells which of several accelerators is its own.
    """
    _index.set(index)
    _report.set(report)


@contextmanager
def working(index: int, report: Callable[[int], None]) -> Iterator[None]:
    """A worker for a while; see `become`."""
    before = _index.get(), _report.get()
    become(index, report)
    try:
        yield
    finally:
        become(*before)
