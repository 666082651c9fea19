"""What a language model says about every token of a text: the predictions of models that write.

An adversary of a model that answers with text sees no classes. It asks for the log-probability of each token of a text
given those before it. Token by token that is an answer as a class is: every model is asked about the same tokens, so
that those of a text stand side by side over models.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_expit

# About one token: log(p / (1 - p)); how many tokens are likelier in its place; and the deviations by which its
# log-probability differs from what a token drawn from the model there would have.
TOKEN = np.dtype([("log_odds", "<f2"), ("rank", "<u2"), ("standardised", "<f2")])
# The rank where a text has no further token, and of tokens that are known to be behind all that were shown.
NO_TOKEN, UNSEEN = 65535, 65534
# What is known of a token that an interface does not show, as log-odds: that it is less likely than one in a thousand
# or so, whatever it is.
NOT_SHOWN = -7.0
# Log-probabilities outside have no log-odds in float32, or were rounded: the first is that of the views' floor.
SMALLEST, LARGEST = -87.0, -(2.0**-24)
# A log-probability of a float16 or of a server that rounds may be so much above zero.
ROUNDING = 1e-3
# Probabilities of one have no log-odds.
LEAST_LOSS = 1e-6
HALF = 0.5


def token_records(log_odds: NDArray[Any], ranks: NDArray[Any], standardised: NDArray[Any]) -> NDArray[Any]:
    """Answers of type ``TOKEN`` from its three parts, all of one shape; with a negative rank there is no token."""
    records = np.zeros(ranks.shape, dtype=TOKEN)
    there = ranks >= 0
    records["rank"] = np.where(there, np.minimum(ranks, UNSEEN), NO_TOKEN)
    largest = np.finfo(np.float16).max
    for name, values in (("log_odds", log_odds), ("standardised", standardised)):
        records[name] = np.where(there, np.clip(values, -largest, largest), 0)
    return records


def plain_records(log_p: NDArray[np.float64], ranks: NDArray[Any]) -> NDArray[Any]:
    """Answers of type ``TOKEN`` from log-probabilities and ranks alone, see `token_records`.

    The standardised log-probabilities, which take all other tokens in the place of each, are zero.
    """
    return token_records(log_odds_of(np.clip(log_p, SMALLEST, LARGEST)), ranks, np.zeros_like(log_p))


def tokens_there(records: NDArray[Any]) -> NDArray[np.bool_]:
    """Which entries ``[..., tokens]`` are about a token; the others fill texts up to the longest."""
    there: NDArray[np.bool_] = records["rank"] != NO_TOKEN
    return there


def log_likelihoods(log_odds: NDArray[Any], there: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The log-probability of every token, float32 ``[..., tokens]``; 0 where there is none."""
    log_p: NDArray[np.float32] = log_expit(log_odds.astype(np.float32))
    return np.where(there, log_p, np.float32(0))


def log_odds_of(log_p: NDArray[Any]) -> NDArray[np.float64]:
    """The log-odds of probabilities given by their logarithms, which are below zero."""
    log_odds: NDArray[np.float64] = log_p - np.log(-np.expm1(log_p))
    return log_odds


def shown(records: NDArray[Any], number: int) -> NDArray[np.float32]:
    """The log-odds of every token, or of those among the ``number`` likeliest in their place: others have a floor.

    The floor is the same everywhere: that a token was not shown is all that is known of it. 0 shows all.
    """
    log_odds: NDArray[np.float32] = records["log_odds"].astype(np.float32)
    if not number:
        return log_odds
    hidden = tokens_there(records) & (records["rank"] >= number)
    return np.where(hidden, np.float32(NOT_SHOWN), log_odds)


def least_likely(
    log_odds: NDArray[np.float32], there: NDArray[np.bool_], percents: Sequence[int]
) -> NDArray[np.float32]:
    """How sure a model is of the least likely tokens of a text: float32 ``[..., percents]``.

    They are the log-odds of the geometric means of their probabilities: of all tokens for 100 percent, of the least
    likely one at least for any. 0 of a text without tokens.

    Args:
        log_odds: ``[..., tokens]``.
        there: bool, of the same shape; true up to the length of each text.
        percents: of the tokens.
    """
    lengths = there.sum(axis=-1)[..., None]
    # Behind all others, where a sum does not come to them.
    ordered = np.sort(log_likelihoods(log_odds, there), axis=-1)
    numbers = np.maximum(lengths * np.array(percents) // 100, 1)
    total = np.take_along_axis(np.cumsum(ordered, axis=-1, dtype=np.float64), numbers - 1, axis=-1)
    mean = np.minimum(total / numbers, -LEAST_LOSS)
    odds: NDArray[np.float32] = np.where(lengths > 0, log_odds_of(mean), 0).astype(np.float32)
    return odds


def reproduced(records: NDArray[Any]) -> NDArray[np.float32]:
    """How much of its second half a model writes that is given the first half of a text, float32 ``[...]``.

    Greedily, it writes the likeliest token every time. As long as that is the text's own token it goes on from the text
    itself, so that what it was asked about the text tells where it first leaves it. The share that it has written till
    then, as log-odds, half a token being right or wrong in any case.
    """
    count = tokens_there(records).sum(axis=-1)
    begin = count // 2
    written = (records["rank"] == 0) | (np.arange(records.shape[-1]) < begin[..., None])
    first = np.where(written.all(axis=-1), records.shape[-1], written.argmin(axis=-1))
    rest, right = count - begin, np.minimum(first, count) - begin
    odds: NDArray[np.float32] = np.log((right + HALF) / (rest - right + HALF)).astype(np.float32)
    return odds
