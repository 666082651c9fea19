"""Faults on purpose: kills, full disks and damaged files, and what becomes of them; `python -m made.faults`.

A tiny run is finished once. For every fault a copy of it is damaged, or a command on it is killed or finds no room; the
command is run again, and at last `tmi attack`, and all bytes are compared with those of the undisturbed run. Commands
are run in forks of this process, which has imported everything. Fault number N of a seed is always the same one, but
for the moment at which a kill finds a process.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from made.commands import SETTINGS, tmi, working_in
from tmi.system.files import sidecar

# Seconds after which a command counts as hanging.
DEADLINE = 120.0
# Kinds of faults with their shares, and what may become of one; all else is a failure.
KINDS = {
    "flip": 6,
    "truncate": 3,
    "delete": 3,
    "swap": 3,
    "swap with sidecars": 2,
    "full disk": 3,
    "kill": 5,
    "kill the parent alone": 1,
    "kill a worker": 1,
}
OUTCOMES = ("named and rebuilt", "named and refused", "harmless", "went on")
# Answers of a target, so that there are kept ones; and attacks that read everything that there is.
VICTIM = """
import numpy as np

def answer(inputs):
    inputs = np.asarray(inputs, dtype=np.float64).reshape(len(inputs), -1)
    return inputs @ np.random.default_rng(0).normal(size=(inputs.shape[1], 5)) / 60
"""
SETTING = {
    "pool.challenge_points": 36,
    "query.reference_points": 4,
    "attack.names": ["gaussian", "direct", "label-probe"],
    "attack.views": ["logits", "label"],
    "target.kind": "python",
    "target.function": "victim_of_faults.answer",
    "target.meaning": "logits",
}
FURTHER = [part for key, value in SETTING.items() for part in ("--set", f"{key}={json.dumps(value)}")]
# What each command leaves, by folder or name, and what is missing when one begins that is to be killed.
LEAVES = {
    "train": ("pretrained", "finetuned", "membership", "challenge_points"),
    "query": ("predictions", "reference_predictions", "pretrained_predictions", "target"),
    "score": ("scores", "target_scores"),
    "report": ("results.json", "points.csv"),
    "compare": (),
}
# Others' files in the directory of a run.
PRECIOUS = ("notes.txt", "mine.tmp", "scores/mine.tmp", "scores/gaussian.npy.tmp", "checkpoints/mine.pt")


@dataclass(frozen=True)
class Outcome:
    """What became of a fault: ``result`` is one of `OUTCOMES`, or what went wrong."""

    kind: str
    command: str
    place: str
    result: str
    said: str = ""

    @property
    def is_failure(self) -> bool:
        """Whether it is none of what may become of a fault."""
        return self.result not in OUTCOMES


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, negative for a signal, None if it hung; and what it printed."""

    code: int | None
    said: str
    seconds: float

    @property
    def problem(self) -> str:
        """What no command may do, whatever it finds; empty if it did not."""
        if self.code is None:
            return f"hung for {DEADLINE:.0f} s"
        if "Traceback" in self.said or self.code not in (0, 2):
            return f"ended with {self.code} and no sentence"
        return ""


