"""Networks that predict tokens, what they are to predict, and what they say about a text when they are queried.

Texts are ids of tokens ``[points, length]``, int64, that end in padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from tmi.data.tokens import PADDING
from tmi.predictions.tokens import NO_TOKEN, TOKEN, token_records
from tmi.shadows.networks.classifier import Classifier
from tmi.targets.writers import about_tokens

# The target where there is nothing to predict; the value that torch's cross entropy leaves out.
NO_TARGET = -100
# Logits that are held at a time when texts are judged.
LOGITS_AT_ONCE = 2**25


def tokens_of(ids: Tensor) -> Tensor:
    """Where the tokens are, bool ``[points, length]``; a text without any counts as one of a single token."""
    real = ids != PADDING
    return torch.cat([torch.ones_like(real[:, :1]), real[:, 1:]], dim=1)


def trimmed(ids: Tensor) -> Tensor:
    """The same texts ``[points, longest]`` without the columns that are padding in all of them, but one at least."""
    return ids[:, : max(1, int((ids != PADDING).sum(dim=1).max()))] if len(ids) else ids


class TokenBackbone(nn.Module):
    """A backbone that reads ids of tokens ``[points, length]``, and also tells what it makes of each of them."""

    def hidden_states(self, ids: Tensor) -> Tensor:
        """The hidden states of all tokens ``[points, length, width]``; those of the padding mean nothing."""
        raise NotImplementedError


class LanguageModel(Classifier):
    """A text network that predicts tokens, until finetuning gives it a head of classes.

    Attributes:
        objective: ``causal``: it predicts the next token; ``masked``: tokens that are masked.
        predicts_tokens: whether the head is still that of its pretraining.
    """

    backbone: TokenBackbone

    def __init__(
        self, backbone: TokenBackbone, head: nn.Linear, blocks: Sequence[nn.Module] | None, objective: str
    ) -> None:
        super().__init__(backbone, head, blocks)
        self.objective = objective
        self.predicts_tokens = True

    def forward(self, ids: Tensor) -> Tensor:
        """Logits ``[points, length, vocabulary]`` of ids ``[points, length]``; those at padding mean nothing.

        With the head of another task, as any classifier, ``[points, classes]`` from the pooled features.
        """
        if not self.predicts_tokens:
            return super().forward(ids)
        logits: Tensor = self.head(self.backbone.hidden_states(ids))
        return logits

    def replace_head(self, head: nn.Linear) -> None:
        """Give the network a head that reads the features of whole texts."""
        super().replace_head(head)
        self.predicts_tokens = False


def token_targets(ids: Tensor, objective: str, first: Tensor | None = None) -> Tensor:
    """What a language model is to predict at every token, int64 ``[points, length]`` as the ids.

    ``causal``: the next token; ``masked``: the token itself (which of them are masked is left to training);
    ``NO_TARGET`` where there is none. Tokens before the places ``first``, int64 ``[points]``, are never a target.
    """
    targets = ids.masked_fill(ids == PADDING, NO_TARGET)
    if first is not None:
        targets = targets.masked_fill(torch.arange(ids.shape[1], device=ids.device) < first[:, None], NO_TARGET)
    if objective == "masked":
        return targets
    return functional.pad(targets[:, 1:], (0, 1), value=NO_TARGET)


def consecutive(ids: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Texts as windows of so many tokens, one behind the other, and the place of the text of each window.

    A last token that would be alone in its window, with nothing to predict it from, is left out.
    """
    windows = functional.pad(ids, (0, -ids.shape[1] % length), value=PADDING).view(len(ids), -1, length)
    kept = windows[..., 1] != PADDING
    return windows[kept], kept.nonzero()[:, 0]


