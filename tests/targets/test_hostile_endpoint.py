"""Endpoints that never end, and files of kept answers that somebody else wrote."""

from __future__ import annotations

import gzip
import socket
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from made.endpoint import TEXTS, Server, expected, query, target, well
from tmi.errors import TmiError
from tmi.targets.endpoint import seconds_to_wait

# Seconds between what is dripped, and how often that is done: far longer than the limit of a request, not for ever.
PAUSE = 0.02
TIMES = 500


class Drip:
    """Sends ``first``, then ``again`` and again."""

    def __init__(self, first: bytes, again: bytes) -> None:
        self.first, self.again = first, again
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/"
        self.ended = threading.Event()
        self.was_left = False
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self) -> None:
        connection, _ = self.listener.accept()
        with connection:
            connection.recv(1 << 16)
            try:
                connection.sendall(self.first)
                for _ in range(TIMES):
                    if self.ended.wait(PAUSE):
                        return
                    connection.sendall(self.again)
            except OSError:
                self.was_left = True

    def close(self) -> None:
        self.ended.set()
        self.thread.join()
        self.listener.close()


@pytest.fixture
def drip(request: pytest.FixtureRequest) -> Iterator[Drip]:
    running = Drip(*request.param)
    yield running
    running.close()


@pytest.mark.parametrize(
    "drip",
    [
        (b"HTTP/1.1 200 OK\r\nX-Long: ", b"a"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b" "),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    ],
    ids=["headers", "continue", "body", "chunks"],
    indirect=True,
)
def test_a_request_has_one_deadline_whatever_arrives_meanwhile(drip: Drip, server: Server, tmp_path: Path) -> None:
    with pytest.raises(TmiError, match=r"ReadTimeout: it took longer than 0\.2 seconds"):
        query(target(server, url=drip.url, timeout_seconds=0.2, retries=0), tmp_path)
    assert not drip.ended.is_set()
    assert drip.thread.is_alive() or drip.was_left


def test_the_deadline_of_one_request_is_not_that_of_the_next(server: Server, tmp_path: Path) -> None:
    pauses = threading.Event()

    def slow_once(number: int, body: object) -> tuple[int, dict[str, str], str]:
        if number == 1:
            pauses.wait(0.5)
        return well(number, body)

    server.answer = slow_once
    found = query(target(server, timeout_seconds=0.25, retries=1), tmp_path, TEXTS[:1])
    np.testing.assert_array_equal(found, expected(TEXTS[:1]))
    assert [body["inputs"] for body in server.asked] == ["point 0", "point 0", "point 0 again"]


@pytest.mark.parametrize(
    "header",
    ["9" * 5000, "Wed, 21 Oct 99999 07:28:00 GMT", "Wed, 31 Dec 9999 23:59:59 -9959", "Wed, 21", ",", "\u0663"],
)
def test_a_wait_that_no_clock_can_tell(header: str) -> None:
    assert seconds_to_wait(header) >= 0


def test_an_endpoint_that_asks_for_ever_is_left_alone(server: Server, tmp_path: Path) -> None:
    server.answer = lambda number, body: (429, {"Retry-After": "9" * 400}, "quota")
    with pytest.raises(TmiError, match="it asks to wait for inf seconds"):
        query(target(server), tmp_path)


def test_answers_are_asked_for_unpacked(server: Server, tmp_path: Path) -> None:
    query(target(server), tmp_path, TEXTS[:1])
    assert server.headers[0]["Accept-Encoding"] == "identity"
    server.answer = lambda number, body: (200, {"Content-Encoding": "br"}, "")
    with pytest.raises(TmiError, match="the answer is packed as 'br', which was not asked for"):
        query(target(server), tmp_path)


def test_a_packed_answer_is_not_unpacked_for_ever(server: Server, tmp_path: Path) -> None:
    bomb = gzip.compress(b" " * (20 << 20))
    server.answer = lambda number, body: (200, {"Content-Encoding": "gzip"}, bomb.decode("latin-1"))
    server.encoding = "latin-1"
    with pytest.raises(TmiError, match="the answer is larger than 8 MB"):
        query(target(server), tmp_path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("UPDATE sent SET points = -1000000", "does not say how many points were sent"),
        ("UPDATE sent SET points = 'many'", "does not say how many points were sent"),
        ("UPDATE sent SET points = NULL", "does not say how many points were sent"),
        ("UPDATE answers SET numbers = 'text'", "an answer of another length is kept"),
        ("UPDATE answers SET numbers = zeroblob(1000)", "an answer of another length is kept"),
        ("UPDATE answers SET numbers = NULL", "an answer of another length is kept"),
        ("UPDATE answers SET numbers = x'000000000000f87f" + "0" * 32 + "'", "an answer with NaN is kept"),
        ("CREATE VIEW mine AS SELECT 1", "it has views or triggers"),
        ("DROP TABLE answers; CREATE TABLE answers (key TEXT)", "cannot be read or written"),
        # What SQLite says of it quotes bytes that are no text.
        (
            "PRAGMA writable_schema = 1; UPDATE sqlite_master SET name = CAST(x'e52829' AS TEXT), sql = 'CREATE ('",
            "cannot be read or written",
        ),
        (
            "DROP TABLE answers; CREATE VIEW answers AS WITH RECURSIVE all_numbers(key, numbers) AS "
            "(SELECT x'00', x'00' UNION ALL SELECT key, numbers FROM all_numbers) SELECT * FROM all_numbers",
            "it has views or triggers",
        ),
    ],
)
def test_kept_answers_of_somebody_else(server: Server, tmp_path: Path, change: str, sentence: str) -> None:
    query(target(server), tmp_path, TEXTS[:2])
    file = tmp_path / "target" / "answers.sqlite"
    database = sqlite3.connect(file)
    database.executescript(change)
    database.close()
    with pytest.raises(TmiError, match=f"answers.sqlite: .*({sentence})"):
        query(target(server), tmp_path)
