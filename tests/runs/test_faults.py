"""A short draw of the faults of `made.faults`; `make faults` draws hundreds."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from made.faults import Faults

# Of seed 0: kills of an attack and of one that begins afresh, a full disk, files swapped alone and with their sidecars,
# and a bit of a sidecar.
NUMBERS = (3, 21, 4, 5, 6, 9)


@pytest.mark.skipif(sys.platform != "linux", reason="forks a process that has loaded everything")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_no_fault_is_silent(tmp_path: Path) -> None:
    faults = Faults(tmp_path, seed=0)
    outcomes = [faults.fault(number) for number in NUMBERS]
    assert not [each for each in outcomes if each.is_failure]
    # A fault that does nothing would be found harmless for ever.
    assert {each.result for each in outcomes} >= {"named and rebuilt", "named and refused", "went on"}
