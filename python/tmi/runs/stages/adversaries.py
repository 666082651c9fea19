"""Stage 6, further adversaries: the figures of those who see less or have fewer shadow models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmi.metrics.roc import judge
from tmi.runs.adversaries import Adversary, all_adversaries, by_shadows, by_view
from tmi.runs.evaluate import Settings
from tmi.runs.subject import Case
from tmi.system.executor import Executor

# What is reported of an adversary who is not the main one.
FIGURES = ("auc", "balanced_accuracy", "tpr_at_fpr")


def adversary_results(
    case: Case, labels: NDArray[np.bool_], attacks: Mapping[str, Mapping[str, Any]], executor: Executor
) -> dict[str, Any]:
    """The entries ``views`` and ``shadows`` of ``results.json``.

    Args:
        case: the scores of all its adversaries are current.
        labels: bool ``[targets, points]``.
        attacks: the figures of the main adversary, by attack.
        executor: for its progress display and its number of threads.

    Returns:
        ``views``: figures by view and attack, where there is more
        than one view; ``shadows``: figures by number of shadow models and attack, where numbers were asked for.
    """
    config = case.config
    main, *others = all_adversaries(config)
    judged = {main: {name: {key: attack[key] for key in FIGURES} for name, attack in attacks.items()}}
    for adversary in others:
        judged[adversary] = {
            name: _judged(case, name, adversary, labels, executor.threads) for name in config.attack.names
        }
        executor.progress.advance(len(config.attack.names))
    results: dict[str, Any] = {}
    if len(config.attack.views) > 1:
        results["views"] = {name: judged[adversary] for name, adversary in by_view(config).items()}
    if config.attack.shadows:
        results["shadows"] = {str(number): judged[adversary] for number, adversary in by_shadows(config).items()}
    return results


def _judged(case: Case, attack: str, adversary: Adversary, labels: NDArray[np.bool_], threads: int) -> dict[str, Any]:
    scores = np.asarray(case.directory.load_array(case.directory.scores(attack, adversary.folder)))
    judgement = judge(
        scores,
        labels,
        case.config.evaluation.false_positive_rates,
        Settings.of(case.config, threads).bootstrap,
    ).to_dict()
    return {key: judgement[key] for key in FIGURES}
