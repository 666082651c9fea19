"""What handing out jobs costs, and how the time of a run grows with it.

    python benches/cluster.py jobs                             # 10,000 jobs that do nothing, in two processes
    python benches/cluster.py jobs --cluster local             # the same on two workers of Ray
    python benches/cluster.py jobs --simulated 1000            # on made-up workers, which are done at once
    python benches/cluster.py jobs --cluster local --kilobytes 100 --jobs 1000     # each reads a file and leaves one
    python benches/cluster.py overhead digits --set models=64  # a run in processes and on Ray, by turns
    python benches/cluster.py model digits --small 8,16 --large 80

Every figure is also given in seconds of the processor, of all processes that took part: others on the machine change
those less.
"""

from __future__ import annotations

import argparse
import os
import pickle
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

from tmi.config import Config, load_config
from tmi.config.reading import parse_value
from tmi.runs import pipeline
from tmi.system.cluster import Cluster
from tmi.system.executor import Executor, InProcess, Job, Processes
from tmi.system.node import Hello, Outcome, versions
from tmi.system.progress import Silent

TICKS = os.sysconf("SC_CLK_TCK")
LOOKED_EVERY = 0.2
NUMBERS = count()


def main() -> None:
    """Measure what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_subparsers(required=True)
    jobs = what.add_parser("jobs")
    jobs.add_argument("--jobs", type=int, default=10_000)
    jobs.add_argument("--workers", type=int, default=2)
    jobs.add_argument("--kilobytes", type=int, default=0, help="of the file that each job reads, and of what it leaves")
    jobs.add_argument("--cluster")
    jobs.add_argument("--simulated", type=int, help="workers that are made up")
    jobs.set_defaults(measure=measure_jobs)
    for name, measure in (("overhead", measure_overhead), ("model", measure_model)):
        of_run = what.add_parser(name)
        of_run.add_argument("preset")
        of_run.add_argument("--data", type=Path)
        of_run.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
        of_run.set_defaults(measure=measure)
        if name == "overhead":
            of_run.add_argument("--turns", type=int, default=1)
            of_run.add_argument("--workers", type=int, default=2)
        else:
            of_run.add_argument("--small", default="8,16", help="models of the runs that foretell the large one")
            of_run.add_argument("--large", type=int, default=80)
    arguments = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    arguments.measure(arguments)


@dataclass(frozen=True)
class Folder:
    """What jobs that do nothing are about."""

    path: Path

    def moved(self, place: Callable[[Path], Path]) -> Folder:
        """The same elsewhere."""
        return Folder(place(self.path))


def nothing(folder: Folder, number: int, kilobytes: int) -> int:
    """Do nothing; or leave a file as large as the one that is read."""
    if kilobytes:
        content = (folder.path / f"{number}.in").read_bytes()
        (folder.path / f"{number}.out").write_bytes(content)
    return number


def measure_jobs(arguments: argparse.Namespace) -> None:
    """How many jobs that do nothing a driver hands out in a second."""
    with TemporaryDirectory() as name:
        folder, size = Path(name), 1000 * arguments.kilobytes
        jobs = []
        for number in range(arguments.jobs):
            paths = [folder / f"{number}.in"], [folder / f"{number}.out"]
            if size:
                paths[0][0].write_bytes(os.urandom(size))
            jobs.append(Job((number, arguments.kilobytes), 1, *(paths if size else ())))
        with executor_of(arguments, folder) as executor:
            # The workers are started.
            at_once = executor.at_once("score")
            executor.map("score", "", nothing, Folder(folder), [Job((number, 0)) for number in range(2 * at_once)])
            with timed(f"{len(jobs):,} jobs, {at_once:,} at a time"):
                found = executor.map("score", "", nothing, Folder(folder), jobs)
            assert found == list(range(len(jobs)))


def executor_of(arguments: argparse.Namespace, folder: Path) -> Executor | Any:
    """Processes, a cluster of Ray, or one that is made up."""
    if arguments.simulated:
        made_up: Any = MadeUpRay(arguments.simulated)
        sys.modules["ray"], sys.modules["ray.exceptions"] = made_up, made_up.exceptions
    if arguments.cluster or arguments.simulated:
        workers = arguments.simulated or arguments.workers
        return Cluster(Silent(), arguments.cluster or "auto", folder, workers)
    return Processes(Silent(), arguments.workers)


class MadeUpRay:
    """Workers whose jobs are done when they are given, so that only what the driver does about them takes time."""

    def __init__(self, workers: int) -> None:
        self.exceptions = SimpleNamespace(RayError=RuntimeError)
        self.is_initialized = lambda: True
        self.nodes = lambda: [{"Alive": True, "Resources": {"CPU": float(workers)}}]
        self.kept: dict[int, Any] = {}
        self.get = self.kept.pop
        self.kill = lambda actor: None
        self.remote = lambda **_: lambda kind: self._method(lambda *_: self._actor())

    def put(self, value: Any) -> int:
        """A number for it."""
        self.kept[number := next(NUMBERS)] = value
        return number

    def wait(self, references: list[int], num_returns: int, timeout: float) -> tuple[list[int], None]:
        """All are ready at once."""
        return references[:num_returns], None

    def _method(self, called: Callable[..., Any]) -> SimpleNamespace:
        return SimpleNamespace(remote=called, options=lambda **_: self._method(called))

    def _actor(self) -> SimpleNamespace:
        answers = {
            "hello": lambda home: Hello("made up", versions(), True),
            "work": lambda *sent: Outcome(0, pickle.loads(pickle.dumps(sent[2]))[0]),
            "leave": lambda: None,
        }
        methods = {name: self._method(lambda *sent, _=each: self.put(_(*sent))) for name, each in answers.items()}
        return SimpleNamespace(**methods)


def measure_overhead(arguments: argparse.Namespace) -> None:
    """A run in processes and on workers of Ray, which is started before."""
    import ray

    config = configured(arguments)
    ray.init(num_cpus=arguments.workers, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    for _ in range(arguments.turns):
        scores = []
        for cluster in (None, "auto"):
            compute = config.compute.model_copy(update={"workers": arguments.workers, "cluster": cluster})
            with TemporaryDirectory() as folder:
                out = Path(folder, "run")
                with timed("Ray" if cluster else "processes"):
                    pipeline.run_attack(config.model_copy(update={"compute": compute}), out)
                scores.append({path.name: path.read_bytes() for path in sorted(out.glob("scores/*.npy"))})
        assert scores[0] == scores[1]


def measure_model(arguments: argparse.Namespace) -> None:
    """Foretell the seconds of a large run from those of two small ones, one job after another, and make it."""
    few, more = (int(number) for number in arguments.small.split(","))
    counts = few, more, arguments.large
    # What is loaded and compiled at the first time is no time of every run.
    stage_seconds(configured(arguments, models=few))
    measured = [stage_seconds(configured(arguments, models=models)) for models in counts]
    print("stage       " + "".join(f"{models:>5} models" for models in counts) + "  foretold  ratio")
    said = 0.0
    for stage in measured[0]:
        # Models are independent of one another, and so are targets; the rest is done once.
        low, high, large = (each[stage] for each in measured)
        slope = max(0.0, high - low) / (more - few)
        foretold = max(0.0, low - few * slope) + arguments.large * slope
        said += foretold
        print(f"{stage:<12}{low:>10.2f} s{high:>10.2f} s{large:>10.2f} s{foretold:>8.2f} s{foretold / large:>7.2f}")
    whole = sum(measured[-1].values())
    print(f"in all {whole:.1f} s, foretold {said:.1f} s: {said / whole:.2f}")


def stage_seconds(config: Config) -> dict[str, float]:
    """Seconds of the processor that every stage of a run takes in this process."""
    seconds = {}
    with TemporaryDirectory() as folder:
        subject = pipeline.subject_of(config, Path(folder, "run"))
        with pipeline.opened(subject) as run:
            for stage in run.stages():
                started = time.process_time()
                pipeline.run_stages(run, InProcess(Silent()), only=[stage], force=True)
                seconds[stage] = time.process_time() - started
            started = time.process_time()
            pipeline.report(run, InProcess(Silent()))
            seconds["report"] = time.process_time() - started
    return seconds


def configured(arguments: argparse.Namespace, **changes: Any) -> Config:
    """The configuration of the command line."""
    pairs = (text.partition("=")[::2] for text in arguments.set)
    return load_config(arguments.preset, {key: parse_value(value) for key, value in pairs} | changes, arguments.data)


@contextmanager
def timed(name: str) -> Iterator[None]:
    """Print the seconds of a block, and those of the processor of this process and of all that are not gone yet."""
    found: dict[int, float] = {}
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(LOOKED_EVERY):
            found.update(processor_seconds())

    before, started = processor_seconds(), time.perf_counter()
    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield
    finally:
        wall = time.perf_counter() - started
        ended.set()
        watcher.join()
    found.update(processor_seconds())
    taken = sum(seconds - before.get(pid, 0.0) for pid, seconds in found.items())
    own = found[os.getpid()] - before[os.getpid()]
    print(f"{name}: {wall:.1f} s, {taken:.1f} s of processors, {own:.1f} of these the driver's", flush=True)


def processor_seconds() -> dict[int, float]:
    """Of this process and all that it has started, themselves or through others, by number."""
    parents, seconds = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        pid = int(folder.name)
        parents[pid], seconds[pid] = int(fields[1]), (int(fields[11]) + int(fields[12])) / TICKS
    family = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return {pid: seconds[pid] for pid in family}


if __name__ == "__main__":
    main()
