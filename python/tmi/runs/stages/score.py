"""Stage 5: run the attacks of every adversary, each model in turn the target and others its shadows."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmi.attacks.scoring import Part, join, parts, score_part
from tmi.runs.adversaries import Adversary, all_adversaries, attack_of, draw_shadows, main_adversary
from tmi.runs.subject import Case
from tmi.system.executor import Workers


def run_stage(case: Case, workers: Workers) -> None:
    """Write ``scores/`` of every adversary's attacks, and ``target_scores/``, where there are no current ones."""
    for adversary in all_adversaries(case.config):
        for attack in case.config.attack.names:
            label = f"attack {attack}{', ' if adversary.label else ''}{adversary.label}"
            path, key = case.directory.scores(attack, adversary.folder), case.score_key(attack, adversary)
            _score(case, workers, label, path, key, score_job, attack, adversary, case.config.targets)
    for attack in case.target_attacks:
        label = f"attack {attack}, unknown target"
        path, key = case.directory.target_scores(attack), case.target_score_key(attack)
        _score(case, workers, label, path, key, target_job, attack, main_adversary(case.config), 1)


def _score(
    case: Case,
    workers: Workers,
    label: str,
    path: Path,
    key: str,
    job: Callable[..., NDArray[np.float64]],
    attack: str,
    adversary: Adversary,
    targets: int,
) -> None:
    """Write the scores of one attack unless they are current."""
    if case.directory.is_current(path, key):
        return
    if case.directory.is_damaged(path, key):
        workers.progress.note(f"{case.directory.relative(path)} is damaged (its checksum is wrong): made anew")
    started = time.monotonic()
    memory = case.config.compute.memory_bytes // workers.processes
    jobs = parts(attack_of(case.config, attack), targets, case.points, workers.processes)
    arguments: list[tuple[Any, ...]] = [(case, attack, adversary, part, memory) for part in jobs]
    scored = workers.map(case.label(label), job, arguments, [part.size for part in jobs])
    scores = join(list(zip(jobs, scored, strict=True)))
    case.directory.save_array(path, scores, key, {"seconds": time.monotonic() - started})


def score_job(case: Case, attack: str, adversary: Adversary, part: Part, memory: int) -> NDArray[np.float64]:
    """Scores ``[targets, points]`` of one part of an adversary's attack, with so many bytes of working memory."""
    config = case.config
    answers = case.answers(memory, adversary.view)
    if adversary.shadows is None:
        return score_part(attack_of(case.config, attack), answers, part)
    # Every target has shadows of its own, and is the first of the few models that are left.
    alone = Part(range(1), part.points)
    return np.concatenate(
        [
            score_part(
                attack_of(case.config, attack),
                answers.restricted([target, *draw_shadows(config.seed, config.models, target, adversary.shadows)]),
                alone,
            )
            for target in part.targets
        ]
    )


def target_job(case: Case, attack: str, adversary: Adversary, part: Part, memory: int) -> NDArray[np.float64]:
    """Scores ``[1, points]`` of one part of an attack on the target of unknown membership."""
    return score_part(attack_of(case.config, attack), case.target_answers(memory, adversary.view), part)
