"""Stage 2: pretrain every model on its half of the pool."""

from __future__ import annotations

import numpy as np
import torch

from tmi.devices import own_device
from tmi.encoders import encode
from tmi.membership import draw_membership
from tmi.models import build_classifier, weights_of
from tmi.run import Run
from tmi.seeding import torch_seed
from tmi.stages.checkpoints import Checkpoints
from tmi.stages.groups import run_groups
from tmi.stages.outcome import measured, named_if_diverged
from tmi.training.data import TrainingSet
from tmi.training.loop import train
from tmi.training.measure import on_one_thread
from tmi.workers import Workers


def run_stage(run: Run, workers: Workers) -> None:
    """Write ``pretrained/`` for all models that have no current weights."""
    key = run.keys["pretrain"]
    samples = run.config.pretrain.epochs * (len(run.task.pool) // 2)
    run_groups(run, workers, "pretrain", pretrain_group, lambda model: {run.directory.pretrained(model): key}, samples)


@on_one_thread
def pretrain_group(run: Run, models: range) -> None:
    """Pretrain a group of models together and write their weights and accuracies."""
    config, pool = run.config, run.task.pool
    device = own_device(config.compute.device)
    membership = draw_membership(config.seed, config.models, len(pool))[models.start : models.stop]
    inputs = torch.from_numpy(encode(pool.raw, pool.kind, config.encoder)).to(device)
    labels = torch.from_numpy(pool.labels).to(device)
    members = torch.from_numpy(np.stack([np.flatnonzero(row) for row in membership])).to(device)

    networks = [
        build_classifier(
            config.model,
            config.encoder,
            tuple(inputs.shape[1:]),
            len(pool.class_names),
            torch_seed(config.seed, "initialisation", model),
        ).to(device)
        for model in models
    ]
    seeds = [torch_seed(config.seed, "pretraining order", model) for model in models]
    checkpoints = Checkpoints(run, "pretrain", models)
    with named_if_diverged("pretrain", models):
        train(networks, TrainingSet(inputs, labels, members), config.pretrain, seeds, checkpoints)

    for model, network, row in zip(models, networks, membership, strict=True):
        run.directory.save_tensors(
            run.directory.pretrained(model),
            weights_of(network),
            run.keys["pretrain"],
            measured(network, inputs, labels, torch.from_numpy(row).to(device)),
        )
    checkpoints.remove()
