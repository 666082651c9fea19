"""Stage 6, further adversaries: the figures of those who see less or have fewer shadow models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tmi.metrics.roc import Judgement, judge
from tmi.report.tables import Attack, Figures
from tmi.runs.adversaries import Adversary, all_adversaries, by_shadows, by_view
from tmi.runs.evaluate import Settings
from tmi.runs.subject import Subject
from tmi.system.executor import Executor

ByAttack: TypeAlias = dict[str, Figures]


def adversary_results(
    subject: Subject, labels: NDArray[np.bool_], attacks: Mapping[str, Attack], executor: Executor
) -> tuple[dict[str, ByAttack] | None, dict[str, ByAttack] | None]:
    """The figures of all adversaries.

    Args:
        subject: the scores of all its adversaries are current.
        labels: bool ``[targets, points]``.
        attacks: the figures of the main adversary, by attack.
        executor: for its progress display and its number of threads.

    Returns:
        Figures by view and attack, where there is more than one view, and by number of shadow models and attack, where
        numbers were asked for.
    """
    config = subject.config
    main, *others = all_adversaries(config)
    judged = {main: {name: _figures(attack) for name, attack in attacks.items()}}
    for adversary in others:
        judged[adversary] = {
            name: _judged(subject, name, adversary, labels, executor.threads) for name in config.attack.names
        }
        executor.progress.advance(len(config.attack.names))
    views = {name: judged[adversary] for name, adversary in by_view(config).items()}
    shadows = {str(number): judged[adversary] for number, adversary in by_shadows(config).items()}
    return views if len(views) > 1 else None, shadows or None


def _judged(subject: Subject, attack: str, adversary: Adversary, labels: NDArray[np.bool_], threads: int) -> Figures:
    scores = subject.scores(attack, adversary)
    return _figures(
        judge(
            scores,
            labels,
            subject.config.evaluation.false_positive_rates,
            Settings.of(subject.config, threads).bootstrap,
        )
    )


def _figures(judged: Judgement | Attack) -> Figures:
    return Figures(auc=judged.auc, balanced_accuracy=judged.balanced_accuracy, tpr_at_fpr=judged.tpr_at_fpr)
