"""Training as it is usually written, to compare with: one model at a time, a DataLoader with workers, float32.

The augmentation is that of the recipe, one image at a time in the loader's processes, as in most training scripts.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from tmi.config import TrainingConfig
from tmi.shadows.training.recipe import learning_rate


class AugmentedImages(Dataset[tuple[Tensor, Tensor]]):
    """Labelled images, flipped and cropped at random when they are read; or vectors, which stay what they are."""

    def __init__(self, images: Tensor, labels: Tensor, recipe: TrainingConfig) -> None:
        self._images, self._labels, self._recipe = images, labels, recipe

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = self._images[index]
        if image.dtype == torch.uint8:
            image = image.float() / 255
        if self._recipe.flip and torch.rand(()) < 0.5:
            image = image.flip(-1)
        if crop := self._recipe.crop:
            height, width = image.shape[-2:]
            padded = functional.pad(image[None], [crop] * 4, mode="reflect")[0]
            top, left = torch.randint(2 * crop + 1, (2,)).tolist()
            image = padded[:, top : top + height, left : left + width]
        return image, self._labels[index]


def train_plainly(
    networks: Sequence[nn.Module],
    images: Tensor,
    labels: Tensor,
    recipe: TrainingConfig,
    epochs: int,
    device: torch.device,
    loader_workers: int,
) -> None:
    """Train networks one after another.

    Args:
        networks: on the device.
        images: uint8 ``[points, channels, height, width]``, or float32 vectors ``[points, dimensions]``.
        labels: int64 ``[points]``.
        recipe: all of it but its precision and its epochs.
        epochs: how many to train, at the rates with which the recipe begins.
        device: where to train.
        loader_workers: processes that prepare batches.
    """
    loader = DataLoader(
        AugmentedImages(images, labels, recipe),
        recipe.batch_size,
        shuffle=True,
        num_workers=loader_workers,
        pin_memory=device.type == "cuda",
        persistent_workers=loader_workers > 0,
    )
    for network in networks:
        optimizer = plain_optimizer(network, recipe)
        network.train()
        for epoch in range(epochs):
            for batch, (inputs, targets) in enumerate(loader):
                progress = (epoch + batch / len(loader)) / recipe.epochs
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate(recipe, progress)
                optimizer.zero_grad()
                outputs = network(inputs.to(device, non_blocking=True))
                loss = functional.cross_entropy(
                    outputs, targets.to(device, non_blocking=True), label_smoothing=recipe.label_smoothing
                )
                torch.autograd.backward(loss)
                optimizer.step()


def plain_optimizer(network: nn.Module, recipe: TrainingConfig) -> torch.optim.Optimizer:
    """With PyTorch's defaults, as most people leave them."""
    parameters = network.parameters()
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(parameters, recipe.learning_rate, recipe.momentum, weight_decay=recipe.weight_decay)
    return torch.optim.AdamW(parameters, recipe.learning_rate, weight_decay=recipe.weight_decay)
