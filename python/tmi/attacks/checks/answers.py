"""Mistakes that answers show by themselves: what the numbers are, and whether models, points and labels differ."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmi.attacks.checks.finding import Finding, some
from tmi.predictions.arrays import LEAST_LIKELY
from tmi.predictions.intake import SUM_TOLERANCE, are_probabilities
from tmi.predictions.tokens import TOKEN, least_likely, tokens_there
from tmi.system.seeding import stream

# How often labels are shuffled to see what chance gives.
SHUFFLES = 40
# Standard errors beyond which a mean is taken to differ from what chance gives.
CERTAIN = 4.0
# Classes of one answer differ more than answers about the same point do; by this factor if the axes are swapped.
SWAPPED_RATIO = 4.0


def as_seen(given: NDArray[Any]) -> NDArray[np.float32]:
    """Answers ``[models, points, augmentations, classes]`` as checks look at them.

    Of the tokens of texts, that is how sure a model is of the least likely of them, NaN where a number is none: texts
    have different lengths, by which any models would agree.
    """
    if given.dtype != TOKEN:
        return np.asarray(given, dtype=np.float32)
    sure = np.empty((*given.shape[:-1], len(LEAST_LIKELY)), dtype=np.float32)
    for seen, records in zip(sure, given, strict=True):
        seen[...] = least_likely(records["log_odds"].astype(np.float32), tokens_there(records), LEAST_LIKELY)
        seen[~(np.isfinite(records["log_odds"]) & np.isfinite(records["standardised"])).all(axis=-1)] = np.nan
    return sure


def number_of_tokens(given: NDArray[Any]) -> NDArray[np.int64]:
    """How many tokens each text has of which something is said, ``[..., augmentations]``."""
    numbers: NDArray[np.int64] = tokens_there(given).sum(axis=-1)
    return numbers


def check_texts(given: NDArray[Any], sample: NDArray[np.float32]) -> list[Finding]:
    """Whether models were asked about the same tokens, given what they say about these and how sure they are."""
    lengths = number_of_tokens(given)
    differing = (lengths != lengths[0]).any(axis=(1, 2))
    if differing.any():
        model = int(differing.argmax())
        texts = some(int((lengths[model] != lengths[0]).any(axis=-1).sum()), "text")
        message = (
            f"model {model} was asked about other numbers of tokens than model 0 in {texts}: is it another tokenizer?"
        )
        return [Finding("error", "texts", message)]
    if empty := int((lengths[0] == 0).any(axis=-1).sum()):
        return [Finding("error", "texts", f"{some(empty, 'text')} without any token, of which nothing is predicted")]
    if given.shape[2] > 1 and (problem := _check_augmentations(sample)):
        return [problem]
    return [Finding("ok", "texts", f"{lengths.min()} to {lengths.max()} tokens, the same number for all models")]


def check_values(sample: NDArray[np.float32]) -> list[Finding]:
    """Whether these are logits, ``sample`` being ``[models, points, augmentations, classes]``."""
    _, _, augmentations, _ = sample.shape
    if are_probabilities(sample):
        message = "every answer is non-negative and sums to 1: probabilities, expected logits; save numpy.log of them"
        return [Finding("error", "predictions", message)]
    if augmentations > 1 and are_probabilities(sample, axis=2):
        message = "numbers sum to 1 over the axis of augmentations: the classes are there, and are probabilities"
        return [Finding("error", "predictions", message)]
    if augmentations > 1 and (problem := _check_augmentations(sample)):
        return [problem]
    # The logarithm of a sum of exponentials in float64, 0 for log-probabilities.
    wide = sample.astype(np.float64)
    if wide.max() <= SUM_TOLERANCE and np.abs(np.exp(wide).sum(axis=3) - 1).max() < SUM_TOLERANCE:
        return [Finding("ok", "predictions", "log-probabilities, which serve as logits")]
    return [Finding("ok", "predictions", "not probabilities: read as logits")]


def _check_augmentations(sample: NDArray[np.float32]) -> Finding | None:
    if (sample == sample[:, :, :1]).all():
        message = "the answers to all augmentations of a point are identical: one would do, or they were not made"
        return Finding("warning", "augmentations", message)
    # How much the numbers vary along either axis, the other held fixed.
    across_augmentations, across_classes = (float(sample.var(axis=axis, dtype=np.float64).mean()) for axis in (2, 3))
    if across_augmentations > SWAPPED_RATIO * across_classes:
        message = (
            f"numbers vary more over the axis of augmentations ({sample.shape[2]}) than over that of classes "
            f"({sample.shape[3]}): are the two swapped? expected [points, augmentations, classes]"
        )
        return Finding("warning", "predictions", message)
    return None


def check_copies(sample: NDArray[np.float32]) -> list[Finding]:
    """Models, or points, whose answers do not differ."""
    findings = []
    first_with: dict[bytes, int] = {}
    pairs = [
        (first, model)
        for model, rows in enumerate(sample)
        if (first := first_with.setdefault(rows.tobytes(), model)) != model
    ]
    if pairs:
        first, copy = pairs[0]
        message = f"{some(len(pairs), 'model')} with exactly the answers of another one, for instance {copy} as {first}"
        findings.append(Finding("error", "models", message))
    fixed = int((sample == sample[:1]).all(axis=(0, 2, 3)).sum())
    if fixed:
        message = f"{some(fixed, 'point')} of {sample.shape[1]} answered identically by all models, which tells nothing"
        findings.append(Finding("error" if fixed == sample.shape[1] else "warning", "points", message))
    constant = np.flatnonzero((sample == sample[:, :1]).all(axis=(1, 2, 3)))
    if constant.size and sample.shape[1] > 1:
        message = f"{some(constant.size, 'model')} with one answer to all points, the first being model {constant[0]}"
        findings.append(Finding("error", "models", message))
    return findings or [Finding("ok", "models", "all answer differently")]


def check_labels(sample: NDArray[np.float32], here: NDArray[np.int64]) -> Finding:
    """Whether answers agree with the labels of the points ``here`` more often than by chance."""
    classes = sample.shape[3]
    if (here == here[0]).all():
        return Finding("ok", "labels", f"all {here[0]}")
    answers = sample.mean(axis=2).argmax(axis=2)
    right = (answers == here).mean(axis=0)
    by_chance = (np.bincount(here, minlength=classes) / len(here))[answers].mean(axis=0)
    excess = right - by_chance
    error = excess.std(ddof=1) / np.sqrt(len(excess))
    if excess.mean() <= CERTAIN * error:
        message = (
            f"{right.mean():.1%} of the answers agree with them, {by_chance.mean():.1%} would by chance: points out of "
            "order, or labels of another task; leave them out if the points have no class among the predictions', or "
            "name them as pretraining labels if they are those"
        )
        return Finding("warning", "labels", message)
    return Finding("ok", "labels", f"{right.mean():.1%} of the answers agree with them")


def check_pretraining_labels(
    sample: NDArray[np.float32], everywhere: NDArray[np.int64], chosen: NDArray[np.int64]
) -> list[Finding]:
    """Whether points have their label to themselves, and whether answers about points of one label are alike."""
    different, which, sizes = np.unique(everywhere, return_inverse=True, return_counts=True)
    findings = []
    if alone := int((sizes == 1).sum()):
        message = (
            f"{some(alone, 'point')} of {len(everywhere)} with a label that no other point has: nothing tells how a "
            "model answers about such a label, so the scores that label-probe and label-probe-shadows give are neutral"
        )
        findings.append(Finding("warning", "pretraining labels", message))
    mean = sample.mean(axis=(0, 2), dtype=np.float64)
    mean -= mean.mean(axis=1, keepdims=True)
    mean -= mean.mean(axis=0)
    here = which[chosen]
    _, first, counts = np.unique(np.sort(here), return_index=True, return_counts=True)

    def explained(order: NDArray[np.int64]) -> float:
        """The sum of squares between labels if points are dealt to them in this order."""
        return float((np.add.reduceat(mean[order], first) ** 2 / counts[:, None]).sum())

    random = stream(0, "pretraining labels")
    by_chance = np.array([explained(random.permutation(len(mean))) for _ in range(SHUFFLES)])
    if explained(here.argsort(kind="stable")) <= by_chance.mean() + CERTAIN * by_chance.std(ddof=1):
        message = (
            "answers about points of one label are no more alike than others: points out of order, or labels of "
            "something else"
        )
        return [*findings, Finding("warning", "pretraining labels", message)]
    message = f"{len(different)} different, each of {sizes.min()} to {sizes.max()} points, answered alike"
    return [*findings, Finding("ok", "pretraining labels", message)]
