"""How time and memory of attacks and metrics grow with models, points, classes and augmentations: fitted exponents.

    python benches/scaling.py [--json FILE] [--only NAME ...] [--budget SECONDS]

Each measurement is a process of its own on one thread: seconds of the processor, and the most memory above what the
answers themselves take. One size grows while the others stay; a series ends where a measurement takes longer than the
budget. The exponent is the slope between the logarithms over the upper half of a series, where what is constant has
least weight.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tmi.attacks.registry import attack_named
from tmi.attacks.scoring import score
from tmi.bench.cases import Size, made_up
from tmi.metrics.bootstrap import Bootstrap
from tmi.predictions.arrays import Predictions
from tmi.predictions.attack_input import AttackInput

BASE = Size(models=64, points=400, augmentations=2, classes=10)
# About two decades of each.
SERIES = {
    "models": (8, 16, 32, 64, 128, 256, 512),
    "points": (100, 200, 400, 1000, 2000, 4000, 10000),
    "classes": (2, 6, 20, 60, 200),
    "augmentations": (1, 3, 10, 30, 100),
}
ATTACKS = ("gaussian", "adapted-lira", "lira-online", "rmia", "confidence", "conditional", "tmi-unconditioned", "tmi")
# Scores of so many targets and points are judged with so many resamples.
JUDGED = (16, 400)
RESAMPLES = 200
METRICS = {"points": (100, 300, 1000, 3000, 10000), "targets": (2, 6, 20, 60, 200)}
# Below these a figure is of what is constant: seconds of the processor, and megabytes.
LEAST = (0.002, 2.0)


def attack(name: str, size: Size) -> Callable[[], Any]:
    answers = made_up(size)
    labels = np.random.default_rng(2).integers(0, size.classes, size.points)
    predictions = list(answers.predictions.block(slice(None)))
    return lambda: score(
        attack_named(name), AttackInput(Predictions(predictions), answers.membership, labels=labels), [0]
    )


def judging(points: int, targets: int) -> Callable[[], Any]:
    from tmi.metrics.roc import judge

    random = np.random.default_rng(1)
    labels = random.random((targets, points)) < 0.5
    scores = random.normal(size=labels.shape) + labels
    return lambda: judge(scores, labels, [0.01, 0.1], Bootstrap(RESAMPLES))


def measured(small: Callable[[], Callable[[], Any]], make: Callable[[], Callable[[], Any]], sender: Any) -> None:
    """Send the seconds of the processor and the megabytes that a call takes beyond what was there before."""
    small()()  # for the libraries that it loads
    call = make()
    Path("/proc/self/clear_refs").write_text("5")
    before, started = memory("VmRSS"), time.process_time()
    call()
    sender.send((time.process_time() - started, memory("VmHWM") - before))


def memory(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith(f"{name}:"))


def in_a_process(small: Callable[[], Callable[[], Any]], make: Callable[[], Callable[[], Any]]) -> tuple[float, float]:
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=measured, args=(small, make, sender))
    process.start()
    sender.close()
    try:
        seconds, megabytes = receiver.recv()
    finally:
        process.join()
    return seconds, megabytes


def series(make: Callable[[int], Callable[[], Callable[[], Any]]], sizes: tuple[int, ...], budget: float) -> list[Any]:
    """Size, seconds and megabytes of every measurement, until one takes longer than the budget."""
    rows: list[Any] = []
    for size in sizes:
        seconds, megabytes = in_a_process(make(sizes[0]), make(size))
        rows.append((size, seconds, megabytes))
        if seconds > budget:
            break
    return rows


def exponent(rows: list[Any], column: int) -> float | None:
    """Of the upper half of a series; None where fewer than three measurements are above what is constant."""
    known = [(row[0], row[column]) for row in rows if row[column] > LEAST[column - 1]]
    upper = known[-max(3, (len(known) + 1) // 2) :]
    return float(np.polyfit(*np.log(np.array(upper)).T, 1)[0]) if len(known) >= 3 else None


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", nargs="*", default=[*ATTACKS, "judge"])
    parser.add_argument("--budget", type=float, default=3.0)
    arguments = parser.parse_args()
    found: dict[str, dict[str, Any]] = {}
    for name in arguments.only:
        found[name] = {}
        for axis, sizes in (METRICS if name == "judge" else SERIES).items():

            def make(size: int, name: str = name, axis: str = axis) -> Callable[[], Callable[[], Any]]:
                if name == "judge":
                    return lambda: judging(**({"points": JUDGED[1], "targets": JUDGED[0]} | {axis: size}))
                return lambda: attack(name, replace(BASE, **{axis: size}))

            rows = series(make, sizes, arguments.budget)
            found[name][axis] = {"rows": rows, "time": exponent(rows, 1), "memory": exponent(rows, 2)}
            measured_rows = ", ".join(f"{size:,}: {seconds:.3g} s {mb:.0f} MB" for size, seconds, mb in rows)
            print(f"{name} {axis}: {measured_rows}", flush=True)
    print("\n| | " + " | ".join(f"{axis}: time, memory" for axis in SERIES) + " |\n|---" + "|---:" * len(SERIES) + "|")
    for name, axes in found.items():
        known = axes | {"models": axes.get("targets", axes.get("models"))}
        cells = (
            "-" if axis not in known else ", ".join(shown(known[axis][kind]) for kind in ("time", "memory"))
            for axis in SERIES
        )
        print(f"| `{name}` | " + " | ".join(cells) + " |")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


def shown(value: float | None) -> str:
    return "constant" if value is None else f"{value:.1f}"


if __name__ == "__main__":
    main()