class Faults:
    """A finished run, and faults on copies of it.

    Args:
        folder: for the run and its copies.
        seed: of the faults.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed = folder, seed
        (folder / "victim_of_faults.py").write_text(VICTIM)
        self.template, self.other = folder / "run", folder / "other"
        # In this process, so that its forks find everything imported; the other one tells how long a command takes.
        tmi(*self.arguments("attack", self.template), cwd=folder)
        self.seconds = self.call([*self.arguments("attack", self.other), "--seed", "1"]).seconds
        self.reference, self.compared = contents(self.template), self._figures(self.template)
        put_precious(self.template)

    def arguments(self, command: str, run: Path) -> list[str]:
        """The words of a command on a run."""
        if command in ("attack", "train"):
            return [command, "digits", "--out", str(run), *SETTINGS, *FURTHER]
        if command == "compare":
            return ["compare", str(run), str(self.other), "--json", str(run.with_suffix(".compared"))]
        return [command, str(run)]

    def call(
        self,
        arguments: Sequence[str],
        meanwhile: Callable[[int], None] | None = None,
        largest: int | None = None,
    ) -> Ended:
        """Run a command in a fork that leads a group of processes.

        Args:
            arguments: its words.
            meanwhile: is called with the number of the process.
            largest: bytes that a file can have, as if the disk were full.
        """
        # Not a file, whose size would be limited as well; what is printed fits into the pipe.
        printed, output = os.pipe()
        fcntl.fcntl(output, fcntl.F_SETPIPE_SZ, 1 << 20)
        started = time.monotonic()
        if (child := os.fork()) == 0:
            _become(self.folder, arguments, output, largest)
        code: int | None = None
        try:
            if meanwhile is not None:
                meanwhile(child)
            while time.monotonic() < started + DEADLINE:
                done, status = os.waitpid(child, os.WNOHANG)
                if done:
                    code = os.waitstatus_to_exitcode(status)
                    break
                time.sleep(0.005)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
            if code is None:
                os.waitpid(child, 0)
            os.close(output)
            with os.fdopen(printed, "rb") as file:
                said = file.read().decode(errors="replace")
        return Ended(code, said, time.monotonic() - started)

    def fault(self, number: int) -> Outcome:
        """Fault ``number`` of the seed, and what became of it."""
        draw = random.Random(f"{self.seed} {number}")
        run = self.folder / f"fault-{number}"
        shutil.copytree(self.template, run, symlinks=True)
        kind = draw.choices([*KINDS], [*KINDS.values()])[0]
        try:
            found = (
                self._disturbed(draw, kind, run) if "kill" in kind or "disk" in kind else self._damaged(draw, kind, run)
            )
            lost = [name for name in PRECIOUS if not (run / name).exists() or (run / name).read_text() != "precious"]
            return found if not lost else Outcome(kind, found.command, found.place, f"lost {lost[0]}", found.said)
        finally:
            shutil.rmtree(run)
            run.with_suffix(".compared").unlink(missing_ok=True)

    def _damaged(self, draw: random.Random, kind: str, run: Path) -> Outcome:
        damaged = damaged_files(draw, kind, run)
        command = draw.choice(["attack", *LEAVES])
        place = damaged[0].relative_to(run).as_posix()
        ended = self.call(self.arguments(command, run))

        def outcome(result: str) -> Outcome:
            return Outcome(kind, command, place, result, ended.said)

        # By itself, or by the file that it is the sidecar of.
        names = {
            name for path in damaged for name in (path.name, sidecar(path).name, f"{path.parent.name}/{path.stem}.")
        }
        is_named = any(name in ended.said for name in names)
        if ended.problem:
            return outcome(ended.problem)
        if ended.code == 2 and not is_named:
            return outcome("refused without a name")
        if ended.code == 0 and (changed := self._changed(run, command)):
            return outcome(f"SILENT: {changed}")
        repaired = ended if command == "attack" else self.call(self.arguments("attack", run))
        if repaired.code == 2 and place == "target/answers.sqlite" and damaged[0].name in repaired.said:
            # Answers may have cost something: a file that is no database any more is its owner's to remove.
            return outcome("named and refused" if ended.code == 2 else "harmless")
        if repaired.code != 0:
            return Outcome(kind, command, place, repaired.problem or "cannot be repaired", repaired.said)
        if changed := self._changed(run, "attack"):
            return outcome(f"SILENT afterwards: {changed}")
        if ended.code == 2:
            return outcome("named and refused")
        return outcome("named and rebuilt" if is_named else "harmless")

    def _disturbed(self, draw: random.Random, kind: str, run: Path) -> Outcome:
        """A command that is killed or finds no room, and is run again."""
        command = draw.choice(["attack", "attack --fresh", *LEAVES])
        if kind in ("kill the parent alone", "kill a worker"):
            command = "attack"
        name, *further = command.split()
        if command == "attack":
            shutil.rmtree(run)
        for path in [path for path in run.rglob("*") if _leaves(name, str(path.relative_to(run))) and path.is_file()]:
            if str(path.relative_to(run)) not in PRECIOUS:
                path.unlink()
        arguments = [*self.arguments(name, run), *further]
        place = ""
        if kind == "full disk":
            largest = int(2 ** draw.uniform(4, 17))
            place = f"at {largest} bytes"
            ended = self.call(arguments, largest=largest)
            if ended.problem:
                return Outcome(kind, command, place, ended.problem, ended.said)
            if ended.code == 2 and not re.search(r"Error: \S*/\S+: ", ended.said):
                return Outcome(kind, command, place, "refused without a name", ended.said)
            result = "named and refused" if ended.code == 2 else "harmless"
        else:
            result = "went on"
            fraction = draw.uniform(0, 1 if name == "attack" else 0.5)
            # Workers import for seconds what a fork has imported.
            seconds = fraction * self.seconds if kind == "kill" else 10 * fraction + self.seconds
            place = f"after {100 * fraction:.0f}%"
            workers = [] if kind == "kill" else ["--set", "compute.workers=2"]
            ended = self.call([*arguments, *workers], lambda child: _kill(child, kind, seconds))
            # Killed, or sooner done; a worker that is killed is told in a sentence.
            if ended.problem and ended.code != -signal.SIGKILL:
                return Outcome(kind, command, place, ended.problem, ended.said)
        again = self.call(arguments)
        if again.code != 0:
            return Outcome(kind, command, place, f"the same command ended with {again.code}", again.said)
        if command == "attack":
            put_precious(run)
        last = self.call(self.arguments("attack", run))
        if last.code != 0 or (changed := self._changed(run, "attack")):
            return Outcome(
                kind, command, place, f"SILENT: {changed}" if last.code == 0 else "does not go on", last.said
            )
        left = [path for path in run.rglob("*.tmp") if str(path.relative_to(run)) not in PRECIOUS]
        return Outcome(kind, command, place, result if not left else f"left {left[0]}", ended.said)

    def _changed(self, run: Path, command: str) -> str:
        """What of a run is not as in the undisturbed one, of that which a command leaves; empty if all is."""
        if command == "compare":
            return "" if _figures_in(run.with_suffix(".compared")) == self.compared else "the comparison"
        found = contents(run)
        names = [name for name in self.reference if command == "attack" or _leaves(command, name)]
        return next((name for name in names if found.get(name) != self.reference[name]), "")

    def _figures(self, run: Path) -> Any:
        if (ended := self.call(self.arguments("compare", run))).code != 0:
            raise RuntimeError(ended.said)
        return _figures_in(run.with_suffix(".compared"))


def put_precious(run: Path) -> None:
    """Files of others, in a directory that is already known as a run's."""
    for name in PRECIOUS:
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_text("precious")


