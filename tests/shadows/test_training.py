from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tmi.config import EncoderConfig, ModelConfig, TrainingConfig
from tmi.shadows.networks import blank_head, build_classifier
from tmi.shadows.training.data import TrainingSet
from tmi.shadows.training.learners import Learner, Stack
from tmi.shadows.training.loop import DivergenceError, train
from tmi.shadows.training.measure import logits_of, measured
from tmi.shadows.training.recipe import learning_rate
from tmi.shadows.training.state import Watch, state_of
from tmi.system.devices import on_one_thread

ADAMW = TrainingConfig(learning_rate=0.01, weight_decay=0.1, epochs=4, batch_size=7)
SGD = TrainingConfig(
    optimizer="sgd", learning_rate=0.05, weight_decay=0.01, schedule="constant", epochs=4, batch_size=7
)
STEPS = ADAMW.model_copy(
    update={"optimizer": "sgd", "nesterov": True, "schedule": "step", "step_epochs": 3, "label_smoothing": 0.2}
)
# Float32 sums in another order: what "trained together or alone" may differ by on weights of order one.
TOLERANCE = 2e-5


def networks(count: int, first_seed: int = 0) -> list[nn.Module]:
    return [
        build_classifier(ModelConfig(hidden=[12, 8]), EncoderConfig(kind="pixels"), (5,), 3, seed)
        for seed in range(first_seed, first_seed + count)
    ]


def small_cnns(count: int) -> list[nn.Module]:
    model = ModelConfig(kind="cnn", channels=[4, 6], features=8)
    return [build_classifier(model, EncoderConfig(kind="pixels"), (3, 8, 8), 3, seed) for seed in range(count)]


