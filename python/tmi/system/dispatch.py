"""The jobs of one map, handed out to the workers of a cluster, with all that they read and leave."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from tmi.errors import TmiError
from tmi.system.crew import Crew, Member
from tmi.system.executor import REFRESH_SECONDS, Job, Kind
from tmi.system.files import file_state
from tmi.system.node import LAST_LINES, Hello, Outcome, Read
from tmi.system.progress import Progress
from tmi.system.shipping import content_of, pack, replace_with

TRIES = 3
# How long nothing may run before the user is told so.
SILENCE = 60.0


class Store:
    """What was put into the object store of a cluster, each thing once.

    Attributes:
        apart: references to what was sent apart from the subject of a map, by key.
    """

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self.apart: dict[str, Any] = {}
        # By path, with what tells whether the file is still the same.
        self._files: dict[Path, tuple[tuple[int, ...], tuple[str, Any]]] = {}
        self._put = 0

    def send(self, key: str, content: Callable[[], Any]) -> None:
        """See `tmi.system.worker.sending`."""
        if key not in self.apart:
            self.apart[key] = self._ray.put(content())

    def file(self, path: Path) -> tuple[str, Any]:
        """A name for the content of a file, and a reference to it."""
        state = file_state(path.stat())
        found = self._files.get(path)
        if found is None or found[0] != state:
            self._put += 1
            found = state, (f"{self._put}", self._ray.put(content_of(path)))
            self._files[path] = found
        return found[1]

    def forget(self, path: Path) -> None:
        """Let go of a file, or of all below a directory."""
        for each in [path] if path in self._files else [each for each in self._files if each.is_relative_to(path)]:
            del self._files[each]

    def forget_others(self, read: Collection[Path]) -> None:
        """Let go of the files that are at none of the paths nor below."""
        for path in [path for path in self._files if not any(path.is_relative_to(each) for each in read)]:
            del self._files[path]

    def clear(self) -> None:
        """Let go of everything."""
        self.apart.clear()
        self._files.clear()


class Dispatch:
    """One map of an executor, while it runs.

    Args:
        ray: the module.
        crew: the workers.
        store: what was sent.
        progress: shows how far the jobs are.
        kind, function, jobs: see `Executor.run`.
        subject: a reference to it, pickled.
        shared: the nodes have the files where they are here.
    """

    def __init__(
        self,
        ray: Any,
        crew: Crew,
        store: Store,
        progress: Progress,
        kind: Kind,
        function: Callable[..., Any],
        subject: Any,
        jobs: Sequence[Job],
        *,
        shared: bool,
    ) -> None:
        self._ray, self._crew, self._store, self._progress = ray, crew, store, progress
        self._kind, self._function, self._subject, self._jobs = kind, function, subject, jobs
        self._shared = shared
        self._uses = Counter(path for job in jobs for path in {*job.reads})
        self._waiting = deque(range(len(jobs)))
        self._failed: dict[int, list[str]] = {}
        self._results: dict[int, Any] = {}
        # Workers in a row that could not be started.
        self._unborn = 0
        self._heard = time.monotonic()

    def results(self) -> list[Any]:
        """What the function returned for every job, in their order.

        Raises:
            TmiError: a job was refused or failed three times, or a node is not fit for this driver.
        """
        # Of an earlier map.
        self._store.forget_others(self._uses)
        try:
            while len(self._results) < len(self._jobs):
                self._crew.hire(len(self._jobs) - len(self._results))
                self._assign()
                self._receive()
                if self._kind == "train":
                    self._crew.watch()
        except BaseException:
            # Workers that have a job know nothing of what comes next.
            self._crew.dismiss()
            raise
        return [self._results[index] for index in range(len(self._jobs))]

    def _assign(self) -> None:
        """Give every worker that has none a job, one that has not failed on its node as long as there are others."""
        members = self._crew.members
        nodes = {member.node for member in members if member.node}
        for member in members:
            if member.pending is not None or not self._waiting:
                continue
            index = next((index for index in self._waiting if self._may_have(member, index, nodes)), None)
            if index is None:
                continue
            self._waiting.remove(index)
            job = self._jobs[index]
            reads = [] if self._shared else [self._read(path) for path in dict.fromkeys(job.reads)]
            member.job = index
            member.pending = member.actor.work.remote(
                self._function,
                self._subject,
                job.arguments,
                reads,
                [path.absolute() for path in job.writes],
                self._store.apart,
            )

    def _may_have(self, member: Member, index: int, nodes: set[str]) -> bool:
        failed = self._failed.get(index, ())
        return member.node not in failed or nodes <= {*failed}

    def _read(self, path: Path) -> Read:
        return Read(path.absolute(), pack(path, self._store.file), self._uses[path] > 1)

    def _receive(self) -> None:
        """Wait for a worker to return something, but not for long."""
        members = self._crew.members
        pending = {member.pending: member for member in members if member.pending is not None}
        ready = self._ray.wait(list(pending), num_returns=1, timeout=REFRESH_SECONDS)[0] if pending else []
        if ready:
            # All that are: with many workers, each look at them takes long.
            ready = self._ray.wait(list(pending), num_returns=len(pending), timeout=0)[0]
        elif not pending:
            time.sleep(REFRESH_SECONDS)
        now = time.monotonic()
        if ready:
            self._heard = now
        elif now - self._heard > SILENCE and not any(member.job is not None for member in members):
            self._heard = now
            self._progress.note(f"waiting for the cluster: {self._crew.resources() or 'no node'}, none of it free")
        for reference in ready:
            member = pending[reference]
            index, member.job = member.job, None
            try:
                answer = self._ray.get(reference)
            except self._ray.exceptions.RayError as error:
                self._crew.lose(member)
                self._lost(member, index, str(error))
                continue
            member.pending = None
            if isinstance(answer, Hello):
                self._unborn = 0
                self._crew.welcome(member, answer)
            elif index is not None:
                self._done(member, index, answer)

    def _done(self, member: Member, index: int, outcome: Outcome) -> None:
        self._crew.trained(member, outcome.samples)
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
                self._store.forget(path)
        self._progress.advance(job.steps)

    def _lost(self, member: Member, index: int | None, text: str) -> None:
        """A worker is gone, or its job has failed: the job waits for its next try.

        Raises:
            TmiError: it was the third.
        """
        lines = " | ".join([line.strip() for line in text.splitlines() if line.strip()][-LAST_LINES:])[-600:]
        if index is None:
            if "No module named 'tmi" in text:
                raise TmiError("a node of the cluster has no tmi: install the same version there as here")
            self._unborn += 1
            if self._unborn == TRIES:
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
        self._progress.note(f"the node {member.node} lost a job, which runs again: {lines[:200]}")
        self._waiting.append(index)
