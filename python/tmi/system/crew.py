"""The workers of one command on a cluster, and the nodes that have room for them."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tmi.errors import TmiError
from tmi.system.node import Hello, Worker, versions
from tmi.system.progress import Progress

# What a job takes of a node, by Ray's names: CPU, GPU, and memory in bytes.
Needs = dict[str, float]

# How often it is looked for nodes that have come, and workers are asked how much they have trained.
LOOK_SECONDS, WATCH_SECONDS = 5.0, 1.0
# How long workers are given to remove their files at the end.
FAREWELL = 5.0


@dataclass(eq=False)
class Member:
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


class Crew:
    """Workers that all take the same of their nodes; other needs are other workers.

    Args:
        ray: the module, which is connected before anything else is asked.
        progress: is told of samples that workers have trained on.
        home: the run's directory.
        bound: for workers at the same time; 0: as many as the nodes hold.
        shared: the nodes have the files where they are here.
    """

    def __init__(self, ray: Any, progress: Progress, home: Path, bound: int, *, shared: bool) -> None:
        self._ray, self._progress, self._home, self._bound, self._shared = ray, progress, home, bound, shared
        self.members: list[Member] = []
        self._needs: Needs = {}
        self._name = uuid.uuid4().hex
        self._hired = 0
        self._looked = self._watched = 0.0

    def places(self, needs: Needs) -> int:
        """How many jobs of such needs run at the same time."""
        places = sum(_fitting(node, needs) for node in self._nodes())
        return min(places, self._bound) if self._bound else places

    def on_a_node(self, needs: Needs) -> int:
        """As many as the largest node holds."""
        return max(1, min(self.places(needs), max(_fitting(node, needs) for node in self._nodes())))

    def resources(self) -> str:
        """``2 x (8 cores, 1 GPU, 30.0 GiB)``."""
        kinds = Counter(
            ", ".join(amount(name, node[name]) for name in ("CPU", "GPU", "memory") if node.get(name))
            for node in self._nodes()
        )
        return ", ".join(f"{number} x ({text or 'nothing'})" for text, number in kinds.items())

    def take(self, needs: Needs) -> None:
        """What workers take of their nodes from now on, of which there may be more than before."""
        if self._needs != needs:
            self.dismiss()
            self._needs = needs
        self._looked = 0.0

    def hire(self, wanted: int) -> None:
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
        for _ in range(min(self.places(self._needs), wanted) - len(self.members)):
            started = actor.options(**options).remote(self._name, self._hired, str(Path.cwd()), self._shared)
            self._hired += 1
            self.members.append(Member(started, started.hello.remote(self._home)))

    def welcome(self, member: Member, hello: Hello) -> None:
        """Take in a worker that has said where it is.

        Raises:
            TmiError: other versions there, or no such directory although files are shared.
        """
        member.node, member.pending = hello.node, None
        refuse_other_versions(hello.node, hello.versions)
        if self._shared and not hello.sees_home:
            raise TmiError(
                f"the node {hello.node} has no {self._home}, but compute.shared_files says that files are shared: "
                "mount it there, or leave compute.shared_files out"
            )

    def lose(self, member: Member) -> None:
        """Do without a worker, and look for another one at once."""
        self.members.remove(member)
        self._ray.kill(member.actor)
        self._looked = 0.0

    def dismiss(self) -> None:
        """End all workers, once they have removed their files."""
        born = [member for member in self.members if member.node]
        leaving = [member.actor.leave.options(concurrency_group="watch").remote() for member in born]
        if leaving:
            self._ray.wait(leaving, num_returns=len(leaving), timeout=FAREWELL)
        for member in self.members:
            self._ray.kill(member.actor)
        self.members.clear()
        self._looked = 0.0

    def watch(self) -> None:
        """Tell of the samples that workers are training on."""
        if time.monotonic() - self._watched < WATCH_SECONDS:
            return
        self._watched = time.monotonic()
        asked = {member.watch: member for member in self.members if member.watch is not None}
        said = self._ray.wait(list(asked), num_returns=len(asked), timeout=0)[0] if asked else []
        for reference in said:
            member = asked[reference]
            member.watch = None
            try:
                self.trained(member, self._ray.get(reference))
            except self._ray.exceptions.RayError:
                continue  # its job will tell
        for member in self.members:
            if member.job is not None and member.watch is None:
                member.watch = member.actor.samples.options(concurrency_group="watch").remote()

    def trained(self, member: Member, samples: int) -> None:
        """Tell of the samples on which a worker says to have trained since it was started."""
        if samples > member.samples:
            self._progress.trained(samples - member.samples)
            member.samples = samples

    def _nodes(self) -> list[dict[str, float]]:
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]


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


def amount(name: str, number: float) -> str:
    """``8 cores``."""
    if name == "memory":
        return f"{number / (1 << 30):.1f} GiB of memory"
    return f"{number:g} {'core' if name == 'CPU' else name}{'' if number == 1 else 's'}"


def _fitting(node: dict[str, float], needs: Needs) -> int:
    """How many jobs of such needs a node holds."""
    return min(int(node.get(name, 0.0) / number + 1e-9) for name, number in needs.items())
