"""Stage 5: run the attacks, each model in turn the target and all others its shadows."""

from __future__ import annotations

import time
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tmi.answers import Answers, Predictions
from tmi.attacks import attack_named
from tmi.run import Run
from tmi.rundir import RunDirectory
from tmi.workers import Workers

# Targets scored by one job: few enough that both cores stay busy to the end.
TARGETS_PER_JOB = 4


def run_stage(run: Run, workers: Workers) -> None:
    """Write ``scores/`` of every attack that has no current scores."""
    targets = run.config.targets
    jobs = [range(first, min(first + TARGETS_PER_JOB, targets)) for first in range(0, targets, TARGETS_PER_JOB)]
    for name in run.config.attack.names:
        path, key = run.directory.scores(name), run.score_key(name)
        if run.directory.is_current(path, key):
            continue
        if run.directory.is_damaged(path, key):
            workers.progress.note(f"{run.directory.relative(path)} is damaged (its checksum is wrong): made anew")
        started = time.monotonic()
        arguments = [(run, name, chunk) for chunk in jobs]
        scored = workers.map(f"attack {name}", score_targets, arguments, [len(chunk) for chunk in jobs])
        run.directory.save_array(path, np.concatenate(scored), key, {"seconds": time.monotonic() - started})


def score_targets(run: Run, attack: str, targets: range) -> NDArray[np.float64]:
    """Scores ``[targets, points]`` of one attack."""
    answers = load_answers(run.directory.root, run.keys["query"], run.config.models, run.config.seed)
    return attack_named(attack).score(answers, targets)


@lru_cache(maxsize=1)
def load_answers(root: Path, key: str, models: int, seed: int) -> Answers:
    """The answers of all models of a run, as memory maps; once per process for each ``key`` of the query stage."""
    directory = RunDirectory(root)
    return Answers(
        Predictions([directory.load_array(directory.predictions(model)) for model in range(models)]),
        np.asarray(directory.load_array(directory.membership)),
        Predictions([directory.load_array(directory.pretrained_predictions(model)) for model in range(models)]),
        seed,
    )
