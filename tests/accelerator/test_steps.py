"""Steps on an accelerator, captured and on streams of their own, beside ordinary ones."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from made.accelerated import distance, made_up, network, settings, train_ordinarily
from tmi.shadows.training.learners import Learner, Solo, Stack
from tmi.shadows.training.loop import train
from tmi.shadows.training.state import Watch, state_of

# Of the way that training went: float32 sums in another order, magnified by 200 steps.
TOLERANCE = 0.02


class Seen(Watch):
    """The mean losses of every epoch, and whether the steps are captured; stops or goes on inside of a training."""

    def __init__(self, stop: int = 0, start: tuple[int, dict[str, Tensor]] | None = None) -> None:
        self.stop, self.start = stop, start
        self.captured: list[bool] = []
        self.state: dict[str, Tensor] = {}

    def saved(self) -> tuple[int, dict[str, Tensor]] | None:
        return self.start

    def epoch_done(self, epochs: int, learners: Sequence[Learner]) -> None:
        self.captured = [
            learner._captured is not None and learner._captured._graph is not None
            for learner in learners
            if isinstance(learner, Solo)
        ]
        if epochs == self.stop:
            self.state = {name: tensor.clone() for name, tensor in state_of(learners).items()}
            raise StoppedError


class StoppedError(Exception):
    pass


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Perceptrons are not stacked either: every network is captured by itself."""
    monkeypatch.setattr(Stack, "fits", staticmethod(lambda _: False))


@pytest.mark.parametrize("kind", ["mlp", "resnet", "gpt2", "dropping"])
def test_captured_steps_train_as_ordinary_ones(kind: str, device: torch.device, alone: None) -> None:
    """With flips and crops, a rate that changes with every step, a short last batch, and draws of its own."""
    data, recipe, seen = made_up(kind, device), settings(kind, device), Seen()
    start = network(kind, device)
    trained, ordinary = copy.deepcopy(start), copy.deepcopy(start)
    losses: list[float] = []
    mean_losses = Solo.mean_losses

    def noted(solo: Solo) -> Tensor:
        losses.append(float(loss := mean_losses(solo)))
        return loss

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Solo, "mean_losses", noted)
        train([trained], data, recipe, [5], seen)
    assert seen.captured == [device.type == "cuda"]
    expected = train_ordinarily(ordinary, data, recipe, 5)
    assert losses == pytest.approx(expected, rel=TOLERANCE)
    assert expected[-1] < expected[0]
    assert distance([trained], [ordinary], [start]) < TOLERANCE
    for name, buffer in trained.named_buffers():
        torch.testing.assert_close(buffer, ordinary.get_buffer(name), rtol=TOLERANCE, atol=TOLERANCE)


def test_stacked_networks_train_as_ordinary_ones(device: torch.device) -> None:
    data, recipe = made_up("mlp", device, models=3), settings("mlp", device)
    start = [network("mlp", device, seed) for seed in range(3)]
    trained = copy.deepcopy(start)
    train(trained, data, recipe, [5, 6, 7])
    for index, seed in enumerate((5, 6, 7)):
        ordinary = copy.deepcopy(start[index])
        train_ordinarily(ordinary, data.of(slice(index, index + 1)), recipe, seed)
        assert distance([trained[index]], [ordinary], [start[index]]) < TOLERANCE


def test_every_step_has_its_own_learning_rate(device: torch.device) -> None:
    """The processor runs ahead of the device: a rate that is set for a later step must not reach an earlier one."""
    data, recipe = made_up("resnet", device), settings("resnet", device).model_copy(update={"momentum": 0.0})
    recipe = recipe.model_copy(update={"nesterov": False})
    start = network("resnet", device)
    inputs, labels = data.inputs[None, : recipe.batch_size], data.labels[None, : recipe.batch_size]

    def after(rates: Sequence[float]) -> nn.Module:
        learner = Solo(module := copy.deepcopy(start), recipe)
        learner.step(inputs, labels, 0.0)
        learner.write_back()
        for rate in rates:
            learner.step(inputs, labels, rate)
        learner.write_back()
        return module

    rates = [0.02, 0.0, 0.0, 0.01, 0.0] * (10 if device.type == "cuda" else 1)
    assert distance([after(rates)], [after([rate for rate in rates if rate])], [start]) < TOLERANCE / 10


