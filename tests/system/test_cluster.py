"""Jobs on a cluster, without Ray: what is sent, what is lost, and what is refused."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from made.fake_ray import FakeRay, install
from tmi.errors import TmiError
from tmi.system import node
from tmi.system.cluster import Cluster, require_answer
from tmi.system.crew import refuse_other_versions
from tmi.system.executor import Job
from tmi.system.progress import Silent
from tmi.system.shipping import content_of, pack, replace_with

CORE = {"CPU": 1.0}


@dataclass(frozen=True)
class Folder:
    path: Path

    def moved(self, place: Callable[[Path], Path]) -> Folder:
        return Folder(place(self.path))


def doubled(folder: Folder, name: str) -> str:
    """Write twice what it reads; says where."""
    text = (folder.path / "in").read_text()
    (folder.path / "only-here").write_text("of the node")
    (folder.path / f"{name}.txt").write_text(2 * text)
    return str(folder.path)


def failing(folder: Folder, name: str) -> None:
    raise OSError(28, "No space left on device")


def refusing(folder: Folder, name: str) -> None:
    raise TmiError(f"{folder.path / 'in'}: is no good")


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "node").mkdir()
    monkeypatch.setattr(node.tempfile, "tempdir", str(tmp_path / "node"))
    return tmp_path / "node"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "in").write_text("read")
    return tmp_path / "home"


def jobs(home: Path, number: int) -> list[Job]:
    return [Job((f"{index}",), reads=[home / "in"], writes=[home / f"{index}.txt"]) for index in range(number)]


def test_jobs_see_what_they_read_and_leave_what_they_write(
    home: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = install(monkeypatch, FakeRay([CORE, CORE]))
    (home / "1.txt").write_text("old")
    with Cluster(Silent(), "auto", home) as cluster:
        assert cluster.at_once("score") == 2
        places = cluster.map("score", "", doubled, Folder(home), jobs(home, 5))
        assert all(place.startswith(str(scratch)) for place in places)
        assert len(set(places)) == 2
        assert sum(size > 100 for size in ray.sent) == 2, "the subject and the one file, each once"
    assert {path.name: path.read_text() for path in home.iterdir()} == {"in": "read"} | {
        f"{index}.txt": "readread" for index in range(5)
    }
    assert ray.alive == 0
    assert [path.name for path in scratch.glob("*/*")] == ["lock"]


def test_what_is_no_longer_the_same_is_sent_again(home: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeRay([CORE]))
    with Cluster(Silent(), "auto", home) as cluster:
        for text in ("one", "other", "the other"):
            (home / "in").write_text(text)
            cluster.map("score", "", doubled, Folder(home), jobs(home, 2))
            assert (home / "1.txt").read_text() == 2 * text


def test_with_shared_files_nothing_is_sent(home: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = install(monkeypatch, FakeRay([CORE]))
    with Cluster(Silent(), "auto", home, shared=True) as cluster:
        assert cluster.map("score", "", doubled, Folder(home), jobs(home, 2)) == [str(home)] * 2
        assert len(ray.sent) == 1, "the subject"
    (home / "1.txt").unlink()
    with (
        Cluster(Silent(), "auto", home / "nowhere", shared=True) as cluster,
        pytest.raises(TmiError, match=r"the node node-0 has no .*nowhere, but compute\.shared_files"),
    ):
        cluster.map("score", "", doubled, Folder(home), jobs(home, 2))


def test_a_lost_worker_costs_its_job_only(home: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = install(monkeypatch, FakeRay([CORE, CORE], lose=lambda _, before: before in (1, 4)))
    with Cluster(Silent(), "auto", home) as cluster:
        assert len(cluster.map("score", "", doubled, Folder(home), jobs(home, 6))) == 6
    assert ray.jobs == 8
    assert ray.actors == 4, "for each that was lost another one"
    assert all((home / f"{index}.txt").read_text() == "readread" for index in range(6))


def test_a_job_that_is_lost_three_times_is_named_with_its_node(
    home: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = install(monkeypatch, FakeRay([CORE], lose=lambda *_: True))
    with (
        Cluster(Silent(), "auto", home) as cluster,
        pytest.raises(
            TmiError, match=r"the job doubled 0 failed 3 times, at last on the node node-0.* terminated: node-0"
        ),
    ):
        cluster.map("score", "", doubled, Folder(home), jobs(home, 1))
    assert ray.jobs == 3
    assert ray.alive == 0


def test_a_job_fails_on_one_node_and_is_done_on_another(
    home: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = install(monkeypatch, FakeRay([CORE, CORE], lose=lambda name, _: name == "node-1"))
    with Cluster(Silent(), "auto", home) as cluster:
        assert len(cluster.map("score", "", doubled, Folder(home), jobs(home, 2))) == 2
    assert ray.ran_on.count("node-1") <= 2


def test_errors_of_a_node_are_told_with_the_paths_of_the_driver(
    home: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = install(monkeypatch, FakeRay([CORE]))
    with Cluster(Silent(), "auto", home) as cluster:
        with pytest.raises(TmiError, match=rf"^{home}/in: is no good \(on the node node-0\)$"):
            cluster.map("score", "", refusing, Folder(home), jobs(home, 1))
        assert ray.jobs == 1, "it would be the same elsewhere"
        with pytest.raises(TmiError, match=r"failing 0 failed 3 times.* node-0.*No space left on device"):
            cluster.map("score", "", failing, Folder(home), jobs(home, 1))


@pytest.mark.parametrize(
    ("nodes", "gpus", "memory", "places"),
    [
        ([{"CPU": 4.0, "GPU": 2.0}, {"CPU": 8.0}], 1.0, 0, (2, 12)),
        ([{"CPU": 4.0, "GPU": 2.0}, {"CPU": 8.0, "GPU": 1.0}], 0.25, 0, (8, 12)),
        ([{"CPU": 4.0, "GPU": 1.0, "memory": 3e9}], 0.5, 1 << 30, (2, 2)),
    ],
)
def test_nodes_are_given_what_they_hold(
    nodes: list[dict[str, float]],
    gpus: float,
    memory: int,
    places: tuple[int, int],
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(monkeypatch, FakeRay(nodes))
    with Cluster(Silent(), "auto", home, gpus=gpus, memory=memory) as cluster:
        assert (cluster.at_once("train"), cluster.at_once("score")) == places
    with Cluster(Silent(), "auto", home, workers=1, gpus=gpus, memory=memory) as cluster:
        assert cluster.at_once("train") == 1


def test_what_no_node_has_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeRay([{"CPU": 4.0, "memory": float(1 << 31)}] * 2))
    with (
        Cluster(Silent(), "auto", home, gpus=1.0) as cluster,
        pytest.raises(TmiError, match=r"1 core and 1 GPU: the nodes have 2 x \(4 cores, 2.0 GiB of memory\)"),
    ):
        cluster.at_once("train")


def test_ray_is_asked_for_where_it_is_missing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(TmiError, match=r'needs Ray, which is not installed: `pip install "tmi-audit\[cluster\]"`'):
        Cluster(Silent(), "auto", home)


def test_an_address_that_does_not_answer_is_found_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(TmiError, match=rf"^--cluster {address}: does not answer"):
            require_answer(address)
        monkeypatch.setenv("RAY_ADDRESS", f"ray://{address}")
        with pytest.raises(TmiError, match=r"^--cluster ray://127"):
            require_answer("auto")
        free.listen()
        require_answer(address)
    with pytest.raises(TmiError, match=r"--cluster head: is no address; expected auto, local, HOST:6379"):
        require_answer("head")
    require_answer("local")


def test_a_node_of_another_version_is_refused_by_name() -> None:
    same = node.versions()
    refuse_other_versions("far", same)
    with pytest.raises(TmiError, match=r"the node far has tmi 0.0.9, expected .* as here"):
        refuse_other_versions("far", same | {"tmi": "0.0.9"})
    with pytest.raises(TmiError, match=r"the node far has numpy not at all, expected"):
        refuse_other_versions("far", {name: text for name, text in same.items() if name != "numpy"})


def test_directories_are_sent_whole(tmp_path: Path) -> None:
    model, copy = tmp_path / "model", tmp_path / "copy"
    (model / "deep" / "empty").mkdir(parents=True)
    (model / "weights").write_bytes(os.urandom(1000))
    (model / "nothing").touch()
    (model / "deep" / "link").symlink_to("../weights")
    copy.mkdir()
    (copy / "old").touch()
    replace_with(pack(model, content_of), copy)
    assert pack(copy, Path.read_bytes) == pack(model, Path.read_bytes)
    assert not (copy / "old").exists()
    replace_with(pack(tmp_path / "missing", content_of), copy)
    assert not copy.exists()
    replace_with(pack(model / "weights", content_of), copy)
    assert np.array_equal(content_of(copy), content_of(model / "weights"))
