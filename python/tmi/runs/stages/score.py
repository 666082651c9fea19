"""Stage 5: run the attacks of every adversary, each model in turn the target and others its shadows."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tmi.attacks.scoring import Part, join, parts, score_part
from tmi.runs.adversaries import Adversary, all_adversaries, attack_of, attacks_by, draw_shadows
from tmi.runs.subject import StoredSubject
from tmi.system.executor import Executor, Job


def run_stage(subject: StoredSubject, executor: Executor) -> None:
    """Write ``scores/`` of every adversary's attacks, and ``target_scores/``, where there are no current ones."""
    for adversary in all_adversaries(subject.config):
        for attack in attacks_by(subject.config, adversary):
            label = f"attack {attack}{', ' if adversary.label else ''}{adversary.label}"
            path, key = subject.directory.scores(attack, adversary.folder), subject.score_key(attack, adversary)
            _score(subject, executor, label, path, key, score_job, attack, adversary, subject.config.targets)
    for attack in subject.target_attacks:
        label = f"attack {attack}, unknown target"
        path, key = subject.directory.target_scores(attack), subject.target_score_key(attack)
        _score(subject, executor, label, path, key, target_job, attack, subject.target_adversary(attack), 1)


def _score(
    subject: StoredSubject,
    executor: Executor,
    label: str,
    path: Path,
    key: str,
    job: Callable[..., NDArray[np.float64]],
    attack: str,
    adversary: Adversary,
    targets: int,
) -> None:
    """Write the scores of one attack unless they are current."""
    if not subject.directory.stale({path: key}, executor.progress.note):
        return
    started = time.monotonic()
    at_once = executor.at_once("score")
    memory = subject.config.compute.memory_bytes // executor.on_a_machine("score")
    whole = parts(attack_of(subject.config, attack), len(subject.membership), targets, subject.points, at_once)
    reads = [path for each in subject.finetunings[: adversary.together] for path in each.attack_files]
    jobs = [Job((attack, adversary, part, memory), part.size, reads) for part in whole]
    scored = executor.map("score", subject.label(label), job, subject, jobs)
    scores = join(list(zip(whole, scored, strict=True)))
    subject.directory.save_array(path, scores, key, {"seconds": time.monotonic() - started})


def score_job(
    subject: StoredSubject, attack: str, adversary: Adversary, part: Part, memory: int
) -> NDArray[np.float64]:
    """Scores ``[targets, points]`` of one part of an adversary's attack, with so many bytes of working memory."""
    config = subject.config
    answers = subject.answers(memory, adversary.view, adversary.together)
    if adversary.shadows is None:
        return score_part(attack_of(subject.config, attack), answers, part)
    # Every target has shadows of its own, and is the first of the few models that are left.
    alone = Part(range(1), part.points)
    return np.concatenate(
        [
            score_part(
                attack_of(subject.config, attack),
                answers.restricted([target, *draw_shadows(config.seed, config.models, target, adversary.shadows)]),
                alone,
            )
            for target in part.targets
        ]
    )


def target_job(
    subject: StoredSubject, attack: str, adversary: Adversary, part: Part, memory: int
) -> NDArray[np.float64]:
    """Scores ``[1, points]`` of one part of an attack on the target of unknown membership."""
    answers = subject.answers(memory, adversary.view, adversary.together, with_target=True)
    return score_part(attack_of(subject.config, attack), answers, part)
