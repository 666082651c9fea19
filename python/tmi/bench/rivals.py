"""Training as it is usually written, to compare with: one model at a time in float32, a DataLoader with workers.

Images and vectors go through a plain PyTorch loop; they are augmented as the recipe says, one at a time in the loader's
processes, as in most training scripts. Texts, padded beforehand, go through the ``Trainer`` of the transformers library
with its own collation.
"""

from __future__ import annotations

import time
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from tmi.config import TrainingConfig
from tmi.data.tokens import PADDING
from tmi.errors import TmiError
from tmi.shadows.networks.language import NO_TARGET
from tmi.shadows.training.data import Masking
from tmi.shadows.training.recipe import learning_rate

MISSING = (
    "tmi bench train times texts next to the Trainer of the transformers library, which is missing here or needs "
    "another accelerate: `pip install transformers accelerate`"
)


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
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    recipe: TrainingConfig,
    epochs: int,
    device: torch.device,
    loader_workers: int,
) -> None:
    """Train a network on uint8 ``[points, channels, height, width]`` or float32 ``[points, dimensions]``, in place.

    All of the recipe is followed but its precision and its epochs, which go at the rates with which it begins.
    """
    loader = DataLoader(
        AugmentedImages(images, labels, recipe),
        recipe.batch_size,
        shuffle=True,
        num_workers=loader_workers,
        pin_memory=device.type == "cuda",
        persistent_workers=loader_workers > 0,
    )
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


class TokenizedTexts(Dataset[dict[str, Tensor]]):
    """Texts as tokens with attention masks and labels, some tokens masked at random when they are read."""

    def __init__(self, ids: Tensor, labels: Tensor, masking: Masking | None) -> None:
        self._real = ids != PADDING
        self._ids, self._labels, self._masking = ids.masked_fill(~self._real, 0), labels, masking

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        ids, real, labels = self._ids[index], self._real[index], self._labels[index]
        if self._masking is not None:
            hidden = (torch.rand(ids.shape) < self._masking.fraction) & real
            ids, labels = ids.masked_fill(hidden, self._masking.token), labels.masked_fill(~hidden, NO_TARGET)
        return {"input_ids": ids, "attention_mask": real.long(), "labels": labels}


class WithLoss(nn.Module):
    """A network as the ``Trainer`` expects it: it is called with labels and computes the loss itself."""

    def __init__(self, network: nn.Module, predicts_next: bool, label_smoothing: float) -> None:
        super().__init__()
        self.network = network
        self._predicts_next, self._label_smoothing = predicts_next, label_smoothing

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Mean loss, and logits ``[points, ..., classes]``, of labels int64 ``[points, ...]``.

        If the network predicts the next token, the label of a token is the target of the one before it.
        """
        logits = self.network(input_ids.masked_fill(attention_mask == 0, PADDING))
        if self._predicts_next:
            labels = functional.pad(labels[:, 1:], (0, 1), value=NO_TARGET)
        loss = functional.cross_entropy(
            logits.flatten(0, -2), labels.flatten(), ignore_index=NO_TARGET, label_smoothing=self._label_smoothing
        )
        return {"loss": loss, "logits": logits}


def train_with_trainer(
    network: nn.Module,
    ids: Tensor,
    labels: Tensor,
    recipe: TrainingConfig,
    epochs: int,
    device: torch.device,
    loader_workers: int,
    predicts_next: bool,
    masking: Masking | None,
) -> float:
    """Train one text network, in place, at the rates of the library's default schedule.

    Its ids are int64 ``[points, length]`` that end in ``PADDING``, on the processor; the labels int64 ``[points]``, or
    the ids themselves with ``NO_TARGET`` where padding is. Unless the device is the processor, the library takes the
    first accelerator that it finds.

    Returns:
        Seconds of the training alone: setting up the library's objects takes as long for few texts as for many.
    """
    try:
        from transformers import PrinterCallback, Trainer, TrainingArguments
        from transformers.utils import is_accelerate_available
    except ImportError:
        raise TmiError(MISSING) from None
    if not is_accelerate_available():
        raise TmiError(MISSING)

    with TemporaryDirectory() as directory:
        arguments: Any = TrainingArguments(
            output_dir=directory,
            num_train_epochs=epochs,
            per_device_train_batch_size=recipe.batch_size,
            learning_rate=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            max_grad_norm=0.0,  # the recipe clips nothing
            use_cpu=device.type == "cpu",
            dataloader_num_workers=loader_workers,
            dataloader_persistent_workers=loader_workers > 0,
            dataloader_pin_memory=device.type == "cuda",
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        # Several accelerators would train one model together, each with a batch of its own.
        arguments._n_gpu = min(1, arguments.n_gpu)
        own = plain_optimizer(network, recipe) if recipe.optimizer == "sgd" else None
        trainer = Trainer(
            WithLoss(network, predicts_next, recipe.label_smoothing),
            arguments,
            train_dataset=TokenizedTexts(ids, labels, masking),
            optimizers=(own, None),
        )
        trainer.remove_callback(PrinterCallback)
        started = time.perf_counter()
        trainer.train()
        return time.perf_counter() - started
