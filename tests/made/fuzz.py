"""Hostile input for every reader of files that others made; `python -m made.fuzz`.

Each target is a small folder of valid files and what reads them. One of the files is mutated and the folder read: it is
read, or refused in one sentence. Anything else is a finding, with the number that shows it again: another exception, a
warning, more than two seconds or 500 MB, a crash, no end. Input number N of a seed and a target is always the same.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import resource
import select
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from made.mutations import mutated, sealed
from made.readers import readers
from tmi.errors import TmiError

# Of one input: seconds of the processor, kilobytes that the process grows by, and the characters of the sentence.
MOST_SECONDS, MOST_KILOBYTES, LONGEST_SENTENCE = 2.0, 500 << 10, 2000
# Seconds without a sign of life after which a target counts as hanging.
PATIENCE = 60.0
# Bytes beyond what a process has that it may ask for, so that a finding does not take the machine along.
ROOM = 6 << 30


@dataclass(frozen=True)
class Target:
    """What is read of a folder.

    Attributes:
        name: of the kind of files.
        files: valid ones, by their path in the folder.
        read: reads the folder, of which the file of that name was mutated.
        seals: what the seal of a file is about, where files are sealed.
        lists: whether several mistakes are told at once, a line each.
    """

    name: str
    files: Mapping[str, bytes]
    read: Callable[[Path, str], object]
    seals: Mapping[str, str] = field(default_factory=dict)
    lists: bool = False

    def write(self, folder: Path) -> None:
        """The valid files."""
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def case(self, folder: Path, seed: int, number: int) -> str:
        """Read input ``number``, in a folder with the valid files, which are there again afterwards.

        Returns:
            "read", "refused", or what was found.
        """
        draw = random.Random(f"{seed} {self.name} {number}")
        name = draw.choice(sorted(self.files))
        if name in self.seals and draw.random() < 0.6:
            content = sealed(draw, self.files[name], self.seals[name])
        else:
            content = mutated(draw, name, dict(self.files))
        (folder / name).write_bytes(content)
        try:
            return self._judged(folder, name)
        finally:
            (folder / name).write_bytes(self.files[name])

    def _judged(self, folder: Path, name: str) -> str:
        seconds, kilobytes = time.process_time(), _peak()
        result = "read"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                self.read(folder, name)
        except TmiError as error:
            result, sentence = "refused", str(error)
            if not sentence or len(sentence) > LONGEST_SENTENCE or ("\n" in sentence and not self.lists):
                return f"no sentence: {sentence[:300]!r}"
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            own = [each for each in traceback.extract_tb(error.__traceback__) if "/tmi/" in each.filename]
            place = f"{own[-1].filename.rpartition('/tmi/')[2]}:{own[-1].lineno}" if own else "?"
            return f"{type(error).__name__} in {place}: {str(error)[:200]}"
        if (taken := time.process_time() - seconds) > MOST_SECONDS:
            return f"{result} in {taken:.1f} s"
        if (grown := _peak() - kilobytes) > MOST_KILOBYTES:
            return f"{result} with {grown >> 10} MB"
        return result


def targets(folder: Path) -> list[Target]:
    """All targets; ``folder`` is for making their files."""
    return [Target(*each) for each in readers(folder)]


def _peak() -> int:
    """Most kilobytes that this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak >> 10 if sys.platform == "darwin" else peak


@dataclass
class Tally:
    """What became of the inputs of a target."""

    results: Counter[str] = field(default_factory=Counter)
    findings: dict[str, list[int]] = field(default_factory=dict)

    def add(self, number: int, result: str) -> None:
        """Count an input; findings at one place count as one."""
        kind = result if result in ("read", "refused") else "findings"
        self.results[kind] += 1
        if kind == "findings":
            place = result.partition(": ")[0]
            self.findings.setdefault(place, []).append(number)
            if len(self.findings[place]) == 1:
                print(f"  {number}: {result}", flush=True)


