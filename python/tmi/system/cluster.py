"""Jobs on the nodes of a Ray cluster: https://docs.ray.io. Ray is imported when a cluster is asked for, not before.

Every core that is taken of the cluster, and every GPU or part of one, has a worker, an actor (`tmi.system.node`), which
is given one job after another. Files that jobs read are put into Ray's object store, each once, and those that they
leave come back as results, so that nodes and driver need no directory in common. What a worker held when it was lost
runs again, elsewhere if there is another node. Ray ends the workers of a driver that is gone.
"""

from __future__ import annotations

import os
import pickle
import socket
import time
import uuid
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tmi.errors import TmiError, first_line
from tmi.system.executor import REFRESH_SECONDS, Executor, Job, Kind, Movable, Result
from tmi.system.files import file_state
from tmi.system.machine import available_cores
from tmi.system.node import LAST_LINES, Hello, Outcome, Read, Worker, versions
from tmi.system.progress import Progress
from tmi.system.shipping import content_of, pack, replace_with
from tmi.system.worker import sending

if TYPE_CHECKING:
    from typing_extensions import Self

TRIES = 3
# How long the first answer of an address is waited for.
PATIENCE = 5.0
# How often it is looked for nodes that have come, and workers are asked how much they have trained.
LOOK_SECONDS, WATCH_SECONDS = 5.0, 1.0
# How long nothing may run before the user is told so, and how long workers are given to remove their files at the end.
SILENCE, FAREWELL = 60.0, 5.0
OWN_PORT, CLIENT = "6379", "ray://"


@dataclass(eq=False)
class _Member:
    """A worker, seen from the driver.

    Attributes:
        actor: the worker itself.
        pending: what it is to return next: its hello, or the outcome of its job; None where it waits for one.
        node: where it is; empty before its hello.
        job: which of a map it has.
        samples: that it is known to have trained on.
        watch: what it is to say of that.
    """

    actor: Any
    pending: Any
    node: str = ""
    job: int | None = None
    samples: int = 0
    watch: Any = None


