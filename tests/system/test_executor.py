from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from tmi.errors import TmiError
from tmi.system.executor import Job, Processes, executor_here, not_interrupted
from tmi.system.machine import available_cores, visible_cores
from tmi.system.progress import Silent


class Recorder(Silent):
    def __init__(self) -> None:
        self.steps = 0

    def advance(self, steps: int) -> None:
        self.steps += steps


class Numbers:
    """What the jobs are about: it has no files."""

    def moved(self, _: Callable[[Path], Path]) -> Numbers:
        return self

    def double(self, number: int) -> int:
        time.sleep(0.01 * (5 - number))
        return 2 * number

    def fail(self, number: int) -> int:
        if number == 2:
            raise TmiError("two is not allowed")
        return number

    def die(self, number: int) -> int:
        if number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    def blas_threads(self, _: int) -> list[int]:
        np.eye(2) @ np.eye(2)
        return [each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"]

    def process(self, _: int) -> int:
        time.sleep(0.2)
        return os.getpid()


def jobs(number: int) -> list[Job]:
    return [Job((argument,), steps=3 if argument == 4 else 1) for argument in range(number)]


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_jobs(workers: int) -> None:
    progress = Recorder()
    with executor_here(progress, workers) as executor:
        assert executor.map("score", "double", Numbers.double, Numbers(), jobs(5)) == [0, 2, 4, 6, 8]
    assert progress.steps == 7


def test_jobs_run_in_other_processes() -> None:
    with Processes(Silent(), 2) as executor:
        found = set(executor.map("score", "process", Numbers.process, Numbers(), jobs(4)))
    assert len(found) == 2
    assert os.getpid() not in found


def test_worker_processes_have_one_thread_of_linear_algebra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    with Processes(Silent(), 2) as executor:
        found = executor.map("score", "threads", Numbers.blas_threads, Numbers(), jobs(4))
    assert {threads for each in found for threads in each} == {1}


def test_models_are_trained_in_processes_of_their_own_where_these_are_fewer() -> None:
    with Processes(Silent(), 3, training=2) as executor:
        assert (executor.at_once("train"), executor.at_once("score")) == (2, 3)
        trained = executor.map("train", "process", Numbers.process, Numbers(), jobs(6))
        scored = executor.map("score", "process", Numbers.process, Numbers(), jobs(6))
    assert len(set(trained)) == 2
    assert not set(trained) & set(scored)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_reaches_the_caller(workers: int) -> None:
    with executor_here(Silent(), workers) as executor, pytest.raises(TmiError, match="two is not allowed"):
        executor.map("score", "fail", Numbers.fail, Numbers(), jobs(5))


def test_a_killed_worker_is_one_sentence() -> None:
    with pytest.raises(TmiError, match="a worker process was killed"), Processes(Silent(), 2) as executor:
        executor.map("score", "die", Numbers.die, Numbers(), jobs(4))


def test_a_container_s_quota_bounds_the_workers(tmp_path: Path) -> None:
    def granted(quota: str) -> int:
        (tmp_path / "sys/fs/cgroup").mkdir(parents=True, exist_ok=True)
        (tmp_path / "sys/fs/cgroup/cpu.max").write_text(f"{quota} 100000\n")
        return available_cores(tmp_path)

    assert granted("max") == visible_cores()
    assert granted("50000") == granted("100000") == granted("190000") == 1
    assert granted(str(100000 * (visible_cores() + 1))) == visible_cores()


def test_workers_do_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, pathlib, time\n"
        "from tmi.system.executor import Job, Processes\n"
        "from tmi.system.progress import Silent\n"
        "def job(subject, n):\n"
        f"    pathlib.Path({str(tmp_path)!r}, f'{{os.getpid()}}.pid').touch()\n"
        "    time.sleep(60)\n"
        "if __name__ == '__main__':\n"
        "    with Processes(Silent(), 2) as executor:\n"
        "        executor.map('train', 'job', job, None, [Job((0,)), Job((1,))])\n"
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


def test_ctrl_c_is_put_off_while_processes_start() -> None:
    reached, of_shell = [], signal.getsignal(signal.SIGINT)
    # What a shell starts in the background ignores interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def start() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        # What is started now never hears of an interrupt.
        script = "import os, signal; os.kill(os.getpid(), signal.SIGINT); print('alive')"
        reached.append(subprocess.check_output([sys.executable, "-c", script]))

    try:
        with pytest.raises(KeyboardInterrupt), not_interrupted():
            start()
        assert reached == [b"alive\n"]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, of_shell)
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds its children in /proc")
def test_ctrl_c_while_workers_start_prints_no_tracebacks(tmp_path: Path) -> None:
    script = tmp_path / "work.py"
    script.write_text(
        "import sys, time\n"
        "from tmi.system.executor import Job, Processes\n"
        "from tmi.system.progress import Silent\n"
        "def work(subject, seconds):\n"
        "    time.sleep(seconds)\n"
        "if __name__ == '__main__':\n"
        "    try:\n"
        "        with Processes(Silent(), 4) as executor:\n"
        "            executor.run('train', work, None, [Job((60,))] * 8)\n"
        "    except KeyboardInterrupt:\n"
        "        sys.exit(130)\n"
    )
    process = subprocess.Popen([sys.executable, str(script)], stderr=subprocess.PIPE, start_new_session=True)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    # One is the tracker of multiprocessing's resources.
    while len(children.read_text().split()) < 3:
        assert process.poll() is None
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, b"")
