"""Other finetunings of the same pretrained models, next to one another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tmi.metrics.differences import compare
from tmi.runs.adversaries import main_adversary
from tmi.runs.evaluate import Settings, headline
from tmi.runs.run import Run


def variant_results(run: Run, results: dict[str, Any], variants: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """What distinguishes the finetunings, and what each leaks.

    Args:
        run: the run itself.
        results: its results.
        variants: those of its variants, by name.

    Returns:
        ``attack``, by which they are compared; ``rows``: for the run itself (under its own name) and every variant the
        finetuning, its accuracy and all attacks; ``differences``: for every private variant its paired difference to
        the same recipe without noise, for every other one that to the run itself.
    """
    attack = headline(list(results["attacks"]))
    rows = {results["name"]: _row(results)} | {name: _row(of_variant) for name, of_variant in variants.items()}
    return {"attack": attack, "rows": rows, "differences": _differences(run, attack)}


def _row(results: dict[str, Any]) -> dict[str, Any]:
    downstream, models = results["data"]["downstream"], results["models"]
    return {
        "transfer": downstream["transfer"],
        "private": downstream["private"],
        "source": downstream["source"],
        "classes": downstream["classes"],
        "points_per_model": downstream["points_per_model"],
        "downstream_test_accuracy": models["downstream_test_accuracy"],
        "not_finetuned": models["not_finetuned"],
        "attacks": {
            name: {"auc": attack["auc"], "tpr_at_fpr": attack["tpr_at_fpr"], "upper_bound": attack["upper_bound"]}
            for name, attack in results["attacks"].items()
        },
    }


def _differences(run: Run, attack: str) -> dict[str, Any]:
    """Paired over targets and points, which all variants share."""
    runs = {run.config.name: run} | {variant.directory.variant_name: variant for variant in run.variants}
    labels = np.asarray(run.directory.load_array(run.directory.membership))[: run.config.targets]
    differences: dict[str, Any] = {}
    for name, variant in runs.items():
        base = _compared_with(name, runs)
        if base == name:
            continue
        difference = compare(
            _scores(variant, attack),
            _scores(runs[base], attack),
            labels,
            run.config.evaluation.false_positive_rates,
            Settings.of(run.config).bootstrap,
        )
        differences[name] = {"against": base} | difference.to_dict()
    return differences


def _compared_with(name: str, runs: Mapping[str, Run]) -> str:
    finetune = runs[name].config.finetune
    if finetune.private is not None and finetune.private.noise_multiplier != 0:
        control = finetune.model_copy(update={"private": finetune.private.without_noise()})
        for other, run in runs.items():
            if run.config.finetune == control:
                return other
    return next(iter(runs))


def _scores(run: Run, attack: str) -> Any:
    folder = main_adversary(run.config).folder
    return np.asarray(run.directory.load_array(run.directory.scores(attack, folder)))
