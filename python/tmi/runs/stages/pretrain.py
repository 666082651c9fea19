"""Stage 2: pretrain every model on its half of the pool."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tmi.data.membership import draw_membership
from tmi.runs.run import Run
from tmi.runs.stages import own_recipe
from tmi.runs.stages.checkpoints import Checkpoints
from tmi.runs.stages.groups import run_groups
from tmi.runs.stages.outcome import measured, named_if_diverged
from tmi.shadows.networks import token_targets, weights_of
from tmi.shadows.training.data import Masking, TrainingSet
from tmi.shadows.training.loop import train
from tmi.system.devices import on_one_thread, own_device
from tmi.system.executor import Workers
from tmi.system.seeding import torch_seed


def run_stage(run: Run, workers: Workers) -> None:
    """Write ``pretrained/`` for all models that have no current weights; nothing if the model is given."""
    if run.config.recipe is not None:
        own_recipe.pretrain(run, workers)
        return
    if run.config.given:
        return
    key = run.keys["pretrain"]
    samples = run.config.pretrain.epochs * (len(run.task.pool) // 2)
    run_groups(run, workers, "pretrain", pretrain_group, lambda model: {run.directory.pretrained(model): key}, samples)


@on_one_thread
def pretrain_group(run: Run, models: range) -> None:
    """Pretrain a group of models together and write their weights and accuracies."""
    config, pool = run.config, run.task.pool
    device = own_device(config.compute.device)
    membership = draw_membership(config.seed, config.models, len(pool))[models.start : models.stop]
    inputs = torch.from_numpy(run.encode(pool.raw)).to(device)
    targets = targets_of(run, inputs, torch.from_numpy(pool.labels).to(device))
    members = torch.from_numpy(np.stack([np.flatnonzero(row) for row in membership])).to(device)

    networks = [
        run.build(tuple(inputs.shape[1:]), torch_seed(config.seed, "initialisation", model)).to(device)
        for model in models
    ]
    seeds = [torch_seed(config.seed, "pretraining order", model) for model in models]
    checkpoints = Checkpoints(run, "pretrain", models)
    with named_if_diverged("pretrain", models):
        data = TrainingSet(inputs, targets, members, masking=masking_of(run))
        train(networks, data, config.pretrain, seeds, checkpoints)

    if data.masking is not None:
        inputs, targets = data.masking.every_so_many(inputs, targets)
    for model, network, row in zip(models, networks, membership, strict=True):
        run.directory.save_tensors(
            run.directory.pretrained(model),
            weights_of(network),
            run.keys["pretrain"],
            measured(network, inputs, targets, torch.from_numpy(row).to(device)),
        )
    checkpoints.remove()


def targets_of(run: Run, inputs: Tensor, labels: Tensor) -> Tensor:
    """What is learned: the labels, or the tokens of each point ``[points, length]``."""
    objective = run.config.pretrain.objective
    return labels if objective == "classification" else token_targets(inputs, objective)


def masking_of(run: Run) -> Masking | None:
    """How tokens are masked, for models that learn to fill them in."""
    mask = run.tokenizer and run.tokenizer.mask_id
    if run.config.pretrain.objective != "masked" or mask is None:
        return None
    return Masking(mask, run.config.pretrain.mask_fraction)
