from __future__ import annotations

import copy
import math

import pytest
import torch
from opacus.accountants import RDPAccountant
from torch import nn

from tmi.config import FinetuneConfig, PrivacyConfig
from tmi.errors import TmiError
from tmi.shadows.training.data import TrainingSet
from tmi.shadows.training.private import guarantee_of, train_privately


def recipe(batch_size: int = 8, **private: object) -> FinetuneConfig:
    return FinetuneConfig.model_validate(
        {"optimizer": "sgd", "momentum": 0.0, "learning_rate": 0.1, "schedule": "constant", "epochs": 2}
        | {"batch_size": batch_size, "private": private}
    )


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(36, 5))


def data() -> TrainingSet:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(60, 3, 8, 8, generator=generator)
    return TrainingSet(inputs, torch.randint(5, (60,), generator=generator), torch.arange(40)[None])


def weights(module: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


def trained(settings: FinetuneConfig, seed: int = 3) -> torch.Tensor:
    module = network()
    train_privately(module, data(), settings, seed, lambda samples: None)
    return weights(module)


def test_the_budget_is_spent_and_not_more() -> None:
    guarantee = guarantee_of(PrivacyConfig(epsilon=2.0), size=500, batch_size=50, epochs=10)
    assert 1.9 < guarantee.epsilon <= 2.0
    assert guarantee.delta == pytest.approx(1 / 5000)
    assert (guarantee.sampling_rate, guarantee.steps) == (0.1, 100)
    other = RDPAccountant()
    other.history = [(guarantee.noise_multiplier, 0.1, 100)]
    # The Rényi accountant's bound is looser, but not by much.
    assert guarantee.epsilon < other.get_epsilon(guarantee.delta) < 1.3 * guarantee.epsilon


def test_less_budget_needs_more_noise() -> None:
    little, much = (guarantee_of(PrivacyConfig(epsilon=e), 500, 50, 10).noise_multiplier for e in (0.5, 2.0))
    assert little > much > 0


def test_an_infinite_budget_is_the_recipe_without_noise() -> None:
    guarantee = guarantee_of(PrivacyConfig.model_validate({"epsilon": math.inf}), 400, 40, 5)
    assert (guarantee.epsilon, guarantee.noise_multiplier) == (math.inf, 0.0)


def test_a_noise_multiplier_is_taken_as_it_is() -> None:
    guarantee = guarantee_of(PrivacyConfig(noise_multiplier=1.5, delta=1e-4), 400, 40, 5)
    assert guarantee.noise_multiplier == 1.5
    again = guarantee_of(PrivacyConfig(epsilon=guarantee.epsilon, delta=1e-4), 400, 40, 5)
    assert again.noise_multiplier == pytest.approx(1.5, rel=0.02)


def by_hand(settings: FinetuneConfig, seed: int) -> torch.Tensor:
    """Clipping without noise, one point at a time, with stock PyTorch."""
    module, everything = network(), data()
    assert settings.private is not None
    guarantee = guarantee_of(settings.private, everything.size, settings.batch_size, settings.epochs)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(guarantee.steps):
        drawn = torch.rand(everything.size, generator=generator) < guarantee.sampling_rate
        total = [torch.zeros_like(parameter) for parameter in module.parameters()]
        for point in everything.subsets[0][drawn]:
            loss = nn.functional.cross_entropy(module(everything.inputs[point][None]), everything.labels[point][None])
            gradients = torch.autograd.grad(loss, list(module.parameters()))
            norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
            factor = min(1.0, settings.private.clip / norm.item())
            total = [sum_ + factor * gradient for sum_, gradient in zip(total, gradients, strict=True)]
        with torch.no_grad():
            for parameter, gradient in zip(module.parameters(), total, strict=True):
                parameter -= settings.learning_rate * gradient / settings.batch_size
    return weights(module)


@pytest.mark.parametrize("ghost", [False, True])
@pytest.mark.parametrize("clip", [0.5, 100.0])
def test_every_point_is_clipped_by_itself(ghost: bool, clip: float) -> None:
    settings = recipe(epsilon=math.inf, clip=clip, ghost_clipping=ghost)
    torch.testing.assert_close(trained(settings), by_hand(settings, 3), rtol=1e-4, atol=1e-5)


def features(width: int = 6) -> TrainingSet:
    generator = torch.Generator().manual_seed(2)
    inputs = 3 * torch.randn(1, 60, width, generator=generator)
    labels = torch.randint(4, (60,), generator=generator)
    return TrainingSet(inputs, labels, torch.arange(50)[None], per_model=True)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "settings",
    [
        recipe(epsilon=math.inf, clip=0.5),
        recipe(epsilon=math.inf, clip=1e3).model_copy(update={"label_smoothing": 0.3, "weight_decay": 0.1}),
        recipe(noise_multiplier=1.3, clip=0.7),
        recipe(batch_size=1, noise_multiplier=0.8, ghost_clipping=True).model_copy(update={"optimizer": "adamw"}),
        recipe(noise_multiplier=1.0).model_copy(update={"precision": "bfloat16"}),
    ],
    ids=["clipped", "not-clipped", "noise", "empty-batches", "bfloat16"],
)
def test_a_head_is_trained_as_opacus_would(settings: FinetuneConfig, bias: bool) -> None:
    """A single linear layer has a closed form; inside another module it is Opacus that updates it."""
    torch.manual_seed(0)
    head = nn.Linear(6, 4, bias=bias)
    start, by_opacus = weights(head), nn.Sequential(copy.deepcopy(head))
    for module in (head, by_opacus):
        train_privately(module, features(), settings, 5, lambda samples: None)
    rounding = 1e-2 if settings.precision == "bfloat16" else 1e-5
    torch.testing.assert_close(weights(head), weights(by_opacus), rtol=rounding, atol=rounding / 10)
    assert (weights(head) - start).abs().max() > 0.01
    assert all(parameter.grad is None for parameter in head.parameters())


