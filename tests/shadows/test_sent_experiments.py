"""What workers are sent of an experiment, and what they compute of it themselves."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tmi.config import Config
from tmi.errors import TmiError
from tmi.runs.directory import RunDirectory
from tmi.runs.run import Run
from tmi.shadows.makers.maker import ShadowMaker
from tmi.system.executor import Job, Processes
from tmi.system.progress import Silent
from tmi.system.shared import SharedMemory

Tiny = Callable[..., Config]
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is shared on Linux")


def looked_at(maker: ShadowMaker, step: str) -> str:
    """A hash of all that a step reads."""
    experiment = maker.experiment
    arrays = {
        "pretrain": [experiment.pool_inputs, experiment.task.pool.labels, experiment.membership],
        "finetune": [experiment.downstream_inputs, experiment.task.downstream.labels, experiment.finetuning_set(1)],
        "query": [each for each in experiment.encoded_queries if each is not None],
    }[step]
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


@pytest.fixture(scope="module")
def workers() -> Iterator[Processes]:
    with Processes(Silent(), 2) as executor:
        yield executor


@pytest.fixture
def executor(workers: Processes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Processes]:
    """Workers that were sent nothing yet."""
    monkeypatch.setattr(workers, "_shared", SharedMemory())
    yield workers
    workers._shared.close()


@pytest.fixture
def runs(tiny: Tiny, tmp_path: Path) -> list[Run]:
    """A run and two variants whose data are in files, which are gone once they are known."""
    digits = load_digits()
    files = {"pool": slice(300), "downstream": slice(300, 600), "other": slice(700, 1000)}
    for name, part in files.items():
        images = (digits.images[part] * 255 / 16).astype(np.uint8)
        np.savez(tmp_path / f"{name}.npz", inputs=images, labels=digits.target[part])
    config = tiny(
        pool__source=f"npz:{tmp_path / 'pool.npz'}",
        downstream__source=f"npz:{tmp_path / 'downstream.npz'}",
        query__reference_points=3,
        pool__challenge_points=30,
        variants={
            "all": {"finetune": {"transfer": "full"}},
            "other": {"downstream": {"source": f"npz:{tmp_path / 'other.npz'}"}},
        },
    )
    run = Run(config, RunDirectory(tmp_path / "run"))
    every = [run, *run.variants]
    for each in every:
        assert each.keys
    for name in files:
        (tmp_path / f"{name}.npz").unlink()
    return every


def test_workers_look_at_what_is_known_and_read_no_data(runs: list[Run], executor: Processes) -> None:
    for run in runs:
        for step in ("pretrain", "finetune", "query"):
            run.maker.prepare(step)
    jobs = [Job((step,)) for step in ("pretrain", "finetune", "query")]
    for run in runs:
        found = executor.map("train", "", looked_at, run.maker, jobs)
        assert found == [looked_at(run.maker, *job.arguments) for job in jobs]
    places = executor._shared.places.copy()
    assert executor.map("train", "", looked_at, runs[2].maker, jobs) == found
    assert executor._shared.places == places
    # The points, the membership and the queries: images are what networks read. A variant of the same task has nothing
    # of its own, one of another that task alone: the pool is there once.
    assert len(places) == 4
    sizes = [length for place in places.values() for _, length in place.parts]
    task = runs[2].task
    assert task.pool.raw.nbytes != task.downstream.raw.nbytes
    assert sizes.count(task.pool.raw.nbytes) == 1


def test_workers_compute_what_is_not_known(runs: list[Run], executor: Processes) -> None:
    run = runs[0]
    jobs = [Job(("query",)), Job(("pretrain",))]
    found = executor.map("train", "", looked_at, run.maker, jobs)
    assert found == [looked_at(run.maker, *job.arguments) for job in jobs]


def test_without_shared_memory_workers_read_the_data(
    runs: list[Run], executor: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tmi.system.shared.SHARES", False)
    with pytest.raises(TmiError, match=r"pool\.npz"):
        executor.map("train", "", looked_at, runs[0].maker, [Job(("pretrain",))] * 2)
