"""Attacks on predictions that are larger than the memory they may take, in a process that is held to it.

Writes made-up predictions of many models, float16 ``[points, augmentations, classes]`` in a file each, runs attacks on
them in a process of their own whose data segment is limited, and reports its peak resident memory and throughput next
to reading the files and to the same kernels on a block that is in memory already. What was written is deleted.

    python benches/larger_than_memory.py                      # 8 GB of predictions, 1 GB of working memory
    python benches/larger_than_memory.py --models 100 --points 10000 --memory 64M --json -

Attacks that learn from all points take hours on so many. Of those that go window by window, `--windows` runs the first
few, with all that is made of all points before; `--attack tmi-pointwise:64` runs one at the first 64 points alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from tmi import _core
from tmi.attacks import tmi
from tmi.attacks.features import windows
from tmi.attacks.gaussian import RIDGE
from tmi.attacks.registry import Attack, attack_named
from tmi.attacks.scoring import Part, join, parts, score, score_part
from tmi.predictions.arrays import Predictions
from tmi.predictions.attack_input import AttackInput
from tmi.system.bars import Bars
from tmi.system.executor import InProcess, Job
from tmi.system.memory import parse_memory

READ_AT_ONCE = 1 << 20
# Different parts of so much noise are what the models answer: drawing it anew for each takes longer than all the rest.
NOISE = 1 << 22


def main() -> None:
    """Write predictions, attack them in a limited process, report and delete."""
    arguments = parsed()
    if arguments.attack_folder is not None:
        print(json.dumps(attack(arguments.attack_folder, arguments)))
        return
    with tempfile.TemporaryDirectory(prefix="predictions-", dir=arguments.folder) as folder:
        write(Path(folder), arguments)
        report: dict[str, Any] = {"bytes": sum(path.stat().st_size for path in Path(folder).glob("[0-9]*.npy"))}
        report["read_seconds"] = timed(lambda: read(Path(folder)))
        command = [sys.executable, __file__, *sys.argv[1:], "--attack-folder", folder]
        report |= json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    if arguments.json == "-":
        print(json.dumps(report))
    elif arguments.json is not None:
        Path(arguments.json).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    else:
        show(report)


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--augmentations", type=int, default=4)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--targets", type=int, default=4)
    parser.add_argument("--attack", action="append", help="repeatable; NAME or NAME:POINTS; gaussian and adapted-lira")
    parser.add_argument("--windows", type=int, help="of attacks that go window by window, only so many")
    parser.add_argument("--pretraining-labels", type=int, help="so many of them; none if left out")
    parser.add_argument("--threads", type=int, default=1, help="of the kernels")
    parser.add_argument("--memory", type=parse_memory, default="1G", help="working memory")
    parser.add_argument("--limit", type=parse_memory, help="hard limit of the process's data; none if left out")
    parser.add_argument("--folder", type=Path, help="where to write; the system's temporary folder if left out")
    parser.add_argument("--json", help="file for the figures, or - for standard output")
    parser.add_argument("--attack-folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def write(folder: Path, size: argparse.Namespace) -> None:
    """Predictions of all models, a file each, and ``membership.npy``."""
    random = np.random.default_rng(0)
    shape = (size.points, size.augmentations, size.classes)
    noise = (3 * random.standard_normal(NOISE, dtype=np.float32)).astype(np.float16)
    base = np.resize(noise, shape)
    direction = np.resize(noise[::-1], (size.points, 1, size.classes)) / np.float16(6)
    membership = random.random((size.models, size.points)) < 0.5
    for model, members in enumerate(membership):
        own = np.resize(np.roll(noise, int(random.integers(NOISE))), shape) / np.float16(3)
        np.save(folder / f"{model:06d}.npy", base + members[:, None, None] * direction + own)
    np.save(folder / "membership.npy", membership)


def read(folder: Path) -> None:
    """Read every file once, as ``cat`` does."""
    for path in sorted(folder.glob("[0-9]*.npy")):
        with path.open("rb", buffering=0) as file:
            while file.read(READ_AT_ONCE):
                pass


def load(folder: Path, size: argparse.Namespace) -> AttackInput:
    """What was written, as memory maps; the pretrained models answer as the finetuned ones do."""
    models = [np.load(path, mmap_mode="r") for path in sorted(folder.glob("[0-9]*.npy"))]
    labels = None
    if size.pretraining_labels is not None:
        labels = np.random.default_rng(1).integers(0, size.pretraining_labels, len(models[0]))
    finetuned, pretrained = Predictions(models, size.memory), Predictions(models, size.memory)
    membership = np.load(folder / "membership.npy")
    return AttackInput(finetuned, membership, pretrained, threads=size.threads, pretraining_labels=labels)


def attack(folder: Path, size: argparse.Namespace) -> dict[str, Any]:
    """Run the reduction and the attacks, and measure; meant for a process of its own."""
    if size.limit is not None:
        # Heap, stacks and other private memory; maps of files are not part of it.
        resource.setrlimit(resource.RLIMIT_DATA, (size.limit, size.limit))
    names = size.attack or ["gaussian", "adapted-lira"]
    attack_named(names[0].partition(":")[0])
    answers = load(folder, size)
    if size.windows is not None:
        whole = windows.windows
        tmi.windows = lambda answers: islice(whole(answers), size.windows)
    report: dict[str, Any] = {"resident_before": resident("VmRSS"), "attacks": {}}
    report["reduce_seconds"] = timed(lambda: reduce(answers))
    report["reduce_peak"] = resident("VmHWM")
    for name in names:
        forget_peak()
        started = time.perf_counter()
        scores = scored(name, answers, range(size.targets), size.windows)
        report["attacks"][name] = {
            "seconds": time.perf_counter() - started,
            "peak": resident("VmHWM"),
            "scores_sha256": hashlib.sha256(scores.tobytes()).hexdigest(),
        }
    report["floor_seconds"] = floors(answers, np.arange(size.targets))
    return report


def reduce(answers: AttackInput) -> None:
    """Scale and average all answers, block by block, and keep nothing."""
    for _, block in answers.predictions.blocks():
        _core.reduce_logits(block)


def scored(name: str, answers: AttackInput, targets: range, windows: int | None) -> NDArray[np.float64]:
    """The scores of an attack, in the parts and with the progress of ``tmi score``; those of some windows at once."""
    name, _, few = name.partition(":")
    found, answers = attack_named(name), answers.at(slice(int(few))) if few else answers
    if windows is not None and not found.point_by_point:
        return score(found, answers, targets)
    whole = parts(found, len(answers.membership), len(targets), answers.membership.shape[1], 1)
    jobs = [Job((found, part), part.size) for part in whole]
    pieces = InProcess(Bars(Console(stderr=True))).map("score", name, _scored_part, Opened(answers), jobs)
    return join(list(zip(whole, pieces, strict=True)))


@dataclass(frozen=True)
class Opened:
    """What the jobs are about."""

    answers: AttackInput

    def moved(self, _: Callable[[Path], Path]) -> Opened:
        """The same: the jobs run here."""
        return self


def _scored_part(opened: Opened, attack: Attack, part: Part) -> NDArray[np.float64]:
    return score_part(attack, opened.answers, part)


def floors(answers: AttackInput, targets: NDArray[np.int64]) -> dict[str, float]:
    """Seconds that the kernels alone take for all points, from a few points that are in memory already."""
    points = answers.membership.shape[1]
    few = slice(0, min(points, 512))
    block, membership = answers.predictions.block(few), np.ascontiguousarray(answers.membership[:, few])
    kernels: dict[str, Callable[[], Any]] = {
        "reduce": lambda: _core.reduce_logits(block),
        "gaussian": lambda: _core.gaussian_scores(_core.reduce_logits(block)[0], membership, targets, ridge=RIDGE),
        "adapted-lira": lambda: _core.adapted_lira(block, membership, targets),
    }
    return {name: min(timed(kernel) for _ in range(3)) * points / few.stop for name, kernel in kernels.items()}


def timed(work: Callable[[], Any]) -> float:
    """Seconds that a call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def resident(key: str) -> int:
    """Resident bytes of this process: ``VmRSS`` now, ``VmHWM`` at most so far; pages of mapped files included."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{key}:"))


def forget_peak() -> None:
    """Let ``VmHWM`` begin anew (proc(5), clear_refs)."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def show(report: dict[str, Any]) -> None:
    """Print the figures."""
    gigabytes = report["bytes"] / 1e9
    floor = report["floor_seconds"]
    lines: Sequence[tuple[str, float, int, float | None]] = [
        ("read the files", report["read_seconds"], 0, None),
        ("reduce", report["reduce_seconds"], report["reduce_peak"], floor["reduce"]),
        *((name, each["seconds"], each["peak"], floor.get(name)) for name, each in report["attacks"].items()),
    ]
    print(f"{gigabytes:.1f} GB of predictions; resident before: {report['resident_before'] / 1e6:.0f} MB")
    for name, seconds, peak, least in lines:
        peak_text = f"peak {peak / 1e6:6.0f} MB" if peak else " " * 14
        least_text = f"kernel alone {least:6.1f} s" if least else ""
        print(f"{name:<16} {seconds:7.1f} s  {gigabytes / seconds:6.2f} GB/s  {peak_text}  {least_text}")


if __name__ == "__main__":
    main()
