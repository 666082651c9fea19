"""The training loop: every model of a group through all its epochs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from tmi.config import TrainingConfig
from tmi.errors import TmiError
from tmi.shadows.training.data import Epoch, TrainingSet, epoch_seed, epochs
from tmi.shadows.training.learners import Learner, Solo, Stack
from tmi.shadows.training.recipe import learning_rate
from tmi.shadows.training.state import Watch, load_state

# Networks, and what updates them together.
Lane = tuple[slice, Learner]


class DivergenceError(TmiError):
    """A loss became infinite or NaN."""

    def __init__(self, network: int, epoch: int, rate: float) -> None:
        super().__init__(f"network {network} diverged in epoch {epoch} with learning rate {rate:g}")
        self.network, self.epoch, self.rate = network, epoch, rate


def train(
    networks: Sequence[nn.Module],
    data: TrainingSet,
    recipe: TrainingConfig,
    seeds: Sequence[int],
    watch: Watch | None = None,
) -> None:
    """Train networks of one architecture, in place.

    Each network has its own subset and its own order of batches, which depends on nothing but its seed, as all that it
    draws; which other networks are trained beside it changes its weights by rounding only. ``watch`` is told of the
    progress, and knows where an interrupted training was.

    Raises:
        DivergenceError: a loss is no longer finite.
    """
    watch = watch or Watch()
    lanes: list[Lane] = []
    if Stack.fits(networks[0]):
        lanes.append((slice(0, len(networks)), Stack(networks, recipe)))
    else:
        lanes += [(slice(index, index + 1), Solo(network, recipe)) for index, network in enumerate(networks)]
    # By turns where the steps of all networks overlap, on an accelerator; else one after another.
    device = data.inputs.device
    turns = [lanes] if device.type == "cuda" else [[lane] for lane in lanes]
    first = 0
    if (saved := watch.saved()) is not None:
        first, state = saved
        load_state([learner for _, learner in lanes], state)
        watch.samples_done(first * data.size * len(networks))

    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        for number, epoch in enumerate(epochs(data, recipe, seeds, first), start=first):
            for turn in turns:
                for models, learner in turn:
                    learner.draw_from(epoch_seed(seeds[models.start], number))
                _run_epoch(turn, epoch, number, recipe, watch)
            losses = torch.cat([learner.mean_losses() for _, learner in lanes])
            if not torch.isfinite(losses).all():
                raise DivergenceError(int((~torch.isfinite(losses)).nonzero()[0]), number + 1, recipe.learning_rate)
            watch.epoch_done(number + 1, [learner for _, learner in lanes])
    for _, learner in lanes:
        learner.write_back()


def _run_epoch(lanes: list[Lane], epoch: Epoch, number: int, recipe: TrainingConfig, watch: Watch) -> None:
    steps = epoch.steps
    for step, batches in enumerate(zip(*(epoch.batches(models) for models, _ in lanes), strict=True)):
        rate = learning_rate(recipe, (number * steps + step) / (recipe.epochs * steps))
        for (_, learner), (inputs, labels) in zip(lanes, batches, strict=True):
            learner.step(inputs, labels, rate)
            watch.samples_done(labels.shape[0] * labels.shape[1])
