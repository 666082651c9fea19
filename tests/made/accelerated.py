"""Networks, data and ordinary training to compare an accelerator's with; on a processor everything is in small."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tmi.config import EncoderConfig, ModelConfig, TrainingConfig
from tmi.shadows.networks import build_classifier, token_targets
from tmi.shadows.training.data import TrainingSet, epoch_seed, epochs
from tmi.shadows.training.recipe import autocast, learning_rate, mean_loss

CLASSES = 4
VOCABULARY = 60


def settings(kind: str, device: torch.device) -> TrainingConfig:
    """A recipe whose rate changes with every step, rises from zero, and whose last batch is short; 200 steps or 10."""
    large = device.type == "cuda"
    common = {"epochs": 20 if large else 2, "batch_size": 64 if large else 6, "schedule": "cosine", "warmup": 0.1}
    of_kind = {
        "mlp": {"learning_rate": 0.003, "weight_decay": 0.05},
        "resnet": {"optimizer": "sgd", "nesterov": True, "learning_rate": 0.02, "flip": True, "crop": 2},
        "gpt2": {"learning_rate": 0.001},
        "dropping": {"optimizer": "sgd", "learning_rate": 0.05},
    }
    return TrainingConfig.model_validate(common | of_kind[kind])


def made_up(kind: str, device: torch.device, models: int = 1) -> TrainingSet:
    """Points of which every model sees about nine and a half batches, or four and a half in small."""
    large = device.type == "cuda"
    generator = torch.Generator().manual_seed(0)
    size, points = (600, 1000) if large else (27, 40)
    labels = torch.randint(CLASSES, (points,), generator=generator)
    if kind == "mlp":
        inputs = torch.randn(points, 20, generator=generator) + labels[:, None]
    elif kind == "gpt2":
        inputs = torch.randint(3, VOCABULARY, (points, 24), generator=generator)
        inputs[torch.arange(points) % 3 == 0, 15:] = -1
        labels = token_targets(inputs, "causal")
    else:
        side = 32 if large else 8
        # Classes differ in the brightness of a quarter of the image, under noise.
        inputs = torch.randint(0, 128, (points, 3, side, side), generator=generator, dtype=torch.uint8)
        inputs[..., : side // 2, : side // 2] += (40 * labels)[:, None, None, None].to(torch.uint8)
    subsets = torch.stack([torch.randperm(points, generator=generator)[:size] for _ in range(models)])
    return TrainingSet(inputs.to(device), labels.to(device), subsets.to(device))


def network(kind: str, device: torch.device, seed: int = 0) -> nn.Module:
    """An untrained network on the device."""
    large, pixels = device.type == "cuda", EncoderConfig(kind="pixels")
    if kind == "dropping":
        torch.manual_seed(seed)
        return Dropping(32 if large else 8).to(device)
    if kind == "mlp":
        made = build_classifier(ModelConfig(hidden=[256, 128] if large else [16]), pixels, (20,), CLASSES, seed)
    elif kind == "gpt2":
        model = ModelConfig(kind="transformers", architecture="gpt2-mini")
        tokens = EncoderConfig(kind="tokens", length=24)
        made = build_classifier(model, tokens, (24,), CLASSES, seed, VOCABULARY, "causal")
    else:
        small = {"depths": [1, 1], "hidden_sizes": [8, 16], "embedding_size": 8}
        model = ModelConfig(
            kind="transformers", architecture="resnet-18", stem="small", settings={} if large else small
        )
        made = build_classifier(model, pixels, (3, 32, 32) if large else (3, 8, 8), CLASSES, seed)
    return made.to(device)


class Dropping(nn.Module):
    """Draws while it is trained, as transformers do."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(8 * side**2, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.drop(self.norm(self.convolution(inputs / 255)).relu().flatten(1)))


def train_ordinarily(module: nn.Module, data: TrainingSet, recipe: TrainingConfig, seed: int) -> list[float]:
    """One model with a stock optimiser on the default stream, waiting for every step; the mean loss of every epoch."""
    if recipe.optimizer == "sgd":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(
            module.parameters(), 1.0, recipe.momentum, weight_decay=recipe.weight_decay, nesterov=recipe.nesterov
        )
    else:
        optimizer = torch.optim.AdamW(module.parameters(), 1.0, weight_decay=recipe.weight_decay)
    module.train()
    means = []
    for number, epoch in enumerate(epochs(data, recipe, [seed])):
        torch.manual_seed(epoch_seed(seed, number))
        losses = []
        for step, (inputs, labels) in enumerate(epoch.batches()):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(recipe, (number * epoch.steps + step) / (recipe.epochs * epoch.steps))
            with autocast(inputs.device, recipe):
                logits = module(inputs[0])
            loss = mean_loss(logits, labels[0], recipe)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        means.append(sum(losses) / len(losses))
    return means


def distance(one: Sequence[nn.Module], other: Sequence[nn.Module], start: Sequence[nn.Module]) -> float:
    """How far the weights of networks are apart, in units of how far training took them from where they were."""

    def flat(modules: Sequence[nn.Module]) -> Tensor:
        return torch.cat([parameter.detach().flatten() for module in modules for parameter in module.parameters()])

    moved = (flat(one) - flat(start)).norm()
    assert moved > 0
    return float((flat(one) - flat(other)).norm() / moved)
