"""Stage 6, its numbers: every figure of the report, as ``results.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmi import __version__
from tmi.adversary import main_adversary
from tmi.answers import neutral
from tmi.attacks import Attack, attack_named
from tmi.comparisons import compare_to, comparison_results
from tmi.metrics import judge, point_aucs
from tmi.run import Run
from tmi.rundir import write_json
from tmi.stages.adversaries import adversary_results
from tmi.stages.resampling import resampling
from tmi.stages.variants import variant_results
from tmi.workers import Workers

SCHEMA = 1
EXPOSED_POINTS = 12
DEFAULT_ATTACK = "tmi"


def run_stage(
    run: Run, workers: Workers, seconds: dict[str, float], variants: Mapping[str, dict[str, Any]] | None = None
) -> dict[str, Any]:
    """Judge all scores and write ``results.json``.

    Args:
        run: the run; the scores of all its attacks are current.
        workers: for its progress display and its number of threads.
        seconds: time of every stage, for the report.
        variants: the results of the run's variants, by name.

    Returns:
        The content of ``results.json``.
    """
    config, directory = run.config, run.directory
    labels = np.asarray(directory.load_array(directory.membership))[: config.targets]
    folder = main_adversary(config).folder
    scores = {name: np.asarray(directory.load_array(directory.scores(name, folder))) for name in config.attack.names}
    results: dict[str, Any] = {
        "schema": SCHEMA,
        "name": config.name,
        "description": config.description,
        "seed": config.seed,
        "version": __version__,
        "attacks": {},
        "models": _models(run),
        "stages": seconds,
        "data": _data(run, labels),
        "evaluation": {"confidence": config.evaluation.confidence, "resamples": config.evaluation.resamples},
        "points": _exposed_points(run, scores, labels),
    }
    workers.progress.begin(run.label("evaluate"), len(run.score_files))
    for name, attack_scores in scores.items():
        results["attacks"][name] = _judged(run, attack_named(name), attack_scores, labels, workers.processes)
        workers.progress.advance(1)
    results |= adversary_results(run, labels, results["attacks"], workers)
    results["comparisons"] = _compared(run, scores, labels, workers.processes)
    workers.progress.end()
    if variants:
        results["variants"] = variant_results(run, results, variants, _default_attack(scores))
    write_json(directory.results, results)
    return results


def _judged(
    run: Run, attack: Attack, scores: NDArray[np.float64], labels: NDArray[np.bool_], threads: int
) -> dict[str, Any]:
    judgement = judge(
        scores,
        labels,
        run.config.evaluation.false_positive_rates,
        **resampling(run, threads),
    )
    membership = np.asarray(run.directory.load_array(run.directory.membership))
    scores_file = run.directory.scores(attack.name, main_adversary(run.config).folder)
    compares_shadows = attack.needs in ("shadow models", "the pretrained model")
    return {
        "summary": attack.summary,
        "source": attack.source,
        "needs": attack.needs,
        "upper_bound": attack.upper_bound,
        **judgement.to_dict(),
        "seconds": run.directory.facts(scores_file).get("seconds", 0.0),
        "neutral": int(neutral(membership, range(run.config.targets)).sum()) if compares_shadows else 0,
    }


def _compared(
    run: Run, scores: dict[str, NDArray[np.float64]], labels: NDArray[np.bool_], threads: int
) -> dict[str, Any]:
    """The default attack minus every other, paired."""
    base = _default_attack(scores)
    compared = compare_to(
        base,
        scores,
        labels,
        run.config.evaluation.false_positive_rates,
        **resampling(run, threads),
    )
    return comparison_results(base, compared)


def _models(run: Run) -> dict[str, Any]:
    directory, models = run.directory, range(run.config.models)
    pretrained = [] if run.config.given else [directory.facts(directory.pretrained(model)) for model in models]
    finetuned = [directory.facts(directory.finetuned(model)) for model in models]
    accuracies = {
        f"pretraining_{side}_accuracy": _summary([facts[f"{side}_accuracy"] for facts in pretrained])
        for side in ("train", "test")
        if pretrained
    }
    return {
        "count": run.config.models,
        "targets": run.config.targets,
        "given": run.config.model.checkpoint if run.config.given else None,
        **accuracies,
        "downstream_train_accuracy": _summary([facts["train_accuracy"] for facts in finetuned]),
        "downstream_test_accuracy": _summary([facts["test_accuracy"] for facts in finetuned]),
        "not_pretrained": [model for model, facts in enumerate(pretrained) if not facts["learned"]],
        "not_finetuned": [model for model, facts in enumerate(finetuned) if not facts["learned"]],
    }


def _data(run: Run, labels: NDArray[np.bool_]) -> dict[str, Any]:
    config, task = run.config, run.task
    return {
        "pool": {
            "source": config.pool.source,
            "non_members": config.pool.non_members,
            "points": len(task.pool),
            "classes": len(task.pool.class_names),
            "objective": config.pretrain.objective,
            "duplicates": task.duplicates,
            "fingerprint": task.pool.fingerprint,
        },
        "downstream": {
            "source": config.downstream.source,
            "points": len(task.downstream),
            "classes": len(task.downstream.class_names),
            "points_per_model": len(run.finetuning_set(0)),
            "left_out": task.left_out,
            "transfer": config.finetune.transfer,
            "private": run.directory.facts(run.directory.finetuned(0)).get("private"),
            "fingerprint": task.downstream.fingerprint,
        },
        "challenge_points": labels.shape[1],
        "queries_per_point": config.query.count,
        "members": int(labels.sum()),
        "non_members": int((~labels).sum()),
    }


def _default_attack(scores: dict[str, NDArray[np.float64]]) -> str:
    """The attack that stands for the run: the default one, or the first that is no upper bound.

    For a given model it is the one to be compared with the points alone.
    """
    if "inputs-and-answers" in scores:
        return "inputs-and-answers"
    candidates = [name for name in scores if not attack_named(name).upper_bound] or list(scores)
    return DEFAULT_ATTACK if DEFAULT_ATTACK in candidates else candidates[0]


def _exposed_points(run: Run, scores: dict[str, NDArray[np.float64]], labels: NDArray[np.bool_]) -> dict[str, Any]:
    """The points at which the default attack does best."""
    name = _default_attack(scores)
    aucs = point_aucs(scores[name], labels)
    ranking = np.argsort(-np.nan_to_num(aucs, nan=-1.0), kind="stable")[:EXPOSED_POINTS]
    challenges = run.task.challenges
    return {
        "attack": name,
        "most_exposed": [
            {
                "point": int(run.task.challenge_points[index]),
                "label": challenges.class_names[challenges.labels[index]],
                "auc": float(aucs[index]),
                "mean_in": float(scores[name][labels[:, index], index].mean()),
                "mean_out": float(scores[name][~labels[:, index], index].mean()),
                "targets_in": int(labels[:, index].sum()),
                "targets_out": int((~labels[:, index]).sum()),
            }
            for index in ranking
            if np.isfinite(aucs[index])
        ],
    }


def _summary(values: list[float]) -> dict[str, float]:
    array = np.array(values)
    return {"mean": array.mean(), "sd": array.std(), "min": array.min(), "max": array.max()}
