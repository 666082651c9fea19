"""A target behind HTTP: paced, retried within a budget, and never asked twice about the same point."""

from __future__ import annotations

import json
import logging
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from tmi.config.target import PLACEHOLDER, TargetConfig
from tmi.errors import TmiError
from tmi.system.files import parse_json
from tmi.system.progress import Progress
from tmi.targets.cache import Answers, ask_what_is_missing, missing
from tmi.targets.deadline import Deadline
from tmi.targets.rendering import PointKind, as_json
from tmi.targets.responses import Show
from tmi.targets.secrets import Secrets, in_json

# The library goes on under the second name, which needs Python 3.11.
if TYPE_CHECKING or sys.version_info >= (3, 11):
    import httpx2 as httpx
else:
    import httpx

RETRIED = (408, 429)
LARGEST_ANSWER = 8 * 2**20
# Answers are asked for unpacked. These are unpacked all the same, a piece at a time and a thousandfold at most.
CODINGS = ("", "identity", "gzip", "deflate")
# Seconds before a request is sent again: at first and at most, and the most that an endpoint may ask for.
FIRST_WAIT = 1.0
LONGEST_WAIT = 60.0
LONGEST_PATIENCE = 600.0
# The numbers ``[points, width]`` in the JSON of an answer about some raw points, with what may be shown of it.
Read = Callable[[Any, NDArray[Any], Show], NDArray[np.float64]]
KEPT = "what was answered is kept, and the same command goes on from there"


def query_endpoint(
    config: TargetConfig,
    flat: NDArray[Any],
    kind: PointKind,
    width: int,
    read: Read,
    cache: Path,
    progress: Progress,
    about: str = "",
) -> NDArray[np.float64]:
    """The endpoint's numbers for all points, ``[points, width]``.

    Args:
        config: of kind ``http``.
        flat: raw points ``[points, ...]``.
        kind: what they are.
        width: numbers about a point.
        read: what finds them in an answer.
        cache: the file of the kept answers.
        progress: is told of every answer.
        about: what numbers depend on besides the request.

    Raises:
        TmiError: see `tmi.targets.query_target`. No message has a secret in it.
    """
    with Answers(cache, request_identity(config) + about, width) as answers:
        count = missing(flat, answers)
        if not count:
            return ask_what_is_missing(flat, answers, lambda batch: np.empty((0, width)), 1, progress)
        _require_budget(config, answers, count)
        with Endpoint(config, kind, read, answers) as endpoint:
            return ask_what_is_missing(flat, answers, endpoint.ask, config.batch_size, progress)


def request_identity(config: TargetConfig) -> str:
    """Everything that an answer depends on besides its point; of secrets not even the names."""
    keys = ("url", "method", "headers", "body", "image", "scores", "names", "classes")
    values = {key: getattr(config, key) for key in keys}
    if config.meaning == "tokens":
        values["meaning"] = config.meaning
    return PLACEHOLDER.sub(
        lambda found: found[0] if found[1].startswith("input") else "${}", json.dumps(values, sort_keys=True)
    )