def run(target: Target, folder: Path, seed: int, inputs: int) -> Tally:
    """Read so many inputs in forks of this process; one that crashes or hangs is a finding, and the next goes on."""
    tally, number = Tally(), 0
    while number < inputs:
        place = folder / f"{target.name}-{number}"
        target.write(place)
        said, output = os.pipe()
        if (child := os.fork()) == 0:
            _work(target, place, seed, range(number, inputs), output)
        os.close(output)
        rest = b""
        while True:
            ready, _, _ = select.select([said], [], [], PATIENCE)
            read = os.read(said, 1 << 16) if ready else b""
            if not read:
                break
            *lines, rest = (rest + read).split(b"\n")
            for line in lines:
                tally.add(number, line.decode())
                number += 1
        os.close(said)
        if not ready:
            os.kill(child, 9)
        _, status = os.waitpid(child, 0)
        if number < inputs:
            ending = "no end" if not ready else f"ends with {os.waitstatus_to_exitcode(status)}"
            tally.add(number, ending)
            number += 1
        shutil.rmtree(place)
    return tally


def _work(target: Target, folder: Path, seed: int, numbers: Sequence[int], output: int) -> None:
    """Read inputs one after the other and say what became of each; in a forked process, which ends."""
    try:
        if sys.platform == "linux":
            size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (size + ROOM, size + ROOM))
        quiet = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(quiet, stream)
        for number in numbers:
            try:
                result = target.case(folder, seed, number)
            except Exception as error:  # a mistake of this file or of the mutations
                last = traceback.extract_tb(error.__traceback__)[-1]
                result = f"{error!r} in {last.filename}:{last.lineno}"
            os.write(output, result.encode(errors="replace").replace(b"\n", b" ") + b"\n")
            if number % 1000 == 999:
                gc.collect()
        os._exit(0)
    finally:
        os._exit(99)


def main(arguments: Sequence[str] | None = None) -> int:
    """Read hostile input and print the table; 1 if something was found."""
    parser = argparse.ArgumentParser(prog="python -m made.fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="TARGET")
    parser.add_argument("--inputs", type=int, default=2000, help="of each target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int, help="read this input alone, here, and keep its files")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="tmi-fuzz-") as name:
        folder = Path(name)
        every = targets(folder)
        if unknown := {*chosen.names} - {each.name for each in every}:
            parser.error(f"no target {sorted(unknown)}, expected some of {[each.name for each in every]}")
        if chosen.case is not None and len(chosen.names) != 1:
            parser.error("--case is an input of one TARGET")
        found = [each for each in every if not chosen.names or each.name in chosen.names]
        if chosen.case is not None:
            kept = Path(tempfile.mkdtemp(prefix="tmi-fuzz-case-"))
            return _show(found[0], kept, chosen.seed, chosen.case)
        rows = []
        for target in found:
            started = time.monotonic()
            rows.append((target.name, run(target, folder, chosen.seed, chosen.inputs)))
            print(f"{target.name}: {chosen.inputs} inputs in {time.monotonic() - started:.0f} s", flush=True)
    print("\n| reader | inputs | read | refused | findings |\n| --- | ---: | ---: | ---: | ---: |")
    for name, tally in rows:
        counts = [tally.results[kind] for kind in ("read", "refused", "findings")]
        print(f"| {name} | {' | '.join(f'{count:,}' for count in (sum(counts), *counts))} |")
    for name, tally in rows:
        for place, numbers in tally.findings.items():
            print(f"{name}: {place}: {len(numbers)} times, such as --case {numbers[0]}")
    return int(any(tally.findings for _, tally in rows))


def _show(target: Target, folder: Path, seed: int, number: int) -> int:
    """One input with the traceback of what it does."""
    target.write(folder)

    def shown(place: Path, name: str) -> None:
        shutil.copytree(place, folder / "kept", ignore=shutil.ignore_patterns("kept"))
        print(f"{name} was mutated; all files are in {folder / 'kept'}")
        try:
            target.read(place, name)
        except BaseException:
            traceback.print_exc()
            raise

    print(replace(target, read=shown).case(folder, seed, number))
    return 0


if __name__ == "__main__":
    sys.exit(main())
