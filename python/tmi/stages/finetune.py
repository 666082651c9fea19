"""Stage 3: finetune every pretrained model on the downstream task."""

from __future__ import annotations

import numpy as np
import torch

from tmi.encoders import encode
from tmi.models import blank_head, weights_of
from tmi.run import Run
from tmi.saved import load_pretrained
from tmi.seeding import torch_seed
from tmi.stages.groups import run_groups
from tmi.training.loop import TrainingSet, train
from tmi.training.measure import accuracies, logits_of, on_one_thread
from tmi.workers import Workers


def run_stage(run: Run, workers: Workers) -> None:
    """Write ``finetuned/`` for all models that have no current weights."""
    run_groups(run, workers, "finetune", finetune_group, lambda model: [run.directory.finetuned(model)])


@on_one_thread
def finetune_group(run: Run, models: range) -> None:
    """Train new heads for a group of models on the cached features of their frozen backbones."""
    config, downstream = run.config, run.task.downstream
    device = torch.device(config.compute.device)
    inputs = torch.from_numpy(encode(downstream.raw, downstream.kind, config.encoder)).to(device)
    labels = torch.from_numpy(downstream.labels).to(device)
    subsets = np.stack([run.finetuning_set(model) for model in models])

    features = torch.stack([logits_of(load_pretrained(run, model).backbone, inputs) for model in models])
    heads = [blank_head(features.shape[-1], len(downstream.class_names)).to(device) for _ in models]
    seeds = [torch_seed(config.seed, "finetuning order", model) for model in models]
    data = TrainingSet(features, labels, torch.from_numpy(subsets).to(device), per_model=True)
    train(heads, data, config.finetune, seeds)

    for model, head, own_features, subset in zip(models, heads, features, subsets, strict=True):
        seen = torch.zeros(len(downstream), dtype=torch.bool, device=device)
        seen[torch.from_numpy(subset)] = True
        train_accuracy, test_accuracy = accuracies(head, own_features, labels, seen)
        run.directory.save_tensors(
            run.directory.finetuned(model),
            {f"head.{name}": array for name, array in weights_of(head).items()},
            run.keys["finetune"],
            {"train_accuracy": train_accuracy, "test_accuracy": test_accuracy},
        )