class Endpoint:
    """Sends requests.

    Args:
        config: of kind ``http``.
        kind: what the points are.
        read: what finds the numbers in an answer.
        answers: counts what is sent.

    Raises:
        TmiError: an environment variable is missing.
    """

    def __init__(self, config: TargetConfig, kind: PointKind, read: Read, answers: Answers) -> None:
        self._config = config
        self._kind = kind
        self._read = read
        self._answers = answers
        self._secrets = Secrets([str(config.url), str(config.body), *config.headers.values()])
        self._may_send = 0.0
        self._deadline = Deadline()

    def __enter__(self) -> Endpoint:
        # A redirect would carry the headers to another host.
        self._client = httpx.Client(timeout=self._config.timeout_seconds, follow_redirects=False)
        self._silent = _silent_logs()
        self._silent.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._deadline.close()
        self._silent.__exit__(None, None, None)

    def ask(self, batch: NDArray[Any]) -> NDArray[np.float64]:
        """The numbers for some raw points ``[points, ...]``.

        Raises:
            TmiError: see `query_endpoint`.
        """
        points = [as_json(point, self._kind, self._config.image) for point in batch]
        given = {"input": points[0], "inputs": f"[{', '.join(points)}]"}
        body = self._secrets.fill(str(self._config.body), in_json, given)
        try:
            text = self._answer_to(body, len(points))
            try:
                document = parse_json(text, "the answer")
            except TmiError as error:
                raise TmiError(f"{error}: {self._secrets.show(text)}") from None
            return self._read(document, batch, self._secrets.show)
        except TmiError as error:
            raise TmiError(f"target {self._config.name!r}: {error}; {KEPT}") from None

    def _answer_to(self, body: str, points: int) -> str:
        """The text of the answer, after as many requests as it takes."""
        for attempt in range(self._config.retries + 1):
            _require_budget(self._config, self._answers, points)
            time.sleep(max(0.0, self._may_send - time.monotonic()))
            self._may_send = time.monotonic() + 1 / self._config.per_second
            self._answers.count(points)
            asked_to_wait = 0.0
            try:
                status, headers, text = self._send(body)
            except (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError, httpx.ProxyError) as error:
                problem = f"{type(error).__name__}: {self._secrets.show(str(error))}"
            except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
                raise TmiError(f"{type(error).__name__}: {self._secrets.show(str(error))}") from None
            else:
                if 200 <= status < 300:
                    return text
                problem = f"status {status}: {self._secrets.show(text)}"
                if 300 <= status < 400:
                    problem = f"status {status}, a redirect to {self._secrets.show(headers.get('location', ''))!r}"
                    raise TmiError(f"{problem}, which is not followed; name the final address in target.url")
                if status not in RETRIED and status < 500:
                    raise TmiError(problem)
                asked_to_wait = seconds_to_wait(headers.get("retry-after", ""))
            if asked_to_wait > LONGEST_PATIENCE:
                raise TmiError(f"{problem}; it asks to wait for {asked_to_wait:.0f} seconds, so try again then")
            if attempt < self._config.retries:
                backoff = min(FIRST_WAIT * 2**attempt, LONGEST_WAIT) * random.uniform(0.5, 1)
                time.sleep(max(asked_to_wait, backoff))
        raise TmiError(f"{self._config.retries + 1} requests failed, the last with {problem}")

    def _send(self, body: str) -> tuple[int, httpx.Headers, str]:
        """One request: the status, headers and text of its answer."""
        url = self._secrets.fill(str(self._config.url), lambda value: quote(value, safe=""))
        headers = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}
        own = {name: self._secrets.fill(value) for name, value in self._config.headers.items()}
        headers = {name: value for name, value in headers.items() if name.lower() not in map(str.lower, own)} | own
        parts, size = [], 0
        sent = {"headers": headers, "content": body.encode(), "extensions": {"trace": self._deadline.trace}}
        try:
            with (
                self._deadline.within(self._config.timeout_seconds),
                self._client.stream(self._config.method, url, **sent) as response,
            ):
                if (coding := response.headers.get("content-encoding", "").lower()) not in CODINGS:
                    raise TmiError(f"the answer is packed as {self._secrets.show(coding)!r}, which was not asked for")
                for part in response.iter_bytes():
                    parts.append(part)
                    size += len(part)
                    if size > LARGEST_ANSWER:
                        raise TmiError(f"the answer is larger than {LARGEST_ANSWER // 2**20} MB")
        except httpx.TransportError:
            if self._deadline.is_over:
                raise httpx.ReadTimeout(f"it took longer than {self._config.timeout_seconds:g} seconds") from None
            raise
        return response.status_code, response.headers, b"".join(parts).decode("utf-8", "replace")


def seconds_to_wait(retry_after: str) -> float:
    """What a header ``Retry-After`` asks for: seconds or a date (RFC 9110, section 10.2.3); 0 if it is neither."""
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        date = parsedate_to_datetime(retry_after)
        if date.tzinfo is None:
            date = date.replace(tzinfo=timezone.utc)
        return max(0.0, (date - datetime.now(timezone.utc)).total_seconds())
    except (ValueError, TypeError, IndexError, OverflowError):  # of a year or an offset that no calendar has, too
        return 0.0


def _require_budget(config: TargetConfig, answers: Answers, points: int) -> None:
    sent = answers.sent()
    if sent + points > config.budget:
        raise TmiError(
            f"target.budget is {config.budget} points, of which {sent} were sent, and {points} more are to be sent; "
            "raise it, or ask about fewer points with pool.challenge_points and query.count"
        )


@contextmanager
def _silent_logs() -> Iterator[None]:
    """The library logs addresses, which may hold a secret."""
    names = [prefix + end for prefix in ("httpx", "httpcore") for end in ("", "2")]
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
