"""Texts of different lengths in one array: ids of tokens ``[points, length]``, int64, that end in padding."""

from __future__ import annotations

import torch
from torch import Tensor

from tmi.data.tokens import PADDING

# The target where there is nothing to predict; the value that torch's cross entropy leaves out.
NO_TARGET = -100


def tokens_of(ids: Tensor) -> Tensor:
    """Where the tokens are, bool ``[points, length]``; a text without any counts as one of a single token."""
    real = ids != PADDING
    return torch.cat([torch.ones_like(real[:, :1]), real[:, 1:]], dim=1)


def trimmed(ids: Tensor) -> Tensor:
    """The same texts ``[points, longest]`` without the columns that are padding in all of them, but one at least."""
    return ids[:, : max(1, int((ids != PADDING).sum(dim=1).max()))] if len(ids) else ids
