"""One time limit for a whole request, whatever it waits for.

The limits of the HTTP library begin anew with every byte that arrives, so that an endpoint that drips its headers, or
sends ``100 Continue`` for ever, is never late. Here the connection is shut down under the library when time is up.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


class Deadline:
    """Ends the requests of one client, which are sent one after another.

    `trace` is given to the library as the extension of that name with every request: it is told of every connection.

    Attributes:
        is_over: whether the time of the last request was over before the request was.
    """

    def __init__(self) -> None:
        self.is_over = False
        self._connection: socket.socket | None = None
        self._lock = threading.Lock()

    def trace(self, event: str, facts: dict[str, Any]) -> None:
        """Take hold of a new connection."""
        if not event.endswith("connect_tcp.complete"):
            return
        with self._lock:
            self._let_go()
            # A descriptor of one's own: encryption takes the socket over, and what is shut down is the connection.
            self._connection = facts["return_value"].get_extra_info("socket").dup()
            if self.is_over:
                self._shut_down()

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Shut the connection down if the block takes longer; whatever reads from it then fails."""
        self.is_over = False
        timer = threading.Timer(seconds, self._end)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def close(self) -> None:
        """Let go of the connection."""
        with self._lock:
            self._let_go()

    def _end(self) -> None:
        with self._lock:
            self.is_over = True
            self._shut_down()

    def _shut_down(self) -> None:
        if self._connection is not None:
            # The other side may have ended it.
            with suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)

    def _let_go(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