def _leaves(command: str, name: str) -> bool:
    """Whether a command leaves the file of a name below the run."""
    first = name.partition("/")[0]
    return not {first, first.partition(".")[0]}.isdisjoint(LEAVES.get(command, ()))


def _become(folder: Path, arguments: Sequence[str], output: int, largest: int | None) -> None:
    """Be the command from now on; in a forked process, which ends."""
    code: Any = 99
    try:
        os.setsid()
        for stream in (1, 2):
            os.dup2(output, stream)
        if largest is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
        sys.stdout, sys.stderr = (os.fdopen(stream, "w", closefd=False) for stream in (1, 2))
        sys.argv = ["tmi", *arguments]
        os.environ["COLUMNS"] = "500"
        from tmi.__main__ import main

        with working_in(folder):
            sys.path.insert(0, str(folder))
            main()
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 99)


def _kill(child: int, kind: str, seconds: float) -> None:
    time.sleep(seconds)
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):
        if kind == "kill":
            os.killpg(child, signal.SIGKILL)
        elif kind == "kill the parent alone":
            os.kill(child, signal.SIGKILL)
        else:
            children = Path(f"/proc/{child}/task/{child}/children").read_text().split()
            workers = [each for each in children if b"spawn_main" in Path(f"/proc/{each}/cmdline").read_bytes()]
            for each in workers[-1:]:
                os.kill(int(each), signal.SIGKILL)


