"""Endpoints that are busy, slow or away, and how much they are asked."""

from __future__ import annotations

import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from made.endpoint import TEXTS, Server, expected, query, target, well
from tmi.errors import TmiError
from tmi.targets.endpoint import seconds_to_wait


class StandingClock:
    """Time that only passes while somebody sleeps: how busy the machine is changes nothing."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)


@pytest.mark.parametrize("wait", ["1", "date"])
def test_an_endpoint_that_is_busy_is_given_the_time_it_asks_for(server: Server, tmp_path: Path, wait: str) -> None:
    def busy_once(number: int, body: Any) -> tuple[int, dict[str, str], str]:
        # A date has whole seconds, so that this one is 1 to 2 seconds ahead.
        asked = wait if wait == "1" else formatdate(time.time() + 2, usegmt=True)
        return (429, {"Retry-After": asked}, "slow down") if number == 1 else well(number, body)

    server.answer = busy_once
    np.testing.assert_array_equal(query(target(server), tmp_path, TEXTS[:1]), expected(TEXTS[:1]))
    assert [body["inputs"] for body in server.asked] == ["point 0", "point 0", "point 0 again"]
    assert server.times[1] - server.times[0] >= 0.95


def test_an_endpoint_that_asks_for_hours_is_left_alone(server: Server, tmp_path: Path) -> None:
    server.answer = lambda number, body: (429, {"Retry-After": "7200"}, "quota")
    with pytest.raises(TmiError, match="status 429: quota; it asks to wait for 7200 seconds"):
        query(target(server), tmp_path)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("header", "seconds"), [("", 0), ("12", 12), ("soon", 0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0)]
)
def test_retry_after(header: str, seconds: float) -> None:
    assert seconds_to_wait(header) == seconds


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_retries_end(server: Server, tmp_path: Path, status: int) -> None:
    server.answer = lambda number, body: (status, {}, "no")
    with pytest.raises(TmiError, match=f"3 requests failed, the last with status {status}: no"):
        query(target(server), tmp_path)
    assert len(server.asked) == 3


def test_an_endpoint_out_of_reach(server: Server, tmp_path: Path) -> None:
    with pytest.raises(TmiError, match="3 requests failed, the last with ConnectError"):
        query(target(server, url="http://127.0.0.1:9/"), tmp_path)


def test_an_answer_that_takes_too_long(server: Server, tmp_path: Path) -> None:
    server.answer = lambda number, body: (time.sleep(0.3), well(number, body))[1]
    with pytest.raises(TmiError, match="1 requests failed, the last with ReadTimeout"):
        query(target(server, timeout_seconds=0.05, retries=0), tmp_path)


def test_requests_are_paced(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = StandingClock()
    monkeypatch.setattr("tmi.targets.endpoint.time", clock)
    query(target(server, per_second=25), tmp_path)
    assert clock.slept == pytest.approx([0] + [1 / 25] * (TEXTS.size - 1))


def test_the_budget_is_that_of_all_runs(server: Server, tmp_path: Path) -> None:
    with pytest.raises(TmiError, match=r"target.budget is 7 points, of which 0 were sent, and 8 more are to be sent"):
        query(target(server, budget=7), tmp_path)
    assert not server.asked
    query(target(server, budget=7), tmp_path, TEXTS[:2])
    # Kept answers cost nothing; what is new does.
    query(target(server, budget=4), tmp_path, TEXTS[:2])
    with pytest.raises(TmiError, match=r"target.budget is 7 points, of which 4 were sent, and 4 more are to be sent"):
        query(target(server, budget=7), tmp_path)
    assert len(server.asked) == 4


def test_repeated_requests_count(server: Server, tmp_path: Path) -> None:
    server.answer = lambda number, body: (503, {}, "")
    with pytest.raises(TmiError, match=r"target.budget is 8 points, of which 8 were sent"):
        query(target(server, budget=8, retries=100), tmp_path)
    assert len(server.asked) == 8


def test_a_redirect_is_not_followed(server: Server, tmp_path: Path) -> None:
    server.answer = lambda number, body: (307, {"Location": "http://localhost:1/other"}, "")
    with pytest.raises(TmiError, match="a redirect to 'http://localhost:1/other', which is not followed"):
        query(target(server), tmp_path)
    assert len(server.asked) == 1