def images(models: int) -> TrainingSet:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randint(256, (30, 3, 8, 8), generator=generator, dtype=torch.uint8)
    labels = torch.randint(3, (30,), generator=generator)
    return TrainingSet(inputs, labels, torch.stack([torch.arange(start, start + 15) for start in range(models)]))


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
            network.parameters(),
            recipe.learning_rate,
            recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=recipe.nesterov,
        )
    else:
        optimizer = torch.optim.AdamW(network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    steps = recipe.epochs * -(-len(inputs) // recipe.batch_size)
    rate = {
        "constant": torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0),
        "step": torch.optim.lr_scheduler.StepLR(optimizer, recipe.step_epochs * (steps // recipe.epochs), recipe.gamma),
        "cosine": torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5 * (1 + np.cos(np.pi * step / steps))),
    }[recipe.schedule]
    for _ in range(recipe.epochs):
        for batch in torch.randperm(len(inputs), generator=generator).split(recipe.batch_size):
            optimizer.zero_grad()
            logits = network(inputs[batch])
            functional.cross_entropy(logits, labels[batch], label_smoothing=recipe.label_smoothing).backward()
            optimizer.step()
            rate.step()


def largest_difference(left: Sequence[nn.Module], right: Sequence[nn.Module]) -> float:
    return max(
        (a - b).abs().max().item()
        for one, other in zip(left, right, strict=True)
        for a, b in zip(one.parameters(), other.parameters(), strict=True)
    )


@pytest.mark.parametrize("recipe", [ADAMW, SGD, STEPS], ids=["adamw", "sgd", "steps"])
@pytest.mark.parametrize("kind", ["stack", "solo"])
def test_every_model_is_trained_as_stock_pytorch_would(recipe: TrainingConfig, kind: str) -> None:
    trained, alone, data = (
        (networks(3), networks(3), training_set(3)) if kind == "stack" else (small_cnns(3), small_cnns(3), images(3))
    )
    assert Stack.fits(trained[0]) == (kind == "stack")
    before = copy.deepcopy(trained)
    train(trained, data, recipe, seeds=[10, 11, 12])
    for network, subset, seed in zip(alone, data.subsets, [10, 11, 12], strict=True):
        train_plainly(network, data.inputs[subset], data.labels[subset], recipe, seed)
    assert largest_difference(trained, alone) < TOLERANCE
    assert largest_difference(trained, before) > 100 * TOLERANCE


def test_only_what_requires_gradients_is_trained() -> None:
    for network, data in ((networks(1)[0], training_set(1)), (small_cnns(1)[0], images(1))):
        network.backbone.requires_grad_(False)
        before = copy.deepcopy(network)
        train([network], data, ADAMW, seeds=[1])
        assert largest_difference([network.backbone], [before.backbone]) == 0
        assert largest_difference([network.head], [before.head]) > 0.001


class StoppedError(Exception):
    pass


class Saving(Watch):
    """Keeps the state after ``keep`` epochs and breaks off an epoch later, or goes on from a ``start``."""

    def __init__(self, keep: int = 0, start: tuple[int, dict[str, Tensor]] | None = None) -> None:
        self.keep, self.start, self.samples = keep, start, 0
        self.state: dict[str, Tensor] = {}

    def saved(self) -> tuple[int, dict[str, Tensor]] | None:
        return self.start

    def epoch_done(self, epochs: int, learners: Sequence[Learner]) -> None:
        if epochs == self.keep:
            self.state = {name: tensor.clone() for name, tensor in state_of(learners).items()}
        elif self.keep and epochs == self.keep + 1:
            raise StoppedError

    def samples_done(self, samples: int) -> None:
        self.samples += samples


class Dropping(nn.Module):
    """Draws while it is trained, as transformers do."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(4 * 36, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.drop(self.norm(self.convolution(inputs / 255)).flatten(1)))


@pytest.mark.parametrize("recipe", [ADAMW, STEPS], ids=["adamw", "steps"])
@pytest.mark.parametrize("kind", ["stack", "solo", "random"])
def test_an_interrupted_training_goes_on_to_the_same_bits(recipe: TrainingConfig, kind: str) -> None:
    def fresh() -> list[nn.Module]:
        if kind == "random":
            torch.manual_seed(3)
            return [Dropping(), Dropping()]
        return networks(2) if kind == "stack" else small_cnns(2)

    data = training_set(2) if kind == "stack" else images(2)
    recipe = recipe if kind == "stack" else recipe.model_copy(update={"flip": True, "crop": 2})
    undisturbed, broken, resumed = fresh(), fresh(), fresh()
    train(undisturbed, data, recipe, seeds=[1, 2])
    watch = Saving(keep=2)
    with pytest.raises(StoppedError):
        train(broken, data, recipe, [1, 2], watch)
    assert watch.samples == 3 * 2 * data.size
    going_on = Saving(start=(2, watch.state))
    train(resumed, data, recipe, [1, 2], going_on)
    assert going_on.samples == recipe.epochs * 2 * data.size
    for one, other in zip(undisturbed, resumed, strict=True):
        for (name, a), b in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
            assert torch.equal(a, b), name
    assert largest_difference(undisturbed, broken) > 0


def test_training_leaves_the_global_generator_alone() -> None:
    network = Dropping()
    before = torch.random.get_rng_state()
    train([network], images(1), ADAMW, [1])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_draw_of_its_own_for_every_model_and_epoch() -> None:
    """Dropout depends on the model's seed, not on who is trained beside it."""
    together, alone = [Dropping() for _ in range(2)], [Dropping()]
    together[1].load_state_dict(alone[0].state_dict())
    data = images(2)
    train(together, data, ADAMW, [1, 2])
    train(alone, data.of(slice(1, 2)), ADAMW, [2])
    assert largest_difference(together[1:], alone) == 0


def test_divergence_names_the_network() -> None:
    data = training_set(3)
    data.inputs[0] = float("inf")
    subsets = torch.stack([torch.arange(1, 21), torch.arange(0, 20), torch.arange(2, 22)])
    with pytest.raises(DivergenceError, match="network 1 diverged in epoch 1"):
        train(networks(3), TrainingSet(data.inputs, data.labels, subsets), ADAMW, [1, 2, 3])


def test_mixed_precision_trains_float32_weights() -> None:
    exact, mixed = small_cnns(1), small_cnns(1)
    train(exact, images(1), ADAMW, [1])
    train(mixed, images(1), ADAMW.model_copy(update={"precision": "bfloat16"}), [1])
    assert all(parameter.dtype == torch.float32 for parameter in mixed[0].parameters())
    assert 0 < largest_difference(exact, mixed) < 0.2


@pytest.mark.parametrize(
    ("recipe", "progress", "expected"),
    [
        ({"schedule": "constant"}, 0.7, 1.0),
        ({"schedule": "cosine"}, 0.5, 0.5),
        ({"schedule": "cosine", "warmup": 0.2}, 0.1, 0.5),
        ({"schedule": "cosine", "warmup": 0.2}, 0.2, 1.0),
        ({"schedule": "cosine", "warmup": 0.2}, 0.6, 0.5),
        ({"schedule": "step", "step_epochs": 10, "gamma": 0.5}, 0.299999, 0.25),
        ({"schedule": "step", "step_epochs": 10, "gamma": 0.5}, 0.3, 0.125),
    ],
)
def test_schedules(recipe: dict[str, object], progress: float, expected: float) -> None:
    config = TrainingConfig.model_validate({"learning_rate": 1.0, "epochs": 100, "batch_size": 1, **recipe})
    assert learning_rate(config, progress) == pytest.approx(expected)


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
    torch.testing.assert_close(Stack(members, ADAMW)(inputs), expected)


def test_accuracies_are_of_the_two_sides() -> None:
    network = nn.Linear(2, 2, bias=False)
    network.weight.data = torch.eye(2)
    inputs = torch.tensor([[1.0, 0], [0, 1], [1, 0], [1, 0]])
    labels = torch.tensor([0, 1, 1, 0])
    seen = torch.tensor([True, True, False, False])
    facts = measured(network, inputs, labels, seen)
    assert (facts["train_accuracy"], facts["test_accuracy"]) == (1.0, 0.5)
    several_batches = inputs.repeat(300, 1)
    torch.testing.assert_close(logits_of(network, several_batches), several_batches)


def test_on_one_thread_restores_the_threads() -> None:
    torch.set_num_threads(2)
    try:
        assert on_one_thread(torch.get_num_threads)() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
