"""The part of a cluster's worker that runs on its node: it puts files where jobs look for them, and runs jobs.

A node need not see the directory of the run. What a job reads comes out of the cluster's object store, is written once
per node and linked into the directory of every worker there, where the job finds it; what the job leaves there is
returned as whole files.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import platform
import shutil
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from tmi import __version__
from tmi.errors import TmiError
from tmi.system.shipping import Packed, content_of, pack, remove, unpack
from tmi.system.versions import package_versions
from tmi.system.worker import receiving, working

# What is told of an error that is not one of ours: the last lines of its traceback.
LAST_LINES = 3


@dataclass(frozen=True)
class Read:
    """What a job reads: the files at a path of the driver, each as a name of its content and a reference to it.

    Attributes:
        path: absolute.
        packed: the files; None where nothing is.
        again: other jobs read it as well.
    """

    path: Path
    packed: Packed
    again: bool


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Attributes:
        result: what its function returned.
        written: what it left at each of its paths; None where files are shared.
        samples: that the worker has trained on since it was started.
        refused: the sentence of a `TmiError`, which would be the same elsewhere.
        failed: the last lines of any other error.
    """

    samples: int
    result: Any = None
    written: Sequence[Packed] | None = None
    refused: str | None = None
    failed: str | None = None


@dataclass(frozen=True)
class Hello:
    """What a worker says when it has been started.

    Attributes:
        node: what its machine is called.
        versions: of the packages there.
        sees_home: whether the run's directory is there.
    """

    node: str
    versions: dict[str, str]
    sees_home: bool


def versions() -> dict[str, str]:
    """Of this package and of those whose version may change a figure, without the variant of a build."""
    return {name: text.partition("+")[0] for name, text in {"tmi": __version__, **package_versions()}.items()}


class Worker:
    """An actor, which runs one job at a time.

    Args:
        crew: names the workers of one command.
        index: which of them this is.
        directory: where the driver works; relative paths start there.
        shared: files are where the driver has them.
    """

    def __init__(self, crew: str, index: int, directory: str, shared: bool) -> None:
        # Arrays out of the object store cannot be written to, which nobody does.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        self._index, self._driver, self._shared, self._samples = index, directory, shared, 0
        self._subject: tuple[bytes, Any] = b"", None
        self._here: dict[Path, Any] = {}
        crews = Path(tempfile.gettempdir()) / f"tmi-cluster-{os.getuid()}"
        crews.mkdir(mode=0o700, exist_ok=True)
        self._crew = crews / crew
        self._store, self._root = self._crew / "store", self._crew / f"{index}"
        with _swept(crews):
            for folder in (self._store, self._root):
                folder.mkdir(parents=True, exist_ok=True)
            self._alive = (self._crew / "alive").open("w")
            fcntl.flock(self._alive, fcntl.LOCK_SH)

    def hello(self, home: Path) -> Hello:
        """Where it runs, and what is there; see `Hello`."""
        return Hello(platform.node(), versions(), home.is_dir())

    def samples(self) -> int:
        """On how many it has trained; asked while a job runs, in another thread."""
        return self._samples

    def leave(self) -> None:
        """Remove its files, and those of the crew if it is the last of it on this node."""
        shutil.rmtree(self._root, ignore_errors=True)
        self._alive.close()
        with _swept(self._crew.parent):
            pass

    def work(
        self,
        function: Callable[..., Any],
        subject: bytes,
        arguments: tuple[Any, ...],
        reads: Sequence[Read],
        writes: Sequence[Path],
        apart: Mapping[str, Any],
    ) -> Outcome:
        """Run a job.

        Args:
            function: of the map.
            subject: of the map, pickled.
            arguments: of the job.
            reads: what it reads.
            writes: absolute paths of what it leaves.
            apart: references to what was sent apart from the subject, by its keys.
        """
        import ray

        try:
            for read in reads:
                self._bring(read)
            with (
                receiving(lambda key: ray.get(apart[key]) if key in apart else None),
                working(self._index, self._count),
                threadpool_limits(1),
            ):
                if self._subject[0] != subject:
                    # The same for all jobs of a map, and with it what was cached in it.
                    self._subject = subject, pickle.loads(subject).moved(self._place)
                result = function(self._subject[1], *arguments)
            written = None if self._shared else [pack(self._place(path), content_of) for path in writes]
            return Outcome(self._samples, result, written)
        except TmiError as error:
            return Outcome(self._samples, refused=self._as_of_the_driver(str(error)))
        except Exception:
            lines = [line.strip() for line in traceback.format_exc().splitlines() if line.strip()][-LAST_LINES:]
            return Outcome(self._samples, failed=self._as_of_the_driver(" | ".join(lines)))
        finally:
            if not self._shared:
                for path in (*writes, *(read.path for read in reads if not read.again)):
                    self._here.pop(path, None)
                    remove(self._place(path))

    def _place(self, path: Path) -> Path:
        """Where this worker has what the driver has at a path."""
        there = Path(os.path.normpath(Path(self._driver) / path))
        return there if self._shared else self._root / there.relative_to("/")

    def _as_of_the_driver(self, text: str) -> str:
        return text.replace(f"{self._root}/", "/")

    def _bring(self, read: Read) -> None:
        """Have the files at their place, unless they are there."""
        names = [(entry.name, entry.link, entry.content and entry.content[0]) for entry in read.packed or ()]
        if self._here.get(read.path, []) == names:
            return
        place = self._place(read.path)
        remove(place)
        unpack(read.packed, place, lambda content, there: self._write(content, there, again=read.again))
        self._here[read.path] = names

    def _write(self, content: tuple[str, Any], there: Path, *, again: bool) -> None:
        import ray

        name, reference = content
        if not again:
            there.write_bytes(ray.get(reference))
            return
        stored = self._store / name
        if not stored.exists():
            temporary = stored.with_name(f"{name}.{self._index}")
            temporary.write_bytes(ray.get(reference))
            temporary.replace(stored)
        os.link(stored, there)

    def _count(self, samples: int) -> None:
        self._samples += samples


@contextmanager
def _swept(crews: Path) -> Iterator[None]:
    """Nobody else begins or ends here meanwhile, and what crews have left of which no worker lives is gone."""
    with (crews / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for alive in crews.glob("*/alive"):
            with alive.open("w") as file:
                try:
                    # Every worker of the crew holds it in common, until its process ends, however that ends.
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    continue
            shutil.rmtree(alive.parent, ignore_errors=True)
        yield