class Cluster(Executor):
    """Runs jobs on a cluster, to which it connects when the first are to run.

    Args:
        progress: shows how far they are.
        address: ``auto``, ``local``, or that of a cluster.
        home: the run's directory.
        workers: a bound for jobs at the same time; 0: as many as the nodes hold.
        gpus: the part of a GPU that a job takes which trains; 0 where none does.
        memory: bytes that a job takes; 0 if nobody said.
        shared: the nodes have the files where they are here.

    Raises:
        TmiError: Ray is not installed, or the address does not answer.
    """

    def __init__(
        self,
        progress: Progress,
        address: str,
        home: Path,
        workers: int = 0,
        *,
        gpus: float = 0.0,
        memory: int = 0,
        shared: bool = False,
    ) -> None:
        super().__init__(progress)
        self.threads = workers or available_cores()
        self._address, self._home, self._bound = address, home.absolute(), workers
        self._gpus, self._memory, self._shared = gpus, memory, shared
        self._ray = _imported()
        if not self._ray.is_initialized():
            require_answer(address)
        self._connected = self._is_own = False
        self._name = uuid.uuid4().hex
        self._crew: list[_Member] = []
        self._needs: dict[str, float] = {}
        self._hired = self._unborn = 0
        self._looked = self._watched = self._heard = 0.0
        # References to what is in the object store: what was sent apart, by key, and files by path, with what tells
        # whether they are still the same.
        self._apart: dict[str, Any] = {}
        self._files: dict[Path, tuple[tuple[int, ...], tuple[str, Any]]] = {}
        self._put = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._connected:
            return
        self._dismiss()
        self._apart.clear()
        self._files.clear()
        if self._is_own:
            self._ray.shutdown()

    def at_once(self, kind: Kind) -> int:
        """As many as the nodes hold at the moment.

        Raises:
            TmiError: it cannot be connected to the cluster, or no node holds a single one.
        """
        self._connect()
        needs = self._needs_of(kind)
        places = self._places(needs)
        if not places:
            wanted = " and ".join(_amount(name, amount) for name, amount in needs.items())
            there = self._resources() or "nothing"
            raise TmiError(f"no node of the cluster has what a job needs, {wanted}: the nodes have {there}")
        return places

    def on_a_machine(self, kind: Kind) -> int:
        """As many as the largest node holds."""
        needs = self._needs_of(kind)
        return max(1, min(self.at_once(kind), max(_fitting(node, needs) for node in self._nodes())))

    def run(
        self, kind: Kind, function: Callable[..., Result], subject: Movable, jobs: Sequence[Job]
    ) -> Iterable[Result]:
        """See `Executor.run`.

        Raises:
            TmiError: besides, a job failed three times, or a node is not fit for this driver.
        """
        if not jobs:
            return []
        self.at_once(kind)
        if self._needs != (needs := self._needs_of(kind)):
            self._dismiss()
            self._needs = needs
        with sending(self._send):
            packed = self._ray.put(pickle.dumps(subject))
        return _Map(self, kind, function, packed, jobs).results()

    def nodes(self) -> str:
        """What the cluster has, in words."""
        self._connect()
        return self._resources()

    def _connect(self) -> None:
        if self._connected:
            return
        if not self._ray.is_initialized():
            self._is_own = True
            how: dict[str, Any] = {"address": self._address}
            if self._address == "local":
                how |= {"num_cpus": self.threads, "include_dashboard": False}
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    self._ray.init(**how, log_to_driver=False, logging_level="ERROR")
                    _keep_quiet(self._ray)
            except (ConnectionError, RuntimeError, ValueError, TimeoutError, OSError) as error:
                raise TmiError(f"--cluster {self._address}: {' '.join(str(error).split())[:300]}") from None
        self._connected = True

    def _needs_of(self, kind: Kind) -> dict[str, float]:
        needs = {"CPU": 1.0}
        if kind == "train" and self._gpus:
            needs["GPU"] = self._gpus
        if self._memory:
            needs["memory"] = float(self._memory)
        return needs

    def _nodes(self) -> list[dict[str, float]]:
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def _places(self, needs: dict[str, float]) -> int:
        places = sum(_fitting(node, needs) for node in self._nodes())
        return min(places, self._bound) if self._bound else places

    def _resources(self) -> str:
        """``2 x (8 cores, 1 GPU, 30.0 GiB)``."""
        kinds = Counter(
            ", ".join(_amount(name, node[name]) for name in ("CPU", "GPU", "memory") if node.get(name))
            for node in self._nodes()
        )
        return ", ".join(f"{number} x ({text or 'nothing'})" for text, number in kinds.items())

    def _send(self, key: str, content: Callable[[], Any]) -> None:
        if key not in self._apart:
            self._apart[key] = self._ray.put(content())

    def _hire(self, wanted: int) -> None:
        """Start workers until there is one for every wanted place that the nodes have."""
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        actor = self._ray.remote(concurrency_groups={"watch": 1})(Worker)
        options: dict[str, Any] = {"num_cpus": 1, "max_restarts": 0, "scheduling_strategy": "SPREAD"}
        if "GPU" in self._needs:
            options["num_gpus"] = self._needs["GPU"]
        if "memory" in self._needs:
            options["memory"] = int(self._needs["memory"])
        for _ in range(min(self._places(self._needs), wanted) - len(self._crew)):
            started = actor.options(**options).remote(self._name, self._hired, str(Path.cwd()), self._shared)
            self._hired += 1
            self._crew.append(_Member(started, started.hello.remote(self._home)))

    def _welcome(self, member: _Member, hello: Hello) -> None:
        """Take in a worker that has said where it is.

        Raises:
            TmiError: other versions there, or no such directory although files are shared.
        """
        member.node, member.pending, self._unborn = hello.node, None, 0
        refuse_other_versions(hello.node, hello.versions)
        if self._shared and not hello.sees_home:
            raise TmiError(
                f"the node {hello.node} has no {self._home}, but compute.shared_files says that files are shared: "
                "mount it there, or leave compute.shared_files out"
            )

    def _lose(self, member: _Member) -> None:
        """Do without a worker, and look for another one at once."""
        self._crew.remove(member)
        self._ray.kill(member.actor)
        self._looked = 0.0

    def _dismiss(self) -> None:
        """End all workers, once they have removed their files."""
        born = [member for member in self._crew if member.node]
        leaving = [member.actor.leave.options(concurrency_group="watch").remote() for member in born]
        if leaving:
            self._ray.wait(leaving, num_returns=len(leaving), timeout=FAREWELL)
        for member in self._crew:
            self._ray.kill(member.actor)
        self._crew.clear()
        self._looked = 0.0

    def _watch(self) -> None:
        """Tell of the samples that workers are training on."""
        if time.monotonic() - self._watched < WATCH_SECONDS:
            return
        self._watched = time.monotonic()
        asked = {member.watch: member for member in self._crew if member.watch is not None}
        said = self._ray.wait(list(asked), num_returns=len(asked), timeout=0)[0] if asked else []
        for reference in said:
            member = asked[reference]
            member.watch = None
            try:
                self._trained(member, self._ray.get(reference))
            except self._ray.exceptions.RayError:
                continue  # its job will tell
        for member in self._crew:
            if member.job is not None and member.watch is None:
                member.watch = member.actor.samples.options(concurrency_group="watch").remote()

    def _trained(self, member: _Member, samples: int) -> None:
        if samples > member.samples:
            self.progress.trained(samples - member.samples)
            member.samples = samples

    def _stored(self, path: Path) -> tuple[str, Any]:
        """A name for the content of a file, and a reference to it in the object store."""
        state = file_state(path.stat())
        found = self._files.get(path)
        if found is None or found[0] != state:
            self._put += 1
            found = state, (f"{self._put}", self._ray.put(content_of(path)))
            self._files[path] = found
        return found[1]


