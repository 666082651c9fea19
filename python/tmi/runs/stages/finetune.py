"""Stage 3: finetune every pretrained model on the downstream task."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tmi.config import FinetuneConfig
from tmi.runs.run import Run
from tmi.runs.stages import own_recipe
from tmi.runs.stages.checkpoints import Checkpoints
from tmi.runs.stages.groups import run_groups
from tmi.runs.stages.outcome import measured, named_if_diverged
from tmi.runs.weights import load_pretrained
from tmi.shadows.networks import Classifier, apply_transfer, changed_weights
from tmi.shadows.training.data import TrainingSet
from tmi.shadows.training.loop import train
from tmi.shadows.training.measure import logits_of
from tmi.shadows.training.private import train_privately
from tmi.system.devices import on_one_thread, own_device
from tmi.system.executor import Workers, samples_trained
from tmi.system.seeding import torch_seed


def run_stage(run: Run, workers: Workers) -> None:
    """Write ``finetuned/`` for all models that have no current weights."""
    if run.config.recipe is not None:
        own_recipe.finetune(run, workers)
        return
    key = run.keys["finetune"]
    samples = run.config.finetune.epochs * len(run.finetuning_set(0))
    run_groups(run, workers, "finetune", finetune_group, lambda model: {run.directory.finetuned(model): key}, samples)


@on_one_thread
def finetune_group(run: Run, models: range) -> None:
    """Finetune a group of models and write what that changed, and their accuracies."""
    config, downstream = run.config, run.task.downstream
    device = own_device(config.compute.device)
    inputs = torch.from_numpy(run.encode(downstream.raw)).to(device)
    labels = torch.from_numpy(downstream.labels).to(device)
    subsets = torch.from_numpy(np.stack([run.finetuning_set(model) for model in models])).to(device)

    classifiers = [load_pretrained(run, model) for model in models]
    for model, classifier in zip(models, classifiers, strict=True):
        seed = torch_seed(config.seed, "adapters", model)
        apply_transfer(classifier, config.finetune, len(downstream.class_names), seed)
        classifier.to(device)
    checkpoints = Checkpoints(run, "finetune", models)
    seeds = [torch_seed(config.seed, "finetuning order", model) for model in models]
    promised = _finetune(classifiers, inputs, labels, subsets, config.finetune, seeds, models, checkpoints)

    for model, classifier, subset in zip(models, classifiers, subsets, strict=True):
        seen = torch.zeros(len(downstream), dtype=torch.bool, device=device)
        seen[subset] = True
        run.directory.save_tensors(
            run.directory.finetuned(model),
            changed_weights(classifier),
            run.keys["finetune"],
            measured(classifier, inputs, labels, seen) | promised,
        )
    checkpoints.remove()


def _finetune(
    classifiers: list[Classifier],
    inputs: Tensor,
    labels: Tensor,
    subsets: Tensor,
    recipe: FinetuneConfig,
    seeds: list[int],
    models: range,
    checkpoints: Checkpoints,
) -> dict[str, Any]:
    """Train what the transfer setting leaves trainable; what was promised about the finetuning points."""
    data = TrainingSet(inputs, labels, subsets)
    networks: list[torch.nn.Module] = list(classifiers)
    if recipe.transfer == "head" and not (recipe.flip or recipe.crop):
        # A frozen backbone always says the same about a point: it is asked once.
        features = torch.stack([logits_of(classifier.backbone, inputs) for classifier in classifiers])
        data = TrainingSet(features, labels, subsets, per_model=True)
        networks = [classifier.head for classifier in classifiers]
    if recipe.private is None:
        with named_if_diverged("finetune", models):
            train(networks, data, recipe, seeds, checkpoints)
        return {}
    for index, (network, seed) in enumerate(zip(networks, seeds, strict=True)):
        alone = data.of(slice(index, index + 1))
        guarantee = train_privately(network, alone, recipe, seed, samples_trained)
    # The same for all models: it depends on the recipe and on the number of points only.
    return {"private": {name: value for name, value in asdict(guarantee).items() if value != float("inf")}}
