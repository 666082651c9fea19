"""Stage 6, further adversaries: the figures of those who see less or more, or have fewer shadow models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmi.metrics.differences import compare
from tmi.metrics.roc import Judgement, judge
from tmi.report.tables import Attack, Figures, Together
from tmi.runs.adversaries import (
    Adversary,
    all_adversaries,
    attacks_by,
    by_shadows,
    by_together,
    by_view,
    main_adversary,
)
from tmi.runs.evaluate import Settings
from tmi.runs.subject import Subject
from tmi.system.executor import Executor


def adversary_results(
    subject: Subject, labels: NDArray[np.bool_], attacks: Mapping[str, Attack], headline: str, executor: Executor
) -> dict[str, Any]:
    """The figures of all adversaries.

    Args:
        subject: the scores of all its adversaries are current.
        labels: bool ``[targets, points]``.
        attacks: the figures of the main adversary, by attack.
        headline: the attack by which the adversaries are compared with the main one.
        executor: for its progress display and its number of threads.

    Returns:
        The tables of `Results` that have figures of several adversaries; None where these were not asked for.
    """
    config = subject.config
    main, *others = all_adversaries(config)
    judged = {main: {name: _figures(attack) for name, attack in attacks.items()}}
    for adversary in others:
        names = attacks_by(config, adversary)
        judged[adversary] = {
            name: _judged(subject, name, adversary, labels, executor.threads, compared=name == headline)
            for name in names
        }
        executor.progress.advance(len(names))
    views = {name: judged[adversary] for name, adversary in by_view(config).items()}
    shadows = {str(number): judged[adversary] for number, adversary in by_shadows(config).items()}
    together = None
    if numbers := by_together(config):
        rows = {
            str(number): {name: judged[adversary][name] for name in attacks_by(config, numbers[2])}
            for number, adversary in numbers.items()
        }
        together = Together(finetunings=[config.name, *config.companions], figures=rows)
    return {"views": views if len(views) > 1 else None, "shadows": shadows or None, "together": together}


def _judged(
    subject: Subject, attack: str, adversary: Adversary, labels: NDArray[np.bool_], threads: int, *, compared: bool
) -> Figures:
    scores, config = subject.scores(attack, adversary), subject.config
    how = (labels, config.evaluation.false_positive_rates, Settings.of(config, threads).bootstrap)
    figures = _figures(judge(scores, *how))
    if not compared:
        return figures
    difference = compare(scores, subject.scores(attack, main_adversary(config)), *how)
    return figures.model_copy(update={"difference": difference})


def _figures(judged: Judgement | Attack) -> Figures:
    return Figures(auc=judged.auc, balanced_accuracy=judged.balanced_accuracy, tpr_at_fpr=judged.tpr_at_fpr)
