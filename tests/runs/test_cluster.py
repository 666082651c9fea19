"""Runs on real clusters of Ray on this machine, whose nodes get nothing but what they are sent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from made.commands import SETTINGS, scores_of
from made.configs import TINY, fitting
from tmi.config import Config, load_config
from tmi.runs.pipeline import run_attack
from tmi.system.progress import Silent

ray = pytest.importorskip("ray", reason="needs Ray")
pytestmark = pytest.mark.filterwarnings("ignore")

# As little as Ray takes: shared memory is that of the machine.
STORE = 80 << 20
PATIENCE = 120.0


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head without cores, and three nodes of one core each."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": STORE})
    try:
        for _ in range(3):
            started.add_node(num_cpus=1, object_store_memory=STORE)
        yield started
    finally:
        ray.shutdown()
        started.shutdown()


def tiny(preset: str, **changes: Any) -> Config:
    overrides = TINY | {"attack.names": ["gaussian", "direct", "label-probe"]}
    return load_config(preset, fitting(overrides | {key.replace("__", "."): value for key, value in changes.items()}))


def made(out: Path) -> dict[str, bytes]:
    """Everything that a run has made of models, and its scores."""
    kinds = (".npy", ".safetensors")
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.suffix in kinds}


class Kills(Silent):
    """Kills something as soon as jobs of a stage are done, once for every stage."""

    def __init__(self, kills: dict[str, Callable[[], None]]) -> None:
        self.kills, self.done, self.notes = kills, 0, list[str]()

    def begin(self, label: str, total: int, samples: int = 0) -> None:
        self.stage, self.done = label.split()[0], 0

    def advance(self, steps: int) -> None:
        self.done += steps
        if self.done >= 2 and (kill := self.kills.pop(self.stage, None)) is not None:
            kill()

    def note(self, message: str) -> None:
        self.notes.append(message)


@pytest.mark.slow
def test_runs_end_in_the_same_bytes_whatever_is_killed_meanwhile(cluster: Any, tmp_path: Path) -> None:
    config = tiny(
        "digits",
        models=8,
        compute__models_at_once=1,
        pretrain__epochs=40,
        variants={"deep": {"finetune": {"transfer": "full"}}},
        query__reference_points=3,
        pool__challenge_points=30,
        attack__shadows=[4],
    )

    def kill_node() -> None:
        cluster.remove_node(working(cluster)[0], allow_graceful=False)

    def kill_worker() -> None:
        os.kill(working(cluster)[1], signal.SIGKILL)  # as the system does when memory runs out

    kills = Kills({"pretrain": kill_node, "finetune": kill_worker, "query": kill_node, "attack": kill_worker})
    run_attack(config, tmp_path / "there", cluster=cluster.address, progress=kills)
    run_attack(config, tmp_path / "here")
    assert made(tmp_path / "there") == made(tmp_path / "here")
    assert len(scores_of(tmp_path / "there")) == 6
    assert not kills.kills
    assert any("lost a job, which runs again" in note for note in kills.notes)


def test_language_models_end_in_the_same_bytes(cluster: Any, tmp_path: Path) -> None:
    config = tiny(
        "pydoc",
        pool__size=40,
        pool__challenge_points=20,
        downstream__size=20,
        downstream__points_per_model=10,
        pretrain__epochs=1,
    )
    run_attack(config, tmp_path / "there", cluster=cluster.address)
    run_attack(config, tmp_path / "here")
    assert made(tmp_path / "there") == made(tmp_path / "here")
    assert len(scores_of(tmp_path / "there")) == 3


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_a_driver_that_ends_leaves_no_process_and_is_gone_on_with(ending: signal.Signals, tmp_path: Path) -> None:
    out, there = tmp_path / "run", tmp_path / "there"
    settings = [*SETTINGS, "--set", "pretrain.epochs=300", "--set", "models=12", "--set", "compute.models_at_once=1"]
    words = [sys.executable, "-m", "tmi", "attack", "digits", *settings, "--attack", "gaussian"]
    command = [*words, "--out", str(out), "--workers", "2", "--cluster", "local"]
    driver = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        until(lambda: any((out / "pretrained").glob("*.safetensors")))
        family = descendants(driver.pid)
        assert any("ray::Worker" in name for name in family.values())
    finally:
        # As a terminal does: to all processes that were started in it.
        (os.killpg if ending == signal.SIGINT else os.kill)(driver.pid, ending)
    assert driver.wait(PATIENCE) == (130 if ending == signal.SIGINT else -signal.SIGKILL)
    until(lambda: not {pid: name for pid, name in family.items() if processes().get(pid) == name})
    kept = {path: path.stat().st_mtime_ns for path in (out / "pretrained").glob("*.safetensors")}
    assert 0 < len(kept) < 12
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, timeout=300)
    assert kept.items() <= {path: path.stat().st_mtime_ns for path in (out / "pretrained").iterdir()}.items()
    subprocess.run([*words, "--out", str(there)], check=True, stderr=subprocess.DEVNULL, timeout=300)
    assert made(out) == made(there)
    assert json.loads((out / "results.json").read_text())["attacks"]


def working(cluster: Any) -> tuple[Any, int]:
    """A node that has a worker, and its process."""
    for node in cluster.worker_nodes:
        (raylet,) = (each.process.pid for each in node.all_processes["raylet"])
        for pid, name in descendants(raylet).items():
            if name.startswith("ray::Worker"):
                return node, pid
    raise AssertionError("no node has a worker")


def processes() -> dict[int, str]:
    """The command of every process."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if command:  # of a zombie nothing is left
            found[int(folder.name)] = command.replace(b"\0", b" ").decode(errors="replace").strip()
    return found


def descendants(pid: int) -> dict[int, str]:
    """The processes that a process has started, and those that they have."""
    known = processes()
    parents = {each: parent for each in known if (parent := parent_of(each)) is not None}
    found: set[int] = set()
    while more := {child for child, parent in parents.items() if parent in {pid, *found}} - found:
        found |= more
    return {each: name for each, name in known.items() if each in found}


def parent_of(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def until(true: Callable[[], bool]) -> None:
    """Wait for something that is to come."""
    begun = time.monotonic()
    while not true():
        assert time.monotonic() - begun < PATIENCE
        time.sleep(0.2)
