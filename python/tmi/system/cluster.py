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
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tmi.errors import TmiError, first_line
from tmi.system.crew import Crew, Needs, amount
from tmi.system.dispatch import Dispatch, Store
from tmi.system.executor import Executor, Job, Kind, Movable, Result
from tmi.system.machine import available_cores
from tmi.system.progress import Progress
from tmi.system.worker import sending

if TYPE_CHECKING:
    from typing_extensions import Self

# How long the first answer of an address is waited for.
PATIENCE = 5.0
OWN_PORT, CLIENT = "6379", "ray://"


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
        self._address, self._gpus, self._memory, self._shared = address, gpus, memory, shared
        self._ray = _imported()
        if not self._ray.is_initialized():
            require_answer(address)
        self._connected = self._is_own = False
        self._crew = Crew(self._ray, progress, home.absolute(), workers, shared=shared)
        self._store = Store(self._ray)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._connected:
            return
        self._crew.dismiss()
        self._store.clear()
        if self._is_own:
            self._ray.shutdown()

    def at_once(self, kind: Kind) -> int:
        """As many as the nodes hold at the moment.

        Raises:
            TmiError: it cannot be connected to the cluster, or no node holds a single one.
        """
        self._connect()
        needs = self._needs_of(kind)
        places = self._crew.places(needs)
        if not places:
            wanted = " and ".join(amount(name, number) for name, number in needs.items())
            there = self._crew.resources() or "nothing"
            raise TmiError(f"no node of the cluster has what a job needs, {wanted}: the nodes have {there}")
        return places

    def on_a_machine(self, kind: Kind) -> int:
        """As many as the largest node holds."""
        self.at_once(kind)
        return self._crew.on_a_node(self._needs_of(kind))

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
        self._crew.take(self._needs_of(kind))
        with sending(self._store.send):
            packed = self._ray.put(pickle.dumps(subject))
        return Dispatch(
            self._ray,
            self._crew,
            self._store,
            self.progress,
            kind,
            function,
            packed,
            jobs,
            shared=self._shared,
        ).results()

    def nodes(self) -> str:
        """What the cluster has, in words."""
        self._connect()
        return self._crew.resources()

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

    def _needs_of(self, kind: Kind) -> Needs:
        needs: Needs = {"CPU": 1.0}
        if kind == "train" and self._gpus:
            needs["GPU"] = self._gpus
        if self._memory:
            needs["memory"] = float(self._memory)
        return needs


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
