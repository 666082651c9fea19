"""Fixtures of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from made.endpoint import TOKEN, Server
from tmi.targets import endpoint


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(endpoint, "FIRST_WAIT", 0.001)
    monkeypatch.setenv("MY_TOKEN", TOKEN)
    monkeypatch.setenv("NO_PROXY", "*")
    running = Server()
    yield running
    running.close()