@pytest.mark.parametrize("ghost", [False, True])
def test_batches_may_be_empty(ghost: bool) -> None:
    settings = recipe(batch_size=1, noise_multiplier=1.0, ghost_clipping=ghost)
    assert torch.isfinite(trained(settings)).all()


@pytest.mark.parametrize("ghost", [False, True])
def test_the_noise_has_its_size_and_its_seed(ghost: bool) -> None:
    """With a clip so small that only noise is left, a weight's change is a sum of independent noises."""
    settings = recipe(noise_multiplier=1e4, clip=1e-4, ghost_clipping=ghost)
    change = trained(settings) - weights(network())
    steps = 2 * math.ceil(40 / 8)
    expected = settings.learning_rate * 1e4 * 1e-4 / settings.batch_size * math.sqrt(steps)
    assert change.std().item() == pytest.approx(expected, rel=0.2)
    assert torch.equal(trained(settings), trained(settings))
    assert not torch.equal(trained(settings), trained(settings, seed=4))


def test_frozen_parts_stay_and_no_hook_is_left() -> None:
    module = network()
    module[0].requires_grad_(False)
    before = copy.deepcopy(module)
    train_privately(module, data(), recipe(noise_multiplier=1.0), 3, lambda samples: None)
    assert torch.equal(module[0].weight, before[0].weight)
    assert not torch.equal(module[3].weight, before[3].weight)
    assert not any(layer._forward_hooks or layer._backward_hooks for layer in module.modules())


def test_progress_counts_the_expected_samples() -> None:
    counted: list[int] = []
    train_privately(network(), data(), recipe(noise_multiplier=1.0), 3, counted.append)
    assert sum(counted) == 2 * 40


@pytest.mark.parametrize(
    ("private", "sentence"),
    [
        (
            {"epsilon": 1e-4},
            r"finetune\.private\.epsilon is 0\.0001, for which Opacus finds no noise with delta 0\.0002",
        ),
        ({"epsilon": 1e-300}, r"finetune\.private\.epsilon is 1e-300, for which Opacus finds no noise"),
        ({"epsilon": 1001.0}, r"finetune\.private\.epsilon is 1001, expected at most 1,000, or inf for no noise"),
        (
            {"noise_multiplier": 0.05},
            r"noise_multiplier is 0\.05, which spends an epsilon of about \d.*, expected at most",
        ),
        ({"noise_multiplier": 1e-9}, r"noise_multiplier is 1e-09, which spends an epsilon of about .* at most 1,000"),
    ],
)
def test_budgets_that_no_accountant_can_tell(private: dict[str, float], sentence: str) -> None:
    with pytest.raises(TmiError, match=sentence):
        guarantee_of(PrivacyConfig(**private), size=500, batch_size=50, epochs=10)
