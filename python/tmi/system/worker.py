"""What a job knows of where it runs: which of the workers that is, whom it tells of its progress, and what it was sent.

What all jobs share may be large. An object that is sent to another machine may leave it out of its pickle and hand it
over apart (`send_apart`), under a key by which it asks for it there (`sent_apart`): it is sent once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

# Of the context, not of the process, since an executor may run several jobs in threads.
_index = ContextVar("index", default=0)
_report: ContextVar[Callable[[int], None] | None] = ContextVar("report", default=None)
_send: ContextVar[Callable[[str, Callable[[], Any]], None] | None] = ContextVar("send", default=None)
_receive: ContextVar[Callable[[str], Any] | None] = ContextVar("receive", default=None)


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


def send_apart(key: str, content: Callable[[], Any]) -> None:
    """Called by an object that is pickled: what it would have to be told where nothing else is; see `sending`."""
    if (send := _send.get()) is not None:
        send(key, content)


def sent_apart(key: str) -> Any:
    """What was sent under a key to the machine where this is called; None if nothing was."""
    return None if (receive := _receive.get()) is None else receive(key)


@contextmanager
def sending(send: Callable[[str, Callable[[], Any]], None]) -> Iterator[None]:
    """For a while, objects that are pickled are for another machine, to which ``send(key, content)`` sends the rest."""
    token = _send.set(send)
    try:
        yield
    finally:
        _send.reset(token)


@contextmanager
def receiving(receive: Callable[[str], Any]) -> Iterator[None]:
    """For a while, ``receive(key)`` is what was sent apart, None where nothing was."""
    token = _receive.set(receive)
    try:
        yield
    finally:
        _receive.reset(token)
