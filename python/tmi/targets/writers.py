"""A target that is saved as a language model of the transformers library: all that it says about every token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tmi.config.target import TargetConfig
from tmi.errors import TmiError
from tmi.predictions.tokens import token_records
from tmi.system.libraries import explained, quiet
from tmi.system.progress import Progress
from tmi.targets.checkpoint import saved_model
from tmi.targets.texts import Texts

# Of log-probabilities, where a model that is sure of a token leaves none.
LEAST_DEVIATION = 1e-4


@torch.no_grad()
def query_writer(
    config: TargetConfig, folder: Path, flat: NDArray[Any], texts: Texts, progress: Progress, device: str
) -> NDArray[Any]:
    """What a saved language model says about the tokens of texts, ``[texts, Texts.tokens]`` of type ``TOKEN``.

    It is asked through its own head, with the tokens of the run's models: whether its tokenizer makes the same of the
    texts is for who has both to see.

    Args:
        config: of kind ``checkpoint``.
        folder: with ``config.json`` and weights as safetensors.
        flat: the texts.
        texts: has their tokens.
        progress: is told of every batch.
        device: of torch.

    Raises:
        TmiError: the folder lacks something, has no language model, or one that reads fewer or shorter texts' tokens.
    """
    where = f"target.path {str(config.path)!r}"
    with quiet():
        model = saved_model("AutoModelForCausalLM", folder, "language model", where).to(device).eval()
        _require_room(model, texts, where)
        parts = np.zeros((3, len(flat), texts.tokens))
        parts[1] = -1
        progress.begin("asking the target", len(flat))
        try:
            for start in range(0, len(flat), config.batch_size):
                ids = [texts.ids[text] for text in flat[start : start + config.batch_size]]
                with explained(f"{where}: the model fails on these texts"):
                    found = _about(model, ids, device)
                for row, (numbers, own) in enumerate(zip(found, ids, strict=True), start):
                    parts[:, row, : len(own) - 1] = numbers[:, : len(own) - 1]
                progress.advance(len(ids))
        finally:
            progress.end()
    return token_records(*parts)


def about_tokens(logits: Tensor, targets: Tensor) -> Tensor:
    """Log-odds, ranks and standardised log-probabilities of tokens, ``[3, texts, length]``.

    Args:
        logits: ``[texts, length, vocabulary]``, float32.
        targets: ``[texts, length]``, ids.
    """
    chosen = logits.gather(-1, targets[..., None])
    ranks = (logits > chosen).sum(dim=-1)
    # Never by way of the probability, which may round to one.
    log_odds = chosen[..., 0] - logits.scatter(-1, targets[..., None], -torch.inf).logsumexp(dim=-1)
    log_p = logits.log_softmax(dim=-1)
    p = log_p.exp()
    mean = (p * log_p).sum(dim=-1)
    # By differences: the mean of squares less the square of the mean is rounding where a model is sure.
    deviation = (p * (log_p - mean[..., None]) ** 2).sum(dim=-1).sqrt()
    standardised = (log_p.gather(-1, targets[..., None])[..., 0] - mean) / deviation.clamp(min=LEAST_DEVIATION)
    return torch.stack([log_odds, ranks.float(), standardised])


def _about(model: Any, ids: list[tuple[int, ...]], device: str) -> list[NDArray[np.float64]]:
    """`about_tokens` of some texts without their first tokens, ``[3, tokens]`` for each, filled up to one length."""
    length = max(2, *map(len, ids))
    known = torch.zeros(len(ids), length, dtype=torch.int64)
    there = torch.zeros(len(ids), length, dtype=torch.int64)
    for row, own in enumerate(ids):
        known[row, : len(own)] = torch.tensor(own)
        there[row, : len(own)] = 1
    known, there = known.to(device), there.to(device)
    logits = model(input_ids=known, attention_mask=there).logits.float()[:, :-1]
    return list(about_tokens(logits, known[:, 1:]).double().cpu().numpy().transpose(1, 0, 2))


def _require_room(model: Any, texts: Texts, where: str) -> None:
    largest = max(max(ids) for ids in texts.ids.values())
    rows = model.get_input_embeddings().num_embeddings
    if rows <= largest:
        raise TmiError(
            f"{where}: the model has {rows} tokens, and the run's tokenizer has more: it is the tokenizer of another "
            "model"
        )
    positions = getattr(model.config, "max_position_embeddings", None) or 0
    if 0 < positions < texts.tokens + 1:
        raise TmiError(
            f"{where}: the model reads at most {positions} tokens, found queries of {texts.tokens + 1}; lower "
            "encoder.length and cut the texts with chunk_words"
        )
