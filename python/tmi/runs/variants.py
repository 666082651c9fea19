"""Other finetunings of the same pretrained models, next to one another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tmi.metrics.differences import compare
from tmi.report.results import Results
from tmi.report.tables import VariantAttack, VariantDifference, VariantRow, Variants
from tmi.runs.adversaries import main_adversary
from tmi.runs.evaluate import Settings
from tmi.runs.run import Run


def variant_results(run: Run, results: Results, variants: Mapping[str, Results]) -> Variants:
    """What distinguishes the finetunings, and what each leaks to the headline attack of the run.

    Args:
        run: the run itself.
        results: its results.
        variants: those of its variants, by name.

    Returns:
        For every private variant its paired difference to the same recipe without noise, for every other one that to
        the run itself.
    """
    rows = {results.name: _row(results)} | {name: _row(of_variant) for name, of_variant in variants.items()}
    return Variants(attack=results.headline, rows=rows, differences=_differences(run, results.headline))


def _row(results: Results) -> VariantRow:
    downstream, accuracy = results.data.downstream, results.models.downstream_test_accuracy
    if downstream is None or accuracy is None:
        raise ValueError(f"the results of {results.name} are not those of a finetuning")
    return VariantRow(
        transfer=downstream.transfer,
        private=downstream.private,
        source=downstream.source,
        classes=downstream.classes,
        points_per_model=downstream.points_per_model,
        downstream_test_accuracy=accuracy,
        downstream_test_perplexity=results.models.downstream_test_perplexity,
        not_finetuned=results.models.not_finetuned,
        attacks={
            name: VariantAttack(auc=attack.auc, tpr_at_fpr=attack.tpr_at_fpr, direct_access=attack.direct_access)
            for name, attack in results.attacks.items()
        },
    )


def _differences(run: Run, attack: str) -> dict[str, VariantDifference]:
    """Paired over targets and points, which all variants share."""
    runs = {run.config.name: run} | {variant.directory.variant_name: variant for variant in run.variants}
    labels = np.asarray(run.directory.load_array(run.directory.membership))[: run.config.targets]
    differences = {}
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
        differences[name] = VariantDifference(against=base, **vars(difference))
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
