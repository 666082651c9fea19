"""A short draw of the hostile input of `made.fuzz`; `make fuzz` draws thousands for each reader."""

from __future__ import annotations

import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from made import fuzz
from made.fuzz import Target, run, targets

INPUTS = 8


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> list[Target]:
    return targets(tmp_path_factory.mktemp("made"))


def test_valid_files_are_read(tmp_path: Path, every: list[Target]) -> None:
    """Else nothing of a reader would be reached but its first check."""
    assert len({target.name for target in every}) == len(every) > 30
    for number, target in enumerate(every):
        target.write(tmp_path / str(number))
        for name in target.files:
            target.read(tmp_path / str(number), name)


def test_hostile_input_is_read_or_refused_in_one_sentence(tmp_path: Path, every: list[Target]) -> None:
    found = {}
    for number, target in enumerate(every):
        target.write(tmp_path / str(number))
        for case in range(INPUTS):
            found[target.name, case] = target.case(tmp_path / str(number), 0, case)
    assert {key: result for key, result in found.items() if result not in ("read", "refused")} == {}
    assert {*found.values()} == {"read", "refused"}


def warn(folder: Path, name: str) -> None:
    warnings.warn("overflow", RuntimeWarning, stacklevel=1)


def fail(folder: Path, name: str) -> None:
    raise KeyError(name)


def tell(folder: Path, name: str) -> None:
    raise fuzz.TmiError("two\nlines")


def die(folder: Path, name: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def sleep(folder: Path, name: str) -> None:
    time.sleep(60)


@pytest.mark.skipif(sys.platform != "linux", reason="forks a process that has loaded everything")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize(
    ("read", "finding"),
    [
        (warn, "RuntimeWarning in ?"),
        (fail, "KeyError in ?"),
        (tell, "no sentence"),
        (die, "ends with -9"),
        (sleep, "no end"),
    ],
)
def test_what_is_neither_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[Path, str], None], finding: str
) -> None:
    monkeypatch.setattr(fuzz, "PATIENCE", 0.2)
    tally = run(Target("x", {"a.txt": b"a"}, read), tmp_path, seed=0, inputs=2)
    assert tally.findings == {finding: [0, 1]}
    assert tally.results == {"findings": 2}
