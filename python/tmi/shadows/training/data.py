"""The data of a group of models: it stays on the device, where batches are cut and augmented."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tmi.config import TrainingConfig
from tmi.data.tokens import PADDING
from tmi.shadows.networks.language import NO_TARGET

# Spreads the seeds of a model's epochs over all seeds: an odd number near 2**63 divided by the golden ratio.
EPOCH_STRIDE = 0x4F1BBCDCBFA53E0B


@dataclass(frozen=True)
class TrainingSet:
    """What a group of models is trained on.

    Attributes:
        inputs: ``[points, ...]`` shared by all models, or ``[models, points, ...]`` if ``per_model``.
        labels: int64 ``[points]``, or ``[points, length]`` where every token has a target.
        subsets: int64 ``[models, size]``, the points that each model may see.
        per_model: whether every model has inputs of its own (features of its own backbone).
        masking: how tokens are masked, other ones in every epoch.
    """

    inputs: Tensor
    labels: Tensor
    subsets: Tensor
    per_model: bool = False
    masking: Masking | None = None

    @property
    def size(self) -> int:
        """Points that each model sees in an epoch."""
        return self.subsets.shape[1]

    def of(self, models: slice) -> TrainingSet:
        """The same for some of the models."""
        inputs = self.inputs[models] if self.per_model else self.inputs
        return replace(self, inputs=inputs, subsets=self.subsets[models])


@dataclass(frozen=True)
class Masking:
    """Tokens that are hidden from a model, which learns to fill them in (Devlin et al. 2019).

    All of them are replaced by the mask token; none is left as it is or replaced by another.

    Attributes:
        token: id of the mask token.
        fraction: share of the tokens that are masked.
    """

    token: int
    fraction: float

    def at(self, hidden: Tensor, ids: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Mask ids where ``hidden`` is true; what is not hidden is no target."""
        hidden = hidden & (ids != PADDING)
        return ids.masked_fill(hidden, self.token), targets.masked_fill(~hidden, NO_TARGET)

    def every_so_many(self, ids: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Mask the share of the tokens at fixed places, to measure with."""
        places = torch.arange(ids.shape[-1], device=ids.device) % round(1 / self.fraction) == 0
        return self.at(places.expand_as(ids), ids, targets)


def epochs(data: TrainingSet, recipe: TrainingConfig, seeds: Sequence[int], first: int = 0) -> Iterator[Epoch]:
    """Every epoch from the ``first`` on; each depends on its number and the models' seeds only."""
    # On the CPU whatever the device, so that the order of the data does not depend on it.
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    for number in range(recipe.epochs):
        order = torch.stack([torch.randperm(data.size, generator=generator) for generator in generators])
        if number >= first:
            yield Epoch(data, recipe, order, [epoch_seed(seed, number) for seed in seeds])


def epoch_seed(seed: int, epoch: int) -> int:
    """A seed of its own for what a model draws in one epoch besides its order."""
    return (seed + (epoch + 1) * EPOCH_STRIDE) % 2**63


class Epoch:
    """One pass of every model over its points, in the order int64 ``[models, size]``.

    What it draws besides has that order too: flips and crops, or masked tokens, ``[models, size, ...]``.
    """

    def __init__(self, data: TrainingSet, recipe: TrainingConfig, order: Tensor, seeds: Sequence[int]) -> None:
        self._data, self._batch_size = data, recipe.batch_size
        self._points = data.subsets.gather(1, order.to(data.subsets.device))
        self._flips = self._shifts = self._hidden = None
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        device = data.inputs.device
        if recipe.flip:
            flips = [torch.rand(data.size, generator=generator) < 0.5 for generator in generators]
            self._flips = torch.stack(flips).to(device)
        if recipe.crop:
            span = 2 * recipe.crop + 1
            shifts = [torch.randint(span, (data.size, 2), generator=generator) for generator in generators]
            self._shifts = torch.stack(shifts).to(device) - recipe.crop
        if data.masking is not None:
            shape, share = (data.size, data.inputs.shape[1]), data.masking.fraction
            hidden = [torch.rand(shape, generator=generator) < share for generator in generators]
            self._hidden = torch.stack(hidden).to(device)

    @property
    def steps(self) -> int:
        """Batches of each model; the last may be smaller."""
        return -(-self._points.shape[1] // self._batch_size)

    def batches(self, models: slice = slice(None)) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and labels ``[models, batch, ...]``."""
        data, points = self._data.of(models), self._points[models]
        for start in range(0, points.shape[1], self._batch_size):
            span = slice(start, start + self._batch_size)
            yield self._batch(data, points[:, span], models, span)

    def _batch(self, data: TrainingSet, chosen: Tensor, models: slice, span: slice) -> tuple[Tensor, Tensor]:
        """Inputs and labels at ``chosen`` int64 ``[models, batch]``."""
        labels = data.labels[chosen]
        flips, shifts, hidden = (
            None if drawn is None else drawn[models, span] for drawn in (self._flips, self._shifts, self._hidden)
        )
        if data.per_model:
            inputs = data.inputs[torch.arange(len(chosen), device=chosen.device)[:, None], chosen]
        elif flips is None and shifts is None:
            inputs = data.inputs[chosen]
        else:
            inputs = cut_images(data.inputs, chosen, flips, shifts)
        if data.masking is not None and hidden is not None:
            inputs, labels = data.masking.at(hidden, inputs, labels)
        if inputs.dtype != torch.int64 or inputs.device.type != "cpu":
            return inputs, labels
        # Padding costs as much as text on the processor; on an accelerator batches of one shape cost less.
        longest = int((inputs != PADDING).sum(dim=-1).max())
        return inputs[..., :longest], labels[..., :longest] if labels.ndim == inputs.ndim else labels


def cut_images(images: Tensor, chosen: Tensor, flips: Tensor | None, shifts: Tensor | None) -> Tensor:
    """Images ``[points, (channels,) height, width]`` at int64 ``[...]``, shifted and flipped.

    ``flips`` bool ``[...]``: which are mirrored left to right; ``shifts`` int64 ``[..., 2]``: rows and columns by which
    the window lies below and right of the image, whose borders are mirrored.
    """
    if shifts is None:
        cut = images[chosen]
        return cut if flips is None else torch.where(_like(flips, cut), cut.flip(-1), cut)
    height, width = images.shape[-2:]
    rows = _reflected(torch.arange(height, device=images.device) + shifts[..., :1], height)
    columns = _reflected(torch.arange(width, device=images.device) + shifts[..., 1:], width)
    if flips is not None:
        columns = torch.where(flips[..., None], columns.flip(-1), columns)
    # Whole rows first, which are copied at once: a quarter of the time of looking every pixel up.
    if images.ndim == 3:
        cut = images[chosen[..., None], rows]
    else:
        channels = torch.arange(images.shape[1], device=images.device)[:, None]
        cut = images[chosen[..., None, None], channels, rows[..., None, :]]
    return cut.gather(-1, _like(columns, cut, 1).expand(cut.shape))


def _like(values: Tensor, images: Tensor, last: int = 0) -> Tensor:
    """Values of each image, of which the ``last`` axes are those of the image, with as many axes as the images."""
    lead = values.ndim - last
    return values.view(*values.shape[:lead], *[1] * (images.ndim - values.ndim), *values.shape[lead:])


def _reflected(positions: Tensor, size: int) -> Tensor:
    """Positions beyond an edge reflected at it; the edge itself is not repeated."""
    return size - 1 - (size - 1 - positions.abs()).abs()
