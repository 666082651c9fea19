"""Answers that are kept on disk as they come, so that none is asked for twice."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmi.errors import TmiError
from tmi.system.progress import Progress
from tmi.targets.rendering import digest

Ask = Callable[[NDArray[Any]], NDArray[np.float64]]
SECONDS_FOR_ANOTHER = 10.0
# Bytes of the hash that is kept behind an answer; those that earlier versions kept have none.
SEAL = 16


class Answers:
    """The answers of one target in an SQLite file, and how many points were ever sent for them.

    An answer is kept under a hash of its point and of what is asked about it. Nothing is kept of a point but that hash,
    nothing of an answer but its numbers and a hash of both: one that is damaged counts as none and is asked for again.
    Every change is one transaction, on disk before the next request is sent: the file is whole whenever the process
    ends.

    Args:
        path: of the file; made if there is none.
        identity: everything that an answer depends on besides its point, without secrets.
        width: numbers of an answer.
    """

    def __init__(self, path: Path, identity: str, width: int) -> None:
        self.path = path
        self._identity = hashlib.sha256(f"{width} {identity}".encode()).digest()
        self._width = width
        self.damaged: set[bytes] = set()
        with self._readable():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=SECONDS_FOR_ANOTHER, isolation_level=None)
        try:
            with self._readable():
                # A view or a trigger of somebody else's would run with every question, for ever if it was made to.
                if self._database.execute("SELECT 1 FROM sqlite_master WHERE type IN ('view', 'trigger')").fetchone():
                    raise sqlite3.DatabaseError("it has views or triggers")
                self._database.execute("PRAGMA journal_mode = WAL")
                self._database.execute("PRAGMA synchronous = FULL")
                self._database.execute("CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, numbers BLOB)")
                self._database.execute("CREATE TABLE IF NOT EXISTS sent (one INTEGER PRIMARY KEY, points INTEGER)")
                self._database.execute("INSERT OR IGNORE INTO sent VALUES (1, 0)")
        except BaseException:
            self._database.close()
            raise

    def __enter__(self) -> Answers:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def key(self, point: Any) -> bytes:
        """Under which the answer to a point is kept."""
        return hashlib.sha256(self._identity + digest(point)).digest()

    def get(self, key: bytes) -> NDArray[np.float64] | None:
        """A kept answer, float64 ``[width]``; None if there is none, or one that is no longer what was kept."""
        with self._readable():
            found = self._database.execute("SELECT numbers FROM answers WHERE key = ?", (key,)).fetchone()
        if found is None:
            return None
        size = 8 * self._width
        if not isinstance(found[0], bytes) or len(found[0]) not in (size, size + SEAL):
            raise TmiError(f"{self.path}: an answer of another length is kept, expected {self._width} numbers")
        content, seal = found[0][:size], found[0][size:]
        if seal and seal != _seal(key, content):
            self.damaged.add(key)
            return None
        numbers = np.frombuffer(content, dtype="<f8")
        if np.isnan(numbers).any():
            raise TmiError(f"{self.path}: an answer with NaN is kept, expected numbers")
        return numbers

    def keep(self, keys: list[bytes], answers: NDArray[np.float64]) -> None:
        """Keep answers ``[keys, width]``, all or none of them."""
        contents = [(key, answer.astype("<f8").tobytes()) for key, answer in zip(keys, answers, strict=True)]
        rows = [(key, content + _seal(key, content)) for key, content in contents]
        with self._readable(), self._transaction():
            self._database.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?)", rows)

    def sent(self) -> int:
        """Points sent until now, by all runs with this file."""
        with self._readable():
            rows = self._database.execute("SELECT points FROM sent").fetchall()
        if len(rows) != 1 or not isinstance(rows[0][0], int) or rows[0][0] < 0:
            raise TmiError(f"{self.path}: does not say how many points were sent, expected one whole number")
        return int(rows[0][0])

    def count(self, points: int) -> None:
        """Some points are about to be sent."""
        with self._readable():
            self._database.execute("UPDATE sent SET points = points + ?", (points,))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, UnicodeDecodeError) as error:  # the last of a message that quotes the file
            raise TmiError(
                f"{self.path}: the kept answers cannot be read or written ({error}); expected an SQLite file of tmi; "
                "without it, all is asked for again"
            ) from None


def _seal(key: bytes, content: bytes) -> bytes:
    return hashlib.sha256(key + content).digest()[:SEAL]


def missing(flat: NDArray[Any], answers: Answers) -> int:
    """How many different points have no answer yet."""
    return len({key for key in map(answers.key, flat) if answers.get(key) is None})


def ask_what_is_missing(
    flat: NDArray[Any], answers: Answers, ask: Ask, batch_size: int, progress: Progress
) -> NDArray[np.float64]:
    """The answers to all points: kept ones, and new ones, kept as they come. Equal points are asked about once.

    Args:
        flat: raw points ``[points, ...]``.
        answers: what is kept.
        ask: numbers ``[points, width]`` for some raw points.
        batch_size: most points that are asked about at once.
        progress: is told of every answer.

    Returns:
        ``[points, width]``, in the order of ``flat``.
    """
    keys = [answers.key(point) for point in flat]
    found: dict[bytes, NDArray[np.float64]] = {}
    unanswered: dict[bytes, list[int]] = {}
    for index, key in enumerate(keys):
        if key in unanswered:
            unanswered[key].append(index)
        elif key not in found:
            kept = answers.get(key)
            if kept is None:
                unanswered[key] = [index]
            else:
                found[key] = kept
    if answers.damaged:
        progress.note(f"{answers.path}: {len(answers.damaged)} kept answers are damaged: asked for again")
    progress.begin("asking the target", len(keys))
    try:
        progress.advance(len(keys) - sum(map(len, unanswered.values())))
        waiting = list(unanswered)
        for start in range(0, len(waiting), batch_size):
            batch = waiting[start : start + batch_size]
            numbers = ask(flat[[unanswered[key][0] for key in batch]])
            answers.keep(batch, numbers)
            found |= zip(batch, numbers, strict=True)
            progress.advance(sum(len(unanswered[key]) for key in batch))
    finally:
        progress.end()
    return np.stack([found[key] for key in keys])
