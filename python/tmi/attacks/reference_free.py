"""Baselines that need no shadow models of a model that writes: how likely the text itself is to it.

They know how surely a model predicts each token, and nothing of other models: a text that any model finds likely counts
as a member. They are what attacks on the pretraining data of language models are usually compared with.
"""

from __future__ import annotations

import zlib
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmi.attacks.registry import Attack, Needs, register
from tmi.errors import TmiError
from tmi.predictions.attack_input import AttackInput
from tmi.predictions.tokens import TOKEN, log_likelihoods, tokens_there

# The share of a text's tokens that Min-K% looks at, in percent, as in both papers' main results.
SHARE = 20


class ReferenceFree(Attack):
    """An attack on what one model says about the tokens of one text."""

    needs = Needs.TOKENS
    point_by_point = True

    def score(self, answers: AttackInput, targets: Sequence[int]) -> NDArray[np.float64]:
        """The score of every text by itself.

        Raises:
            TmiError: the answers are not about the tokens of texts.
        """
        predictions = answers.predictions.restricted(targets)
        if predictions.dtype != TOKEN:
            raise TmiError(f"the attack {self.name!r} needs models that write, these tell classes apart")
        scores = np.empty((len(targets), answers.membership.shape[1]))
        for points in predictions.spans():
            scores[:, points] = self._of_texts(predictions.records(points), answers.at(points))
        return scores

    @abstractmethod
    def _of_texts(self, records: NDArray[Any], answers: AttackInput) -> NDArray[np.float64]:
        """Scores ``[targets, points]`` of answers ``[targets, points, augmentations, tokens]`` of type ``TOKEN``."""


@register
class Loss(ReferenceFree):
    """The mean log-probability of the text's tokens."""

    name = "loss"
    summary = "how likely the text is to the finetuned model; no shadow models"
    default = 62
    source = "Yeom et al. 2018"

    def _of_texts(self, records: NDArray[Any], answers: AttackInput) -> NDArray[np.float64]:
        return _mean_log_p(records[:, :, 0])


@register
class Zlib(ReferenceFree):
    """The log-probability of the text per byte of its zlib compression: what is repetitive is likely to any model."""

    name = "zlib"
    summary = "how likely the text is for how well it compresses; no shadow models"
    default = 64
    default_with = Needs.TEXTS
    source = "Carlini et al. 2021"

    def _of_texts(self, records: NDArray[Any], answers: AttackInput) -> NDArray[np.float64]:
        if answers.inputs is None:
            raise TmiError("the attack 'zlib' needs the texts themselves, which are not there")
        sizes = np.array([len(zlib.compress(text.encode())) for text in answers.inputs])
        ratio: NDArray[np.float64] = _mean_log_p(records[:, :, 0]) / sizes
        return ratio


@register
class MinK(ReferenceFree):
    """The mean log-probability of the least likely tokens of the text.

    Args:
        share: of the tokens, in percent.

    Raises:
        TmiError: ``share`` is not from 1 to 100.
    """

    name = "min-k"
    summary = "how likely the text's least likely tokens are; no shadow models"
    default = 66
    source = "Shi et al. 2024, Min-K% Prob"

    def __init__(self, share: int = SHARE) -> None:
        if not 1 <= share <= 100:
            raise TmiError(f"the share of {self.name} is {share}, expected 1 to 100 percent of the tokens")
        self.share = share

    def _of_texts(self, records: NDArray[Any], answers: AttackInput) -> NDArray[np.float64]:
        itself = records[:, :, 0]
        return _mean_of_least(self._of_tokens(itself), tokens_there(itself), self.share)

    def _of_tokens(self, records: NDArray[Any]) -> NDArray[np.float32]:
        return log_likelihoods(records["log_odds"], tokens_there(records))


@register
class MinKPlusPlus(MinK):
    """The same of standardised log-probabilities: how far a token is from what the model expects in its place."""

    name = "min-k++"
    summary = "min-k with each token's log-probability standardised over the vocabulary; no shadow models"
    default = 68
    source = "Zhang et al. 2025, Min-K%++"
    default_with = Needs.VOCABULARY

    def _of_tokens(self, records: NDArray[Any]) -> NDArray[np.float32]:
        standardised: NDArray[np.float32] = records["standardised"].astype(np.float32)
        return standardised


@register
class Neighbours(ReferenceFree):
    """The mean log-probability of the text less that of its variations, of whatever kind the queries are.

    With ``query.augmentation = "lower-case"`` it is the comparison with the text in lower case of Carlini et al. 2021;
    with others it is that with neighbouring texts.
    """

    name = "neighbours"
    summary = "how much likelier the text is than its variations; no shadow models"
    source = "Mattern et al. 2023; Carlini et al. 2021 for texts in lower case"

    def _of_texts(self, records: NDArray[Any], answers: AttackInput) -> NDArray[np.float64]:
        if records.shape[2] < 2:
            raise TmiError("the attack 'neighbours' needs variations of the texts, query.count is 1")
        means = _mean_log_p(records)
        difference: NDArray[np.float64] = means[:, :, 0] - means[:, :, 1:].mean(axis=-1)
        return difference


def _mean_log_p(records: NDArray[Any]) -> NDArray[np.float64]:
    """The mean log-probability of the tokens of answers ``[..., tokens]``."""
    there = tokens_there(records)
    total = log_likelihoods(records["log_odds"], there).sum(axis=-1, dtype=np.float64)
    mean: NDArray[np.float64] = total / np.maximum(there.sum(axis=-1), 1)
    return mean


def _mean_of_least(values: NDArray[np.float32], there: NDArray[np.bool_], share: int) -> NDArray[np.float64]:
    """The mean of the lowest ``share`` percent of the values ``[..., tokens]`` of each text, of one at least."""
    ordered = np.sort(np.where(there, values, np.inf), axis=-1)
    number = np.maximum(there.sum(axis=-1) * share // 100, 1)
    is_least = (np.arange(values.shape[-1]) < number[..., None]) & np.isfinite(ordered)
    mean: NDArray[np.float64] = np.where(is_least, ordered, 0).sum(axis=-1, dtype=np.float64) / number
    return mean