def damaged_files(draw: random.Random, kind: str, run: Path) -> list[Path]:
    """Damage a file of a run, or two; the kind of file is drawn first, so that each is as likely as the others."""
    files = [path for path in sorted(run.rglob("*")) if path.is_file() and str(path.relative_to(run)) not in PRECIOUS]
    by_kind: dict[tuple[str, str], list[Path]] = {}
    for path in files:
        name = path.name if path.parent == run else str(path.parent.relative_to(run))
        by_kind.setdefault((name, path.suffix), []).append(path)
    if kind.startswith("swap"):
        by_kind = {of: paths for of, paths in by_kind.items() if len(paths) > 1}
    if kind == "swap with sidecars":
        by_kind = {of: paths for of, paths in by_kind.items() if of[1] in (".npy", ".safetensors")}
    paths = by_kind[draw.choice([of for of in by_kind if by_kind[of][0].stat().st_size or kind == "delete"])]
    path = draw.choice(paths)
    if path.name == "answers.sqlite":
        # Read only where the answers are not there already.
        (run / "target" / "predictions.json").unlink()
    content, damaged = bytearray(path.read_bytes()), [path]
    if kind == "flip":
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
    elif kind == "truncate":
        path.write_bytes(content[: draw.randrange(len(content))])
    elif kind == "delete":
        path.unlink()
    else:
        other = draw.choice([each for each in paths if each != path])
        damaged.append(other)
        pairs = [(path, other), *([(sidecar(path), sidecar(other))] if kind == "swap with sidecars" else [])]
        for one, two in pairs:
            before = one.read_bytes()
            one.write_bytes(two.read_bytes())
            two.write_bytes(before)
    return damaged


def contents(run: Path) -> dict[str, Any]:
    """What a run has computed, by name: without times, the manifest, and what is drawn from ``results.json``."""
    found: dict[str, Any] = {}
    for path in sorted(run.rglob("*")):
        name = path.relative_to(run).as_posix()
        if path.suffix == ".json" and path.name != "manifest.json":
            with contextlib.suppress(ValueError):
                found[name] = _timeless(json.loads(path.read_bytes()))
        elif path.suffix in (".npy", ".safetensors", ".csv", ".toml", ".parquet"):
            found[name] = path.read_bytes()
    return found


def _timeless(document: Any) -> Any:
    if isinstance(document, dict):
        return {key: _timeless(value) for key, value in document.items() if key not in ("seconds", "stages", "seal")}
    return [_timeless(value) for value in document] if isinstance(document, list) else document


def _figures_in(path: Path) -> Any:
    document = json.loads(path.read_bytes())
    return {key: value for key, value in document.items() if key not in ("a", "b", "verdict")}


def table(outcomes: Sequence[Outcome]) -> str:
    """How many faults of each kind had which outcome, as Markdown."""
    failures = len([each for each in outcomes if each.is_failure])
    counted = Counter((each.kind, "FAILURE" if each.is_failure else each.result) for each in outcomes)
    columns = [*OUTCOMES, "FAILURE"]
    lines = [["fault", "faults", *columns], ["---", *["---:"] * (1 + len(columns))]]
    for kind in KINDS:
        row = [counted[kind, column] for column in columns]
        lines.append([kind, str(sum(row)), *map(str, row)])
    totals = [len([each for each in outcomes if each.result == column]) for column in OUTCOMES]
    lines.append(["all", str(len(outcomes)), *map(str, totals), str(failures)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Run faults and print their table; exit with 1 if one was silent, lost a file, hung or had no sentence."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=240)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="the number of the first fault")
    parser.add_argument("--minutes", type=float, default=15, help="no fault is begun after so long")
    options = parser.parse_args()
    started, outcomes = time.monotonic(), list[Outcome]()
    with tempfile.TemporaryDirectory() as folder:
        faults = Faults(Path(folder), options.seed)
        for number in range(options.first, options.first + options.faults):
            if time.monotonic() > started + 60 * options.minutes:
                break
            outcome = faults.fault(number)
            outcomes.append(outcome)
            print(f"{number}: {outcome.kind}, {outcome.command} {outcome.place}: {outcome.result}", file=sys.stderr)
            if outcome.is_failure:
                print(outcome.said, file=sys.stderr, flush=True)
    print(table(outcomes))
    print(f"\nseed {options.seed}, {len(outcomes)} faults in {(time.monotonic() - started) / 60:.1f} minutes")
    sys.exit(any(each.is_failure for each in outcomes))


if __name__ == "__main__":
    main()
