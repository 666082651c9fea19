"""Memory that is not there is one sentence, whoever asked for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import pytest

from made.commands import refused, tmi
from tmi import _core


def of_torch() -> Any:
    return pytest.importorskip("torch").empty(1 << 48)


@pytest.mark.parametrize(
    ("ask", "size"),
    [
        (lambda: np.empty(1 << 48), "2.00 PiB"),
        (lambda: _core.scale_logits(np.broadcast_to(np.zeros((1, 3), np.float32), (1 << 40, 3))), "13194.1 GB"),
        (of_torch, "tried to allocate 1125899906842624 bytes"),
    ],
)
def test_what_no_machine_has(ask: Callable[[], Any], size: str) -> None:
    with mock.patch("tmi.cli.tmi.main", side_effect=lambda **_: ask()):
        said = refused("attacks")
    assert said.startswith("the memory is not enough: ")
    assert size in said
    assert "--memory" in said
    assert len(said.strip().splitlines()) == 1


def test_other_errors_of_a_run_keep_their_traceback() -> None:
    with (
        mock.patch("tmi.cli.tmi.main", side_effect=RuntimeError("mat1 and mat2 shapes cannot be multiplied")),
        pytest.raises(RuntimeError, match="mat1"),
    ):
        tmi("attacks")
