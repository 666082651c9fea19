"""What the results say about a run besides figures: its models, its data and its points."""

from __future__ import annotations

import numpy as np

from tmi.report.tables import Accuracy, Data, Downstream, Models, Pool, Private, Provenance
from tmi.runs.run import Run
from tmi.runs.subject import Description
from tmi.shadows.makers.maker import Made


def describe(run: Run, provenance: Provenance, seconds: dict[str, float]) -> Description:
    """The description of a run whose models are all finetuned.

    Args:
        run: the run.
        provenance: the table of that name.
        seconds: time of every stage.
    """
    challenges, target, made = run.task.challenges, run.config.target, run.maker.describe()
    return Description(
        kind="run",
        models=_models(run, made),
        data=_data(run, made),
        points=run.task.challenge_points,
        labels=[challenges.class_names[label] for label in challenges.labels],
        provenance=provenance,
        seconds=seconds,
        target=target.name if target else "",
        looks_at="text" if run.config.finetune.objective == "causal" else "top class of the target",
        ids=[] if challenges.ids is None else challenges.ids.tolist(),
    )


def _models(run: Run, made: Made) -> Models:
    # Nobody may have measured the pretrained models of the user's own functions.
    pretrained = [facts for facts in made.pretrained if facts]
    accuracies = {
        f"pretraining_{side}_accuracy": _summary([facts[f"{side}_accuracy"] for facts in pretrained])
        for side in ("train", "test")
        if pretrained and all(f"{side}_accuracy" in facts for facts in pretrained)
    }
    perplexities = {
        f"downstream_{side}_perplexity": _summary([facts[f"{side}_perplexity"] for facts in made.finetuned])
        for side in ("train", "test")
        if run.config.finetune.objective == "causal"
    }
    return Models(
        count=run.config.models,
        targets=run.config.targets,
        given=made.given,
        **accuracies,
        downstream_train_accuracy=_summary([facts["train_accuracy"] for facts in made.finetuned]),
        downstream_test_accuracy=_summary([facts["test_accuracy"] for facts in made.finetuned]),
        **perplexities,
        not_pretrained=[model for model, facts in enumerate(pretrained) if not facts.get("learned", True)],
        not_finetuned=[model for model, facts in enumerate(made.finetuned) if not facts["learned"]],
    )


def _data(run: Run, made: Made) -> Data:
    config, task = run.config, run.task
    return Data(
        pool=Pool(
            source=config.pool.source,
            non_members=config.pool.non_members,
            points=len(task.pool),
            classes=len(task.pool.class_names),
            objective=config.pretrain.objective,
            duplicates=task.duplicates,
            fingerprint=task.pool.fingerprint,
        ),
        downstream=Downstream(
            source=config.downstream.source,
            objective=config.finetune.objective,
            points=len(task.downstream),
            classes=len(task.downstream.class_names),
            points_per_model=len(run.experiment.finetuning_set(0)),
            left_out=task.left_out,
            transfer=made.transfer,
            private=None if made.private is None else Private(**made.private),
            fingerprint=task.downstream.fingerprint,
        ),
        pretraining_labels=len(np.unique(task.challenges.labels))
        if run.directory.pretraining_labels in run.stage_files("membership")
        else None,
        queries_per_point=config.query.count,
    )


def _summary(values: list[float]) -> Accuracy:
    array = np.array(values)
    return Accuracy(mean=array.mean(), sd=array.std(), min=array.min(), max=array.max())