@pytest.mark.parametrize("kind", ["resnet", "dropping"])
def test_networks_beside_it_do_not_change_a_network(kind: str, device: torch.device) -> None:
    data, recipe, seen = made_up(kind, device, models=4), settings(kind, device), Seen()
    start = [network(kind, device, seed) for seed in range(4)]
    together, alone = copy.deepcopy(start), copy.deepcopy(start[2:3])
    train(together, data, recipe, [1, 2, 3, 4], seen)
    assert seen.captured == 4 * [device.type == "cuda"]
    train(alone, data.of(slice(2, 3)), recipe, [3])
    assert distance(together[2:3], alone, start[2:3]) < TOLERANCE


@pytest.mark.parametrize("kind", ["mlp", "resnet", "gpt2", "dropping"])
def test_an_interrupted_training_goes_on(kind: str, device: torch.device) -> None:
    data, recipe = made_up(kind, device, models=2), settings(kind, device)
    start = [network(kind, device, seed) for seed in range(2)]
    undisturbed, resumed = copy.deepcopy(start), copy.deepcopy(start)
    train(undisturbed, data, recipe, [1, 2])
    watch = Seen(stop=recipe.epochs // 2)
    with pytest.raises(StoppedError):
        train(copy.deepcopy(start), data, recipe, [1, 2], watch)
    train(resumed, data, recipe, [1, 2], Seen(start=(watch.stop, watch.state)))
    apart = distance(undisturbed, resumed, start)
    assert apart == 0 if device.type == "cpu" else apart < TOLERANCE


def test_a_training_leaves_the_generators_alone(device: torch.device) -> None:
    module = network("dropping", device)
    states = [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if device.type == "cuda" else [])]
    train([module], made_up("dropping", device), settings("dropping", device), [1])
    after = [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if device.type == "cuda" else [])]
    assert all(torch.equal(one, other) for one, other in zip(states, after, strict=True))


class Waiting(nn.Module):
    """Looks at its own numbers on the processor, which no graph can do."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(20, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.head(inputs)
        return logits if logits.abs().max().item() < 1e6 else logits * 0


def allocated(device: torch.device) -> int:
    """Bytes in use, without what libraries keep for every stream."""
    torch.cuda.synchronize(device)
    torch._C._cuda_clearCublasWorkspaces()
    return torch.cuda.memory_allocated(device)


def test_what_cannot_be_captured_is_trained_all_the_same(cuda: torch.device, alone: None) -> None:
    data, recipe, seen = made_up("mlp", cuda), settings("mlp", cuda), Seen()
    start = Waiting().to(cuda)
    trained, ordinary = copy.deepcopy(start), copy.deepcopy(start)
    train([trained], data, recipe, [1], seen)
    assert seen.captured == [False]
    train_ordinarily(ordinary, data, recipe, 1)
    assert distance([trained], [ordinary], [start]) < TOLERANCE
    before = allocated(cuda)
    train([copy.deepcopy(start)], data, recipe, [1], seen)
    assert allocated(cuda) <= before, "batches stay in memory"
    # And what comes after it is captured as ever.
    train([network("mlp", cuda)], data, recipe, [1], seen)
    assert seen.captured == [True]


def test_another_device_than_the_current_one(cuda: torch.device) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two CUDA devices")
    other = torch.device("cuda", (cuda.index + 1) % torch.cuda.device_count())
    trained, seen = {}, Seen()
    for where in (cuda, other):
        trained[where] = network("resnet", where)
        train([trained[where]], made_up("resnet", where), settings("resnet", where), [1], seen)
        assert seen.captured == [True]
        assert torch.cuda.current_device() == cuda.index
    start = network("resnet", cuda)
    assert distance([trained[cuda]], [trained[other].to(cuda)], [start]) < TOLERANCE


def test_a_graph_does_not_outlive_its_training(cuda: torch.device) -> None:
    data, recipe = made_up("resnet", cuda), settings("resnet", cuda).model_copy(update={"epochs": 1})

    def held() -> int:
        module = network("resnet", cuda)
        train([module], data, recipe, [1])
        return allocated(cuda)

    held()
    before = held()
    assert max(held() for _ in range(3)) <= before
