"""Stage 5: run the attacks of every adversary, each model in turn the target and others its shadows."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tmi.adversary import Adversary, all_adversaries, draw_shadows
from tmi.answers import Answers, Predictions
from tmi.attacks import attack_named
from tmi.run import Run
from tmi.rundir import RunDirectory
from tmi.scoring import Part, join, parts, score_part
from tmi.views import View
from tmi.workers import Workers


def run_stage(run: Run, workers: Workers) -> None:
    """Write ``scores/`` of every adversary's attacks that have no current scores."""
    for adversary in all_adversaries(run.config):
        for attack in run.config.attack.names:
            _score(run, workers, attack, adversary)


def _score(run: Run, workers: Workers, attack: str, adversary: Adversary) -> None:
    path, key = run.directory.scores(attack, adversary.folder), run.score_key(attack, adversary)
    if run.directory.is_current(path, key):
        return
    if run.directory.is_damaged(path, key):
        workers.progress.note(f"{run.directory.relative(path)} is damaged (its checksum is wrong): made anew")
    started = time.monotonic()
    points = len(run.task.challenge_points)
    memory = run.config.compute.memory_bytes // workers.processes
    jobs = parts(attack_named(attack), run.config.targets, points, workers.processes)
    arguments = [(run, attack, adversary, part, memory) for part in jobs]
    label = run.label(f"attack {attack}{', ' if adversary.label else ''}{adversary.label}")
    scored = workers.map(label, score_job, arguments, [part.size for part in jobs])
    scores = join(list(zip(jobs, scored, strict=True)))
    run.directory.save_array(path, scores, key, {"seconds": time.monotonic() - started})


def score_job(run: Run, attack: str, adversary: Adversary, part: Part, memory: int) -> NDArray[np.float64]:
    """Scores ``[targets, points]`` of one part of an adversary's attack, with so many bytes of working memory."""
    config = run.config
    has_references = config.query.reference_points > 0
    answers = load_answers(
        run.directory, run.keys["query"], config.models, config.seed, memory, adversary.view, has_references
    )
    if config.given:
        answers = replace(answers, pretrained=None, inputs=run.task.challenges.raw)
    if adversary.shadows is None:
        return score_part(attack_named(attack), answers, part)
    # Every target has shadows of its own, and is the first of the few models that are left.
    alone = Part(range(1), part.points)
    return np.concatenate(
        [
            score_part(
                attack_named(attack),
                answers.restricted([target, *draw_shadows(config.seed, config.models, target, adversary.shadows)]),
                alone,
            )
            for target in part.targets
        ]
    )


@lru_cache(maxsize=1)
def load_answers(
    directory: RunDirectory, key: str, models: int, seed: int, memory: int, view: View, has_references: bool
) -> Answers:
    """What is seen of the answers of all models of a run, as memory maps; ``key`` is that of the query stage."""

    def predictions(path_of: Callable[[int], Path]) -> Predictions:
        return Predictions([directory.load_array(path_of(model)) for model in range(models)], memory)

    answers = Answers(
        predictions(directory.predictions),
        np.asarray(directory.load_array(directory.membership)),
        predictions(directory.pretrained_predictions) if directory.pretrained_predictions(0).exists() else None,
        seed,
        reference=predictions(directory.reference_predictions) if has_references else None,
    )
    return answers.seen_through(view)
