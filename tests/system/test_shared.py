"""Objects in memory that processes look at together."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tmi.system.executor import Job, Processes
from tmi.system.progress import Silent
from tmi.system.shared import ALIGNMENT, SharedMemory
from tmi.system.worker import send_apart, sent_apart

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is shared on Linux")


class Large:
    """Sends an array apart."""

    made = 0

    def __reduce__(self) -> tuple[type[Large], tuple[()]]:
        send_apart("numbers", self.numbers)
        return Large, ()

    def numbers(self) -> dict[str, object]:
        Large.made += 1
        return {"numbers": np.arange(1 << 16), "none": np.empty(0), "text": "ä"}

    def moved(self, _: Callable[[Path], Path]) -> Large:
        return self


def looked_at(_: Large, factor: int) -> tuple[int, int, str, bool]:
    """What a worker sees, and whether it lies in shared memory; then it writes there, which nobody else sees."""
    sent = sent_apart("numbers")
    assert sent_apart("another") is None
    numbers = sent["numbers"]
    address = numbers.__array_interface__["data"][0]
    (mapping,) = (
        line.split(maxsplit=5)
        for line in Path("/proc/self/maps").read_text().splitlines()
        if int(line.partition("-")[0], 16) <= address < int(line.split()[0].partition("-")[2], 16)
    )
    assert address % ALIGNMENT == 0
    assert sent["none"].shape == (0,)
    total = int(numbers.sum())
    numbers *= factor
    return os.getpid(), total, sent["text"], "memfd:tmi" in mapping[5]


def test_what_is_sent_apart_is_made_once_and_lies_in_shared_memory() -> None:
    Large.made = 0
    with Processes(Silent(), 2) as executor:
        for _ in range(2):
            found = executor.map("score", "", looked_at, Large(), [Job((factor,)) for factor in range(6)])
            assert {each[1:] for each in found} == {(sum(range(1 << 16)), "ä", True)}
    assert Large.made == 1


def test_shared_memory_has_no_name_and_where_there_is_none_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = SharedMemory()
    shared.send("key", Large().numbers)
    place = shared.places["key"]
    assert place.load()["text"] == "ä"
    assert str(Path(place.path).readlink()) == "/memfd:tmi (deleted)"
    shared.close()
    assert place.load() is None
    monkeypatch.setattr("tmi.system.shared.SHARES", False)
    shared.send("key", Large().numbers)
    assert shared.places == {}


@pytest.mark.parametrize(("limit", "allowed"), [(resource.RLIMIT_NOFILE, 0), (resource.RLIMIT_FSIZE, 1000)])
def test_where_a_limit_of_the_system_is_reached_nothing_is_sent(limit: int, allowed: int) -> None:
    shared, (soft, hard) = SharedMemory(), resource.getrlimit(limit)
    resource.setrlimit(limit, (allowed, hard))
    try:
        # Small enough to be written when the file is closed, and not before.
        shared.send("key", lambda: np.zeros(200))
    finally:
        resource.setrlimit(limit, (soft, hard))
    assert shared.places == {}
