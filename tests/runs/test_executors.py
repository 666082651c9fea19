"""Another place to run jobs takes a class from outside the package, and changes nothing that is computed."""

from __future__ import annotations

import pickle
import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from made.commands import scores_of
from made.fake_ray import FakeRay, install
from tmi.config import Config
from tmi.runs.directory import RunDirectory
from tmi.runs.pipeline import run_stages
from tmi.runs.run import Run
from tmi.runs.saved import audit_of
from tmi.shadows import experiment
from tmi.shadows.experiment import _in_this_process
from tmi.system.cluster import Cluster
from tmi.system.executor import Executor, InProcess, Job, Kind, Movable, Result
from tmi.system.progress import Silent
from tmi.system.shipping import remove
from tmi.system.worker import working

Configured = Callable[..., Config]


class Elsewhere(Executor):
    """Runs every job in a thread and in a directory of its own, which holds only what the job says that it reads.

    The last job comes first. One at a time, since Python 3.11 cannot read the headers of arrays in two threads.
    """

    def __init__(self, scratch: Path) -> None:
        super().__init__(Silent())
        self.scratch, self.maps, self.done = scratch, 0, 0
        self.blas_threads: set[int] = set()

    def at_once(self, kind: Kind) -> int:
        return 1

    def run(self, kind: Kind, function: Callable[..., Result], subject: Movable, jobs: Sequence[Job]) -> list[Result]:
        def one(index: int, job: Job) -> Result:
            root = self.scratch / f"{self.maps}-{index}"

            def place(path: Path) -> Path:
                return root / path.relative_to("/")

            for path in filter(Path.exists, job.reads):
                copy(path, place(path))
            # As if it had been sent: an object of another process.
            sent = pickle.loads(pickle.dumps(subject))
            with working(index % 2, self.progress.trained):
                result = function(sent.moved(place), *job.arguments)
            self.blas_threads |= {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}
            for path in job.writes:
                remove(path)
                if place(path).exists():
                    copy(place(path), path)
            shutil.rmtree(root, ignore_errors=True)
            self.progress.advance(job.steps)
            return result

        self.done += len(jobs)
        self.maps += 1
        with ThreadPoolExecutor(self.at_once(kind)) as pool:
            return list(pool.map(one, reversed(range(len(jobs))), reversed(jobs)))[::-1]


def copy(path: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.copytree(path, to)
    else:
        shutil.copy(path, to)


def finished(config: Config, out: Path, executor: Executor) -> Run:
    run = Run(config, RunDirectory(out))
    run.check()
    run.directory.prepare()
    run_stages(run, executor)
    return run


def models_of(run: Run) -> dict[str, bytes]:
    return {
        str(path.relative_to(run.directory.root)): path.read_bytes()
        for path in run.directory.root.rglob("*")
        if path.is_file() and path.name != "manifest.json" and "scores" not in path.parts
    }


@pytest.mark.parametrize(
    "changes",
    [
        {
            "variants": {"deep": {"finetune": {"transfer": "full"}}},
            "attack__names": ["gaussian", "direct", "label-probe"],
            "attack__together": ["deep"],
            "attack__views": ["logits", "label"],
            "attack__shadows": [3],
            "query__reference_points": 3,
            "pool__challenge_points": 30,
        },
        {"model__kind": "cnn", "model__channels": [4], "compute__checkpoint_minutes": 0},
    ],
)
def test_a_run_elsewhere_ends_in_the_same_bytes(tiny: Configured, tmp_path: Path, changes: dict[str, Any]) -> None:
    config = tiny(**{"attack__names": ["gaussian", "direct"], "compute__device": "cpu"} | changes)
    there = Elsewhere(tmp_path / "scratch")
    with threadpool_limits(2):
        one, other = (
            finished(config, tmp_path / "one", there),
            finished(config, tmp_path / "other", InProcess(Silent())),
        )
    assert models_of(one) == models_of(other)
    assert scores_of(tmp_path / "one") == scores_of(tmp_path / "other")
    assert there.blas_threads == {1}
    done = there.done
    finished(config, tmp_path / "one", there)
    assert there.done == done > 5, "what is there is not made again"


def test_a_cluster_needs_neither_the_directory_nor_the_data(
    tiny: Configured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny(
        variants={"deep": {"finetune": {"transfer": "full"}}},
        attack__names=["gaussian", "direct", "label-probe"],
        query__reference_points=3,
        pool__challenge_points=30,
        compute__device="cpu",
    )
    other = finished(config, tmp_path / "other", InProcess(Silent()))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    lost = {3, 11, 17}
    ray = install(monkeypatch, FakeRay([{"CPU": 2.0}, {"CPU": 1.0}], lose=lambda _, before: before in lost))
    _in_this_process.cache_clear()
    run = Run(config, RunDirectory(tmp_path / "one"))
    run.check()
    for each in (run, *run.variants):
        _ = each.task, each.experiment.tokenizer
    monkeypatch.setattr(experiment, "load_task", None)  # nobody reads the data again
    with Cluster(Silent(), "auto", run.directory.root) as cluster:
        run.directory.prepare()
        run_stages(run, cluster)
    assert ray.jobs > max(lost)
    assert models_of(run) == models_of(other)
    assert scores_of(tmp_path / "one") == scores_of(tmp_path / "other")
    assert not [*scratch.rglob("*.npy")]


def test_saved_predictions_are_scored_elsewhere(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    membership = random.random((8, 20)) < 0.5
    files = {"predictions": str(tmp_path / "p.npy"), "membership": str(tmp_path / "m.npy")}
    np.save(files["predictions"], random.normal(size=(8, 20, 2, 3)) + membership[..., None, None])
    np.save(files["membership"], membership)
    changes = {"attack.names": ["gaussian", "conditional"]}
    for name, executor in (("one", Elsewhere(tmp_path / "scratch")), ("other", InProcess(Silent()))):
        audit = audit_of(files, changes, tmp_path / name)
        audit.directory.prepare()
        run_stages(audit, executor)
    assert scores_of(tmp_path / "one") == scores_of(tmp_path / "other")
    assert len(scores_of(tmp_path / "one")) == 2
