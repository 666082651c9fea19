"""What the results say about a run besides figures: its models, its data and its points."""

from __future__ import annotations

from typing import Any

import numpy as np

from tmi.runs.run import Run
from tmi.runs.subject import Description


def describe(run: Run, provenance: dict[str, Any], seconds: dict[str, float]) -> Description:
    """The description of a run whose models are all finetuned.

    Args:
        run: the run.
        provenance: the table of that name.
        seconds: time of every stage.
    """
    challenges, target = run.task.challenges, run.config.target
    return Description(
        kind="run",
        models=_models(run),
        data=_data(run),
        points=run.task.challenge_points,
        labels=[challenges.class_names[label] for label in challenges.labels],
        provenance=provenance,
        seconds=seconds,
        target=target.name if target else "",
    )


def _models(run: Run) -> dict[str, Any]:
    models = range(run.config.models)
    pretrained = [facts for model in models if (facts := _pretrained_facts(run, model))]
    finetuned = [_finetuned_facts(run, model) for model in models]
    accuracies = {
        f"pretraining_{side}_accuracy": _summary([facts[f"{side}_accuracy"] for facts in pretrained])
        for side in ("train", "test")
        if pretrained and all(f"{side}_accuracy" in facts for facts in pretrained)
    }
    return {
        "count": run.config.models,
        "targets": run.config.targets,
        "given": run.config.model.checkpoint if run.config.given else None,
        **accuracies,
        "downstream_train_accuracy": _summary([facts["train_accuracy"] for facts in finetuned]),
        "downstream_test_accuracy": _summary([facts["test_accuracy"] for facts in finetuned]),
        "not_pretrained": [model for model, facts in enumerate(pretrained) if not facts.get("learned", True)],
        "not_finetuned": [model for model, facts in enumerate(finetuned) if not facts["learned"]],
    }


def _pretrained_facts(run: Run, model: int) -> dict[str, Any]:
    """The accuracies of a pretrained model; empty where nobody measured them."""
    if run.config.given:
        return {}
    directory = run.directory
    # The user's own functions may tell accuracies, or the models are measured when they are queried.
    return directory.facts(directory.pretrained(model)) | directory.facts(directory.pretrained_predictions(model))


def _finetuned_facts(run: Run, model: int) -> dict[str, Any]:
    """The accuracies of a finetuned model; those of the user's own functions are measured when they are queried."""
    directory = run.directory
    return directory.facts((directory.finetuned if run.config.recipe is None else directory.predictions)(model))


def _data(run: Run) -> dict[str, Any]:
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
            "transfer": config.finetune.transfer if config.recipe is None else f"by {config.recipe.finetune}",
            "private": run.directory.facts(run.directory.finetuned(0)).get("private"),
            "fingerprint": task.downstream.fingerprint,
        },
        "queries_per_point": config.query.count,
    }


def _summary(values: list[float]) -> dict[str, float]:
    array = np.array(values)
    return {"mean": array.mean(), "sd": array.std(), "min": array.min(), "max": array.max()}
