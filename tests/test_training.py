from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tmi.config import ModelConfig, TrainingConfig
from tmi.models import blank_head, build_classifier, load_weights, weights_of
from tmi.training.loop import TrainingSet, train
from tmi.training.measure import accuracies, logits_of, on_one_thread
from tmi.training.stack import Stack

ADAMW = TrainingConfig(learning_rate=0.01, weight_decay=0.1, epochs=4, batch_size=7)
SGD = TrainingConfig(
    optimizer="sgd", learning_rate=0.05, weight_decay=0.01, schedule="constant", epochs=4, batch_size=7
)
# Float32 sums in another order: what "trained together or alone" may differ by on weights of order one.
TOLERANCE = 2e-5


def networks(count: int, first_seed: int = 0) -> list[nn.Module]:
    return [
        build_classifier(ModelConfig(hidden=[12, 8]), (5,), 3, seed) for seed in range(first_seed, first_seed + count)
    ]


def training_set(models: int) -> TrainingSet:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(40, 5, generator=generator)
    labels = torch.randint(3, (40,), generator=generator)
    subsets = torch.stack([torch.randperm(40, generator=generator)[:20] for _ in range(models)])
    return TrainingSet(inputs, labels, subsets)


def train_plainly(network: nn.Module, inputs: Tensor, labels: Tensor, recipe: TrainingConfig, seed: int) -> None:
    """One model with stock PyTorch, to compare with."""
    generator = torch.Generator().manual_seed(seed)
    if recipe.optimizer == "sgd":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(
            network.parameters(), recipe.learning_rate, recipe.momentum, weight_decay=recipe.weight_decay
        )
    else:
        optimizer = torch.optim.AdamW(network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    steps = recipe.epochs * -(-len(inputs) // recipe.batch_size)
    rate = {
        "constant": torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0),
        "cosine": torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5 * (1 + np.cos(np.pi * step / steps))),
    }[recipe.schedule]
    for _ in range(recipe.epochs):
        for batch in torch.randperm(len(inputs), generator=generator).split(recipe.batch_size):
            optimizer.zero_grad()
            functional.cross_entropy(network(inputs[batch]), labels[batch]).backward()
            optimizer.step()
            rate.step()


def largest_difference(left: Sequence[nn.Module], right: Sequence[nn.Module]) -> float:
    return max(
        (a - b).abs().max().item()
        for one, other in zip(left, right, strict=True)
        for a, b in zip(one.parameters(), other.parameters(), strict=True)
    )


@pytest.mark.parametrize("recipe", [ADAMW, SGD], ids=["adamw", "sgd"])
def test_a_stack_trains_every_model_as_stock_pytorch_would(recipe: TrainingConfig) -> None:
    stacked, alone, data = networks(3), networks(3), training_set(3)
    before = copy.deepcopy(stacked)
    train(stacked, data, recipe, seeds=[10, 11, 12])
    for network, subset, seed in zip(alone, data.subsets, [10, 11, 12], strict=True):
        train_plainly(network, data.inputs[subset], data.labels[subset], recipe, seed)
    assert largest_difference(stacked, alone) < TOLERANCE
    assert largest_difference(stacked, before) > 100 * TOLERANCE


def test_companions_do_not_change_a_model() -> None:
    data = training_set(4)
    together, alone = networks(4), networks(4)
    train(together, data, ADAMW, seeds=[1, 2, 3, 4])
    train(alone[2:3], TrainingSet(data.inputs, data.labels, data.subsets[2:3]), ADAMW, seeds=[3])
    assert largest_difference(together[2:3], alone[2:3]) < TOLERANCE


def test_the_same_call_gives_the_same_bits() -> None:
    first, second, data = networks(3), networks(3), training_set(3)
    train(first, data, ADAMW, seeds=[1, 2, 3])
    train(second, data, ADAMW, seeds=[1, 2, 3])
    assert largest_difference(first, second) == 0


def test_own_inputs_of_every_model() -> None:
    data = training_set(2)
    features = torch.stack([data.inputs, 2 * data.inputs])
    heads, alone = [blank_head(5, 3), blank_head(5, 3)], [blank_head(5, 3), blank_head(5, 3)]
    train(heads, TrainingSet(features, data.labels, data.subsets, per_model=True), ADAMW, seeds=[1, 2])
    for head, own, subset, seed in zip(alone, features, data.subsets, [1, 2], strict=True):
        train_plainly(head, own[subset], data.labels[subset], ADAMW, seed)
    assert largest_difference(heads, alone) < TOLERANCE


def test_stack_computes_what_its_networks_do() -> None:
    members = networks(3)
    inputs = torch.randn(3, 6, 5, generator=torch.Generator().manual_seed(1))
    expected = torch.stack([network(own) for network, own in zip(members, inputs, strict=True)])
    torch.testing.assert_close(Stack(members)(inputs), expected)


def test_every_layer_has_an_initialisation_of_its_own() -> None:
    global_state = torch.random.get_rng_state()
    one, same, other = (build_classifier(ModelConfig(hidden=[12, 8]), (5,), 3, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), global_state)
    for (name, a), b, c in zip(one.named_parameters(), same.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert name.endswith("bias") or not torch.equal(a, c)


def test_weights_survive_the_round_trip() -> None:
    one, other = networks(2)
    load_weights(other, weights_of(one))
    assert largest_difference([one], [other]) == 0


def test_accuracies_are_of_the_two_sides() -> None:
    network = nn.Linear(2, 2, bias=False)
    network.weight.data = torch.eye(2)
    inputs = torch.tensor([[1.0, 0], [0, 1], [1, 0], [1, 0]])
    labels = torch.tensor([0, 1, 1, 0])
    seen = torch.tensor([True, True, False, False])
    assert accuracies(network, inputs, labels, seen) == (1.0, 0.5)
    torch.testing.assert_close(logits_of(network, inputs, batch_size=3), inputs)


def test_on_one_thread_restores_the_threads() -> None:
    torch.set_num_threads(2)
    try:
        assert on_one_thread(torch.get_num_threads)() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