class Likelihoods(nn.Module):
    """What a pretrained language model says about whole texts ``[points, length]``, as logits of two classes.

    The logit-scaled confidence in the first class is the mean log-likelihood of the text's tokens, the logarithm of
    one over their perplexity (Carlini et al. 2021, section 4.2). A masked model has no likelihood; in its place are
    those of every token when it is masked (Salazar et al. 2020, equation 1), here with every k-th token masked at a
    time, so that k passes judge all tokens in a setting like that of the pretraining: k = round(1 / mask_fraction).
    """

    def __init__(self, model: Classifier, mask_id: int | None = None, mask_fraction: float = 0.15) -> None:
        super().__init__()
        if not isinstance(model, LanguageModel) or not model.predicts_tokens:
            raise ValueError("the model predicts no tokens")
        self.model, self.mask_id, self.mask_fraction = model, mask_id, mask_fraction

    @torch.no_grad()
    def forward(self, ids: Tensor) -> Tensor:
        """The mean log-likelihood per token, 0 where there is none to predict, and zeros: float32 ``[points, 2]``."""
        self.model.eval()
        points_at_once = max(1, LOGITS_AT_ONCE // (self.model.head.out_features * ids.shape[1]))
        means = []
        for texts in torch.split(ids, points_at_once):
            targets = token_targets(texts, self.model.objective)
            causal = self.model.objective == "causal"
            likelihoods = self._of_targets(texts, targets) if causal else self._when_masked(texts, targets)
            means.append(likelihoods.sum(dim=1) / (targets != NO_TARGET).sum(dim=1).clamp(min=1))
        likelihood = torch.cat(means)
        return torch.stack([likelihood, torch.zeros_like(likelihood)], dim=1)

    def _of_targets(self, ids: Tensor, targets: Tensor) -> Tensor:
        """The log-likelihood of every target, float32 ``[points, length]``; 0 where there is none."""
        logits = self.model(ids).float()
        return -functional.cross_entropy(logits.transpose(1, 2), targets, ignore_index=NO_TARGET, reduction="none")

    def _when_masked(self, ids: Tensor, targets: Tensor) -> Tensor:
        """The log-likelihood of every token when it and every k-th other are masked; 0 at padding."""
        if self.mask_id is None:
            raise ValueError("mask_id is None, expected the token that stands for a masked one")
        passes = round(1 / self.mask_fraction)
        turns = torch.arange(ids.shape[1], device=ids.device) % passes
        total = torch.zeros(ids.shape, device=ids.device)
        for turn in range(min(passes, ids.shape[1])):
            hidden = (turns == turn) & (targets != NO_TARGET)
            asked = targets.masked_fill(~hidden, NO_TARGET)
            total += self._of_targets(ids.masked_fill(hidden, self.mask_id), asked)
        return total


@torch.no_grad()
def answers_of(model: Classifier, ids: Tensor, length: int) -> NDArray[Any]:
    """What a model that predicts the next token says about every token of texts but the first.

    Texts of about one length are read together, and of each batch no more than its own length: padding costs as much as
    text, and the logits of a whole vocabulary at every place are not kept.

    Args:
        model: a `LanguageModel` whose objective is ``causal``, in evaluation mode.
        ids: ``[texts, at least length]``.
        length: of the longest text.

    Returns:
        ``[texts, length - 1]`` of type `tmi.predictions.tokens.TOKEN`.
    """
    parts = np.zeros((3, len(ids), max(1, length - 1)))
    parts[1] = -1
    lengths = tokens_of(ids).sum(dim=1)
    order = torch.argsort(lengths, stable=True)
    start = 0
    while start < len(order):
        at_once = max(1, LOGITS_AT_ONCE // (model.head.out_features * int(lengths[order[start]])))
        batch = order[start : start + at_once]
        start += len(batch)
        texts = ids[batch, : max(2, int(lengths[batch[-1]]))]
        targets = texts[:, 1:]
        found = about_tokens(model(texts).float()[:, :-1], targets.clamp(min=0))
        found[1].masked_fill_(targets == PADDING, -1)
        parts[:, batch.cpu().numpy(), : targets.shape[1]] = found.double().cpu().numpy()
    return token_records(*parts)


def answers_in_windows(model: Classifier, ids: Tensor, length: int, window: int, stride: int) -> NDArray[Any]:
    """What `answers_of` says of texts that may be longer than the model reads: it is shown windows of them.

    A window begins ``stride`` tokens behind the one before, and is asked about the tokens that this one has not: of a
    text, all tokens behind the first ``window`` are judged by ``window - stride`` others or more (the "strided" way of
    https://huggingface.co/docs/transformers/perplexity).
    """
    later = max(0, -(-(length - window) // stride))
    room = window + later * stride
    windows = functional.pad(ids, (0, room - ids.shape[1]), value=PADDING).unfold(1, window, stride)
    answers = np.zeros((len(ids), room - 1), dtype=TOKEN)
    answers["rank"] = NO_TOKEN
    for number in range(1 + later):
        new, start = window - stride if number else 1, number * stride
        there = windows[:, number, new] != PADDING
        found = answers_of(model, windows[there, number], window)
        answers[there.cpu().numpy(), start + new - 1 : start + window - 1] = found[:, new - 1 :]
    return answers[:, : length - 1]