class _Map:
    """One map of an executor, while it runs."""

    def __init__(
        self, cluster: Cluster, kind: Kind, function: Callable[..., Any], subject: Any, jobs: Sequence[Job]
    ) -> None:
        self._cluster, self._kind, self._ray = cluster, kind, cluster._ray
        self._function, self._subject, self._jobs = function, subject, jobs
        self._uses = Counter(path for job in jobs for path in {*job.reads})
        self._waiting = deque(range(len(jobs)))
        self._failed: dict[int, list[str]] = {}
        self._results: dict[int, Any] = {}

    def results(self) -> list[Any]:
        """What the function returned for every job, in their order."""
        cluster = self._cluster
        cluster._heard = time.monotonic()
        # Files that were left by an earlier map are not read again.
        for path in [path for path in cluster._files if not any(path.is_relative_to(read) for read in self._uses)]:
            del cluster._files[path]
        try:
            while len(self._results) < len(self._jobs):
                cluster._hire(len(self._jobs) - len(self._results))
                self._assign()
                self._receive()
                if self._kind == "train":
                    cluster._watch()
        except BaseException:
            # Workers that have a job know nothing of what comes next.
            cluster._dismiss()
            raise
        return [self._results[index] for index in range(len(self._jobs))]

    def _assign(self) -> None:
        """Give every worker that has none a job, one that has not failed on its node as long as there are others."""
        crew = self._cluster._crew
        nodes = {member.node for member in crew if member.node}
        for member in crew:
            if member.pending is not None or not self._waiting:
                continue
            index = next((index for index in self._waiting if self._may_have(member, index, nodes)), None)
            if index is None:
                continue
            self._waiting.remove(index)
            job = self._jobs[index]
            reads = [] if self._cluster._shared else [self._read(path) for path in dict.fromkeys(job.reads)]
            member.job = index
            member.pending = member.actor.work.remote(
                self._function,
                self._subject,
                job.arguments,
                reads,
                [path.absolute() for path in job.writes],
                self._cluster._apart,
            )

    def _may_have(self, member: _Member, index: int, nodes: set[str]) -> bool:
        failed = self._failed.get(index, ())
        return member.node not in failed or nodes <= {*failed}

    def _read(self, path: Path) -> Read:
        return Read(path.absolute(), pack(path, self._cluster._stored), self._uses[path] > 1)

    def _receive(self) -> None:
        """Wait for a worker to return something, but not for long."""
        cluster, ray = self._cluster, self._ray
        pending = {member.pending: member for member in cluster._crew if member.pending is not None}
        ready, _ = ray.wait(list(pending), num_returns=1, timeout=REFRESH_SECONDS) if pending else ([], None)
        if not pending:
            time.sleep(REFRESH_SECONDS)
        now = time.monotonic()
        if ready:
            cluster._heard = now
        elif now - cluster._heard > SILENCE and not any(member.job is not None for member in cluster._crew):
            cluster._heard = now
            cluster.progress.note(f"waiting for the cluster: {cluster._resources() or 'no node'}, none of it free")
        for reference in ready:
            member = pending[reference]
            index, member.job = member.job, None
            try:
                answer = ray.get(reference)
            except ray.exceptions.RayError as error:
                cluster._lose(member)
                self._lost(member, index, str(error))
                continue
            member.pending = None
            if isinstance(answer, Hello):
                cluster._welcome(member, answer)
            elif index is not None:
                self._done(member, index, answer)

    def _done(self, member: _Member, index: int, outcome: Outcome) -> None:
        self._cluster._trained(member, outcome.samples)
        if outcome.refused is not None:
            # A file that is here may be missing there.
            raise TmiError(f"{outcome.refused} (on the node {member.node})")
        if outcome.failed is not None:
            self._lost(member, index, outcome.failed)
            return
        job = self._jobs[index]
        if outcome.written is not None:
            for path, packed in zip(job.writes, outcome.written, strict=True):
                replace_with(packed, path)
        self._results[index] = outcome.result
        for path in job.reads:
            if self._uses[path] == 1:
                self._forget(path)
        self._cluster.progress.advance(job.steps)

    def _forget(self, path: Path) -> None:
        files = self._cluster._files
        for each in [path] if path in files else [each for each in files if each.is_relative_to(path)]:
            del files[each]

    def _lost(self, member: _Member, index: int | None, text: str) -> None:
        """A worker is gone, or its job has failed: the job waits for its next try.

        Raises:
            TmiError: it was the third.
        """
        lines = " | ".join([line.strip() for line in text.splitlines() if line.strip()][-LAST_LINES:])[-600:]
        cluster = self._cluster
        if index is None:
            if "No module named 'tmi" in text:
                raise TmiError("a node of the cluster has no tmi: install the same version there as here")
            cluster._unborn += 1
            if cluster._unborn == TRIES:
                raise TmiError(f"no worker can be started on the cluster: {lines}")
            return
        nodes = self._failed.setdefault(index, [])
        nodes.append(member.node)
        if len(nodes) == TRIES:
            what = " ".join(map(str, self._jobs[index].arguments))[:80]
            raise TmiError(
                f"the job {self._function.__name__} {what} failed {TRIES} times, at last on the node {member.node}, "
                f"which said: {lines} (what was finished is kept)"
            )
        cluster.progress.note(f"the node {member.node} lost a job, which runs again: {lines[:200]}")
        self._waiting.append(index)


