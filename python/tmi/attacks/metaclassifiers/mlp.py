"""The metaclassifier of the TMI paper: a small network per challenge point, many of them trained as one.

The recipe is that of the authors' code (Abascal et al. 2024, github.com/johnmath/tmi-pets24): one hidden layer of 64
rectified linear units with dropout 0.5, two outputs, cross entropy; Adam with learning rate 0.005, times 0.9 every 7
epochs, and L2 penalty 5e-4; 20 epochs of batches of 64.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from tmi.system.devices import on_one_thread

HIDDEN = 64
DROPOUT = 0.5
LEARNING_RATE = 0.005
WEIGHT_DECAY = 5e-4
EPOCHS = 20
EPOCHS_PER_STEP = 7
STEP = 0.9
BATCH_SIZE = 64


@on_one_thread
def fit_and_score(
    rows: NDArray[np.float32],
    members: NDArray[np.bool_],
    queries: NDArray[np.float32],
    randoms: Sequence[np.random.Generator],
) -> NDArray[np.float64]:
    """Train one network per point to tell members' rows from the others, and evaluate it.

    Args:
        rows: float32 ``[points, rows, features]``.
        members: bool ``[points, rows]``.
        queries: float32 ``[points, queries, features]``.
        randoms: one stream per point, for its initialisation, the order of its rows and its dropout.

    Returns:
        float64 ``[points]``, the mean probability of membership over the queries.
    """
    inputs, labels = torch.from_numpy(rows), torch.from_numpy(members.astype(np.int64))
    network = _Networks(rows.shape[-1], randoms)
    optimizer = torch.optim.Adam(network.parameters, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, EPOCHS_PER_STEP, STEP)
    for _ in range(EPOCHS):
        order = _permutations(randoms, rows.shape[1])
        for batch in torch.split(order, BATCH_SIZE, dim=1):
            logits = network(_rows_at(inputs, batch), _dropout(randoms, batch.shape[1]))
            loss = functional.cross_entropy(logits.flatten(0, 1), labels.gather(1, batch).flatten(), reduction="sum")
            optimizer.zero_grad()
            # The sum over points of each one's mean: no point's gradient depends on how many others there are.
            torch.autograd.backward(loss / batch.shape[1])
            optimizer.step()
        schedule.step()
    with torch.no_grad():
        probabilities = network(torch.from_numpy(queries)).softmax(dim=-1)[..., 1]
    return probabilities.double().mean(dim=1).numpy()


class _Networks:
    """Networks whose parameters are stacked along a leading axis, initialised as ``torch.nn.Linear`` does."""

    def __init__(self, features: int, randoms: Sequence[np.random.Generator]) -> None:
        self.parameters = [
            _uniform(randoms, shape, inputs**-0.5)
            for inputs, outputs in ((features, HIDDEN), (HIDDEN, 2))
            for shape in ((inputs, outputs), (1, outputs))
        ]

    def __call__(self, inputs: Tensor, dropout: Tensor | None = None) -> Tensor:
        """Logits ``[points, rows, 2]`` of ``[points, rows, features]``; ``dropout`` multiplies the hidden layer."""
        weight, bias, last_weight, last_bias = self.parameters
        hidden = torch.baddbmm(bias, inputs, weight).relu()
        if dropout is not None:
            hidden = hidden * dropout
        return torch.baddbmm(last_bias, hidden, last_weight)


def _uniform(randoms: Sequence[np.random.Generator], shape: tuple[int, int], bound: float) -> Tensor:
    """Parameters ``[points, *shape]`` between ``-bound`` and ``bound``."""
    drawn = np.stack([random.random(shape, dtype=np.float32) for random in randoms])
    return torch.from_numpy(bound * (2 * drawn - 1)).requires_grad_()


def _permutations(randoms: Sequence[np.random.Generator], rows: int) -> Tensor:
    """An order of the rows for each point, int64 ``[points, rows]``."""
    return torch.from_numpy(np.stack([random.permutation(rows) for random in randoms]))


def _rows_at(inputs: Tensor, indices: Tensor) -> Tensor:
    """The rows ``[points, batch, features]`` of each point at its indices ``[points, batch]``."""
    return inputs.gather(1, indices[..., None].expand(-1, -1, inputs.shape[-1]))


def _dropout(randoms: Sequence[np.random.Generator], rows: int) -> Tensor:
    """Zeros, and one over the share that is kept, for the hidden units of each row: ``[points, rows, HIDDEN]``."""
    # One random bit each decides: dropout is one half, and drawing floats would take as long as the training itself.
    bits = np.stack([np.frombuffer(random.bytes(rows * HIDDEN // 8), dtype=np.uint8) for random in randoms])
    kept = torch.from_numpy(np.unpackbits(bits, axis=1)).float().view(len(randoms), rows, HIDDEN)
    return kept / (1 - DROPOUT)
