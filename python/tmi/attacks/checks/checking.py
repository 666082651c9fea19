"""What is wrong with predictions and membership, found out before hours are spent on attacking them.

Large arrays are looked at in a sample of points, which is read once. Every finding is about what such mistakes look
like, not a proof of one: rows out of order and a model that leaks nothing give the same scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmi.attacks.checks.answers import (
    as_seen,
    check_copies,
    check_labels,
    check_pretraining_labels,
    check_texts,
    check_values,
    number_of_tokens,
)
from tmi.attacks.checks.finding import Finding, some
from tmi.attacks.checks.membership import check_design, check_signal
from tmi.predictions.arrays import Predictions
from tmi.predictions.attack_input import AttackInput
from tmi.predictions.belonging import LARGEST_FACTOR, REMARKABLE_FACTOR, belonging
from tmi.predictions.intake import as_model, taken_in
from tmi.predictions.tokens import TOKEN
from tmi.predictions.views import TOKENS
from tmi.system.seeding import stream

# Bytes of predictions that are looked at, as float32.
SAMPLE_BYTES = 256 << 20
# Fewer models than these leave most attacks with too few shadows to learn from.
FEW_MODELS = 16


def check_arrays(
    models: Sequence[NDArray[Any]],
    membership: NDArray[Any],
    labels: NDArray[Any] | None = None,
    target: NDArray[Any] | None = None,
    *,
    pretraining_labels: NDArray[Any] | None = None,
    sample_bytes: int = SAMPLE_BYTES,
) -> list[Finding]:
    """Take arrays in and look for the usual mistakes in them.

    Args:
        models: one array ``[points, augmentations, classes]`` per model, logits, memory maps or not.
        membership: ``[models, points]``, bool or numbers that are 0 or 1.
        labels: whole numbers ``[points]``, the class of each point among those of the predictions, or None.
        target: logits ``[points, augmentations, classes]`` of one more model, whose membership nobody knows, or None.
        pretraining_labels: whole numbers ``[points]``, the class that each point had in pretraining, or None.
        sample_bytes: how much of the predictions is read.

    Returns:
        What was looked at, good or bad.

    Raises:
        TmiError: the arrays do not fit one another, see `tmi.predictions.intake.taken_in`.
    """
    said: list[str] = []
    answers = taken_in(models, membership, labels, pretraining_labels=pretraining_labels, note=said.append)
    unknown = None if target is None else as_model(target, "target", said.append)
    findings = [Finding("ok", "read as", sentence) for sentence in dict.fromkeys(said)]
    return findings + check_input(answers, *([] if unknown is None else [unknown]), sample_bytes=sample_bytes)


def check_input(answers: AttackInput, *targets: NDArray[Any], sample_bytes: int = SAMPLE_BYTES) -> list[Finding]:
    """Look for the usual mistakes in what attacks are about to see.

    Args:
        answers: of all models, in all their finetunings.
        targets: logits ``[points, augmentations, classes]`` of a target of unknown membership, in the first
            finetunings; none without such a target.
        sample_bytes: how much of the predictions of a finetuning is read.
    """
    findings: list[Finding] = []
    for number, each in enumerate((answers, *answers.companions), 1):
        found = _check_finetuning(each, sample_bytes)
        for target in targets[number - 1 : number]:
            found += check_target(each, target, sample_bytes=sample_bytes)
        if number == 1:
            findings = found
        else:
            # What is true of the models was said of the first finetuning.
            further = [finding for finding in found if finding not in findings]
            findings += [replace(each, subject=f"finetuning {number}: {each.subject}") for each in further]
    return findings


def _check_finetuning(answers: AttackInput, sample_bytes: int) -> list[Finding]:
    predictions, mask = answers.predictions, answers.membership
    number, points, _, _ = predictions.shape
    findings = []
    if number > points:
        message = f"more models ({number}) than points ({points}): are the first two axes swapped?"
        findings.append(Finding("warning", "predictions", message))
    if number < FEW_MODELS:
        message = f"{number} models: too few shadows for most attacks and for narrow intervals"
        findings.append(Finding("warning", "models", message))
    findings += check_design(mask)
    chosen = _sampled_points(predictions, sample_bytes)
    given = predictions.rows(chosen)
    sample = as_seen(given)
    where = f"at all {points} points" if len(chosen) == points else f"at {len(chosen)} sampled points"
    broken = ~np.isfinite(sample)
    if broken.any():
        several = np.flatnonzero(broken.any(axis=(1, 2, 3)))
        message = (
            f"NaN or infinite values {where}, in {some(len(several), 'model')}, the first being model {several[0]}"
        )
        return [*findings, Finding("error", "values", message)]
    findings.append(Finding("ok", "values", f"all finite {where}"))
    findings += check_texts(given, sample) if given.dtype == TOKEN else check_values(sample)
    findings += check_copies(sample)
    labels = None if answers.labels is None else answers.labels[chosen]
    if labels is not None:
        found = check_labels(sample, labels)
        findings.append(found)
        # Nobody is surer of labels that are not what the models answer.
        labels = labels if found.severity == "ok" else None
    if answers.pretraining_labels is not None:
        findings += check_pretraining_labels(sample, answers.pretraining_labels, chosen)
    if not any(finding.severity == "error" for finding in findings):
        findings += check_signal(given, mask, chosen, labels)
    return findings


def check_answers(target: NDArray[Any], pretraining_labels: NDArray[np.int64]) -> list[Finding]:
    """Look for mistakes in the answers of one model that there are no shadow models of.

    Args:
        target: ``[points, augmentations, classes]``.
        pretraining_labels: ``[points]``.
    """
    if not np.isfinite(target).all():
        return [Finding("error", "target", "NaN or infinite values, expected logits")]
    sample = np.asarray(target, dtype=np.float32)[None]
    findings = [replace(found, subject="target") for found in check_values(sample)]
    return findings + check_pretraining_labels(sample, pretraining_labels, np.arange(len(target)))


def check_target(answers: AttackInput, target: NDArray[Any], *, sample_bytes: int = SAMPLE_BYTES) -> list[Finding]:
    """Whether a target of unknown membership belongs to the shadow models.

    Args:
        answers: of the shadow models; where nothing but labels is seen of them, the unit of the logits is free.
        target: logits ``[points, augmentations, classes]``.
        sample_bytes: how much of the predictions is read.

    Raises:
        TmiError: the target's shape is not that of the shadows, or only one of both is about the tokens of texts.
    """
    # Says what is wrong with the shape.
    answers.predictions.with_first(target)
    chosen = _sampled_points(answers.predictions, sample_bytes)
    writes, unit, parts = answers.predictions.dtype == TOKEN, "logits", "its points or classes"
    if writes:
        unit, parts = "log-odds", "its texts or their tokens"
    given = answers.predictions.rows(chosen)
    sample, asked = as_seen(given), as_seen(target[chosen][None])[0]
    if not np.isfinite(asked).all():
        return [Finding("error", "target", f"NaN or infinite values, expected {unit}")]
    if not np.isfinite(sample).all():
        return []
    found = belonging(asked, sample, answers.membership[:, chosen])
    shows_numbers = answers.predictions.view.name != "label"
    if found.is_probabilities and shows_numbers:
        message = "every answer is non-negative and sums to 1: probabilities; those of the shadow models are logits"
        return [Finding("error", "target", message)]
    said = (
        f"its top class is that of {found.top_classes:.0%} of the shadow models, which agree with one another at "
        f"{found.shadows_top_classes:.0%}"
    )
    if writes and found.lowest_agreement is not None:
        # Every model is surest of a text as a whole.
        said = (
            f"how sure it is of the texts has a correlation of {found.agreement:.2f} with how sure the shadow models "
            f"are, and theirs with one another {found.lowest_agreement:.2f} or more"
        )
    if found.is_disordered:
        message = f"{said}: {parts} are in another order than theirs, or it is another kind of model"
        return [Finding("error", "target", message)]
    if writes and (differing := (number_of_tokens(target[chosen]) != number_of_tokens(given[0])).any(axis=1)).any():
        message = (
            f"it was asked about other numbers of tokens than the shadow models in {some(int(differing.sum()), 'text')}"
            ": is it another tokenizer?"
        )
        return [Finding("error", "target", message)]
    factor = max(found.factor, 1 / found.factor) if found.factor > 0 else np.inf
    if factor > LARGEST_FACTOR and shows_numbers:
        message = (
            f"its {unit} spread {found.factor:.2g} times as far as those of the nearest shadow model: another unit, "
            "another temperature or another kind of model"
        )
        return [Finding("error", "target", message)]
    if factor > REMARKABLE_FACTOR and shows_numbers:
        message = (
            f"its {unit} spread {found.factor:.2g} times as far as those of the nearest shadow model: it was trained "
            "in another way, and points that it is surer about may be taken for members"
        )
        return [Finding("warning", "target", message)]
    if found.lowest_agreement is None:
        message = "the shadow models do not agree with one another: whether its points are in their order is not known"
        return [Finding("ok", "target", message)]
    return [Finding("ok", "target", said)]


def _sampled_points(predictions: Predictions, sample_bytes: int) -> NDArray[np.int64]:
    whole = predictions.seen_through(TOKENS) if predictions.dtype == TOKEN else predictions
    models, points, augmentations, classes = whole.shape
    number = max(1, sample_bytes // (4 * models * augmentations * classes))
    if number >= points:
        return np.arange(points)
    return np.sort(stream(0, "check").choice(points, number, replace=False))