def _imported() -> Any:
    try:
        import ray
        import ray.exceptions
    except ImportError:
        raise TmiError('--cluster needs Ray, which is not installed: `pip install "tmi-audit[cluster]"`') from None
    return ray


def _keep_quiet(ray: Any) -> None:
    """Ray tells of lost workers on the standard output, which is for results; the user is told of each here."""
    worker: Any = getattr(getattr(ray, "_private", None), "worker", None)
    if hasattr(worker, "print_to_stdstream"):
        worker.print_to_stdstream = lambda *_, **__: None


def require_answer(address: str) -> None:
    """Find out soon whether anybody is at an address, for which Ray takes a minute.

    Raises:
        TmiError: nobody is, or it is no address.
    """
    named = address if address != "auto" else os.environ.get("RAY_ADDRESS", "")
    if named in ("", "auto", "local"):
        return
    host, _, port = named.removeprefix(CLIENT).rpartition(":")
    if not host or not port.isdigit():
        raise TmiError(f"--cluster {named}: is no address; expected auto, local, HOST:{OWN_PORT} or {CLIENT}HOST:10001")
    try:
        socket.create_connection((host.strip("[]"), int(port)), PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise TmiError(
            f"--cluster {named}: does not answer ({first_line(error)}); is `ray start --head` running there?"
        ) from None


def refuse_other_versions(node: str, found: dict[str, str]) -> None:
    """Every node must compute the same bits.

    Raises:
        TmiError: it has another version of this package, or of one whose version may change a figure.
    """
    here = versions()
    for name, version in here.items():
        if found.get(name) != version:
            raise TmiError(
                f"the node {node} has {name} {found.get(name, 'not at all')}, expected {version} as here: install the "
                "same versions on all nodes"
            )


def _fitting(node: dict[str, float], needs: dict[str, float]) -> int:
    """How many jobs of such needs a node holds."""
    return min(int(node.get(name, 0.0) / amount + 1e-9) for name, amount in needs.items())


def _amount(name: str, amount: float) -> str:
    """``8 cores``."""
    if name == "memory":
        return f"{amount / (1 << 30):.1f} GiB of memory"
    return f"{amount:g} {'core' if name == 'CPU' else name}{'' if amount == 1 else 's'}"
