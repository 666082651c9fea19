from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tmi.errors import TmiError
from tmi.system.executor import Workers
from tmi.system.progress import Silent


class Recorder(Silent):
    def __init__(self) -> None:
        self.steps = 0

    def advance(self, steps: int) -> None:
        self.steps += steps


def double(number: int) -> int:
    time.sleep(0.01 * (5 - number))
    return 2 * number


def fail(number: int) -> int:
    if number == 2:
        raise TmiError("two is not allowed")
    return number


def die(number: int) -> int:
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def process(_: int) -> int:
    time.sleep(0.2)
    return os.getpid()


@pytest.mark.parametrize("processes", [1, 2])
def test_results_come_in_the_order_of_the_jobs(processes: int) -> None:
    progress = Recorder()
    with Workers(processes, progress) as workers:
        assert workers.map("double", double, [(n,) for n in range(5)], [1, 1, 1, 1, 3]) == [0, 2, 4, 6, 8]
    assert progress.steps == 7


def test_jobs_run_in_other_processes() -> None:
    with Workers(2, Silent()) as workers:
        found = set(workers.map("process", process, [(n,) for n in range(4)], [1] * 4))
    assert len(found) == 2
    assert os.getpid() not in found


@pytest.mark.parametrize("processes", [1, 2])
def test_an_error_reaches_the_caller(processes: int) -> None:
    with Workers(processes, Silent()) as workers, pytest.raises(TmiError, match="two is not allowed"):
        workers.map("fail", fail, [(n,) for n in range(5)], [1] * 5)


def test_a_killed_worker_is_one_sentence() -> None:
    with pytest.raises(TmiError, match="a worker process was killed"), Workers(2, Silent()) as workers:
        workers.map("die", die, [(n,) for n in range(4)], [1] * 4)


def test_workers_do_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, pathlib, time\n"
        "from tmi.system.executor import Workers\n"
        "from tmi.system.progress import Silent\n"
        "def job(n):\n"
        f"    pathlib.Path({str(tmp_path)!r}, f'{{os.getpid()}}.pid').touch()\n"
        "    time.sleep(60)\n"
        "if __name__ == '__main__':\n"
        "    with Workers(2, Silent()) as workers:\n"
        "        workers.map('job', job, [(0,), (1,)], [1, 1])\n"
    )
    parent = subprocess.Popen([sys.executable, str(script)])
    wait_until(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
    pids = [int(path.stem) for path in tmp_path.glob("*.pid")]
    parent.kill()
    parent.wait()
    wait_until(lambda: not any(is_running(pid) for pid in pids))


def wait_until(condition: object, seconds: float = 30) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
