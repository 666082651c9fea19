"""The bookkeeping of captured steps, on a processor: a graph that is replayed by computing its update again."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tmi.config import TrainingConfig
from tmi.shadows.training import learners
from tmi.shadows.training.learners import CapturedStep, update_of
from tmi.shadows.training.recipe import optimizer_of, set_learning_rate, trainable

ADAMW = TrainingConfig(learning_rate=0.01, weight_decay=0.1, epochs=1, batch_size=6)
SGD = ADAMW.model_copy(update={"optimizer": "sgd", "nesterov": True})


class Dropping(nn.Module):
    """With draws, and buffers that steps change."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 3))

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.layers(inputs)
        return logits


class Generator:
    """The device's generator: what has an offset there is a whole state here."""

    def __init__(self) -> None:
        self._states: list[Tensor] = []

    def __getitem__(self, _: int | None) -> Generator:
        return self

    def manual_seed(self, seed: int) -> None:
        torch.default_generator.manual_seed(seed)
        self._states = self._states or [torch.empty(0)]

    def set_offset(self, offset: int) -> None:
        if offset:
            torch.set_rng_state(self._states[offset])

    def get_offset(self) -> int:
        self._states.append(torch.get_rng_state())
        return len(self._states) - 1


class Device:
    """Stands for torch.cuda. A capture computes nothing: what its update does here is undone at its end."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.replays = 0
        self.step: CapturedStep | None = None
        self.error: RuntimeError | None = None
        stream = type("Stream", (), {"__init__": lambda *_: None, "wait_stream": lambda *_: None})
        for name, value in {
            "Stream": stream,
            "stream": lambda _: nullcontext(),
            "current_stream": lambda _: None,
            "default_generators": Generator(),
            "CUDAGraph": lambda: self,
            "graph": lambda *_, **__: self.capture(),
            "graph_pool_handle": lambda: (0, 7),
        }.items():
            monkeypatch.setattr(torch.cuda, name, value)
        monkeypatch.setattr(Tensor, "record_stream", lambda *_: None)
        self.told: list[tuple[int, int]] = []
        monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", lambda _, pool: self.told.append(pool), raising=False)
        monkeypatch.setattr(torch._C, "_cuda_releasePool", lambda _, pool: self.told.append(pool), raising=False)

    @contextmanager
    def capture(self) -> Iterator[None]:
        assert self.step is not None
        if self.error is not None:
            raise self.error
        network, optimizer = self.step._network, self.step._optimizer
        kept = copy.deepcopy((network.state_dict(), optimizer.state_dict()["state"]))
        drawn = torch.get_rng_state()
        yield
        with torch.no_grad():
            for name, tensor in network.state_dict().items():
                tensor.copy_(kept[0][name])
            for index, gathered in optimizer.state_dict()["state"].items():
                for name, value in gathered.items():
                    value.copy_(kept[1][index][name])
        torch.set_rng_state(drawn)

    def replay(self) -> None:
        assert self.step is not None
        self.replays += 1
        self.step._loss.copy_(self.step._update(self.step._inputs, self.step._labels))


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    return Device(monkeypatch)


def batches() -> list[tuple[Tensor, Tensor, float]]:
    """Batches with their rates, the first of which is zero; the last is short."""
    generator = torch.Generator().manual_seed(0)
    sizes, rates = [6] * 7 + [4], [0.0, 0.01, 0.02, 0.0, 0.03, 0.01, 0.01, 0.02]
    return [
        (torch.randn(size, 5, generator=generator), torch.randint(3, (size,), generator=generator), rate)
        for size, rate in zip(sizes, rates, strict=True)
    ]


def ordinarily(network: nn.Module, recipe: TrainingConfig, seed: int) -> list[Tensor]:
    optimizer = optimizer_of(trainable(network), recipe)
    update = update_of(network, optimizer, recipe)
    torch.manual_seed(seed)
    losses = []
    for inputs, labels, rate in batches():
        set_learning_rate(optimizer, rate)
        losses.append(update(inputs, labels))
    return losses


def steps_of(device: Device, networks: Sequence[nn.Module], recipe: TrainingConfig) -> list[CapturedStep]:
    steps = []
    for network in networks:
        optimizer = optimizer_of(trainable(network), recipe)
        steps.append(CapturedStep(update_of(network, optimizer, recipe), network, optimizer))
        steps[-1].draw_from(len(steps))
    return steps


def require_same(one: nn.Module, other: nn.Module) -> None:
    """But for rounding: the rate of a graph is a float32 on the device, else a double."""
    for name, tensor in one.state_dict().items():
        torch.testing.assert_close(tensor, other.state_dict()[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("recipe", [ADAMW, SGD], ids=["adamw", "sgd"])
def test_captured_steps_are_ordinary_ones(recipe: TrainingConfig, device: Device) -> None:
    """Also of two networks by turns, of which each draws from its own seed."""
    torch.manual_seed(0)
    captured = [Dropping(), Dropping()]
    ordinary = copy.deepcopy(captured)
    steps = steps_of(device, captured, recipe)
    losses: list[list[Tensor]] = [[], []]
    for inputs, labels, rate in batches():
        for index, device.step in enumerate(steps):
            losses[index].append(device.step(inputs, labels, rate))
    # The short batch is no batch of the graph; two replays of each network are its trial.
    assert device.replays == 2 * (7 + 2)
    for index, network in enumerate(ordinary):
        expected = ordinarily(network, recipe, index + 1)
        torch.testing.assert_close(torch.stack(losses[index]), torch.stack(expected))
        require_same(captured[index], network)


def refused(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    device.error = RuntimeError("operation not permitted when stream is capturing")


def wrong(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    replay = device.replay

    def forgetful() -> None:
        replay()
        assert device.step is not None
        device.step._loss.mul_(2)

    monkeypatch.setattr(device, "replay", forgetful)


@pytest.mark.parametrize("spoil", [refused, wrong])
def test_without_a_good_graph_steps_are_ordinary_ones(
    spoil: Callable[[Device, pytest.MonkeyPatch], None], device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    network, ordinary = (captured := Dropping()), copy.deepcopy(captured)
    spoil(device, monkeypatch)
    (device.step,) = steps_of(device, [network], ADAMW)
    for inputs, labels, rate in batches():
        device.step(inputs, labels, rate)
    assert device.replays == (2 if spoil is wrong else 0)
    assert device.told == ([] if spoil is wrong else 2 * [(0, 7)])
    ordinarily(ordinary, ADAMW, 1)
    require_same(network, ordinary)


@pytest.mark.parametrize("hidden", [False, True])
def test_memory_that_runs_out_in_a_capture_is_said(hidden: bool, device: Device) -> None:
    """Also where the end of the capture raises another error over it."""
    device.error = torch.OutOfMemoryError("CUDA out of memory")
    if hidden:
        device.error = RuntimeError("capture_end() failed")
        device.error.__context__ = torch.OutOfMemoryError("CUDA out of memory")
    (device.step,) = steps_of(device, [Dropping()], ADAMW)
    with pytest.raises(torch.OutOfMemoryError, match="CUDA out of memory"):
        device.step(*batches()[0])


def test_what_a_graph_holds_goes_with_its_learner(device: Device) -> None:
    """No cycle of references keeps its memory until a collection of garbage."""
    import gc
    import weakref

    gc.collect()
    gc.disable()
    try:
        (device.step,) = steps_of(device, [Dropping()], ADAMW)
        device.step(*batches()[0])
        step: Any = weakref.ref(device.step)
        device.step = None
        assert step() is None
    finally:
        gc.enable()


def test_a_warm_up_from_zero_does_not_hide_a_broken_update(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph whose replays change no weight passes only where weights would not change anyway."""
    monkeypatch.setattr(learners, "TOLERANCE", 1e-4)
    (device.step,) = steps_of(device, [Dropping()], ADAMW)

    def idle() -> None:
        assert device.step is not None
        device.replays += 1

    inputs, labels, _ = batches()[0]
    monkeypatch.setattr(device, "replay", idle)
    device.step(inputs, labels, 0.0)
    assert device.replays == 2
    assert device.step._graph is None
