"""What is wrong with saved predictions, found out before hours are spent on attacking them.

Large arrays are looked at in a sample of points, which is read once. Every finding is about what such mistakes look
like, not a proof of one: rows out of order and a model that leaks nothing give the same scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tmi.attacks.registry import attack_named
from tmi.attacks.scoring import score
from tmi.metrics.bootstrap import Bootstrap
from tmi.metrics.roc import judge
from tmi.predictions.arrays import Predictions
from tmi.predictions.attack_input import AttackInput
from tmi.predictions.designs import describe_design
from tmi.predictions.formats.reading import SUM_TOLERANCE, are_probabilities
from tmi.system.seeding import stream

Severity = Literal["error", "warning", "ok"]

# Bytes of predictions that are looked at, as float32.
SAMPLE_BYTES = 256 << 20
# Points and targets of the trial attack.
TRIAL_POINTS, TRIAL_TARGETS = 400, 64
# Fewer models than these leave most attacks with too few shadows to learn from.
FEW_MODELS = 16
# Standard errors beyond which a mean is taken to differ from what chance gives.
CERTAIN = 4.0
# Fewer matched shadows on either side leave nothing to compare a shadow with.
LEAST_MATCHED = 2
# A share of members outside these leaves one side with few shadows.
USUAL_SHARE = (0.25, 0.75)
# Classes of one answer differ more than answers about the same point do; by this factor if the axes are swapped.
SWAPPED_RATIO = 4.0


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        severity: "error" where figures would be wrong or an attack would fail, "warning" where they may be, "ok".
        subject: what was looked at, a word or two.
        message: what was found and what to do about it.
    """

    severity: Severity
    subject: str
    message: str


def check_arrays(
    models: Sequence[NDArray[Any]],
    membership: NDArray[Any],
    labels: NDArray[Any] | None = None,
    *,
    sample_bytes: int = SAMPLE_BYTES,
) -> list[Finding]:
    """Look for the usual mistakes in predictions, membership and labels.

    Args:
        models: one array ``[points, augmentations, classes]`` per model, logits, memory maps or not.
        membership: ``[models, points]``, bool or numbers that are 0 or 1.
        labels: whole numbers ``[points]``, the class of each point among those of the predictions, or None.
        sample_bytes: how much of the predictions is read.

    Returns:
        What was looked at, good or bad. Later checks need the shapes to fit: an error there ends the list.
    """
    findings = _check_shapes(models, membership)
    if any(finding.severity == "error" for finding in findings):
        return findings
    mask = np.asarray(membership).astype(np.bool_)
    findings += _check_design(mask)
    points = _sampled_points(models, sample_bytes)
    where = f"at all {len(points)} points" if len(points) == mask.shape[1] else f"at {len(points)} sampled points"
    sample = np.stack([np.asarray(model[points], dtype=np.float32) for model in models])
    broken = ~np.isfinite(sample)
    if broken.any():
        several = np.flatnonzero(broken.any(axis=(1, 2, 3)))
        message = (
            f"NaN or infinite values {where}, in {_some(len(several), 'model')}, the first being model {several[0]}"
        )
        return [*findings, Finding("error", "values", message)]
    findings.append(Finding("ok", "values", f"all finite {where}"))
    findings += _check_values(sample)
    findings += _check_copies(sample)
    if labels is not None:
        findings += _check_labels(sample, np.asarray(labels), points, mask.shape[1])
    if not any(finding.severity == "error" for finding in findings):
        findings += _check_signal(models, mask, points, None if labels is None else np.asarray(labels))
    return findings


def _check_shapes(models: Sequence[NDArray[Any]], membership: NDArray[Any]) -> list[Finding]:
    if len(models) < 3:
        return [Finding("error", "models", f"{len(models)} models, expected at least 3: a target and two shadows")]
    shape, dtype = models[0].shape, models[0].dtype
    for name, model in enumerate(models):
        if model.shape != shape or model.dtype != dtype:
            message = f"model {name} has type {model.dtype} and shape {model.shape}, model 0 {dtype} {shape}"
            return [Finding("error", "predictions", message)]
    if len(shape) != 3 or dtype.kind != "f":
        message = f"type {dtype} and shape {shape} of a model, expected logits [points, augmentations, classes]"
        return [Finding("error", "predictions", message)]
    if shape[2] < 2:
        message = f"a single class; give two, for instance (s, 0) for a score s (shape {shape})"
        return [Finding("error", "predictions", message)]
    expected = (len(models), shape[0])
    if membership.shape != expected:
        return [Finding("error", "membership", _misfit(membership.shape, expected, shape))]
    findings = [Finding("ok", "predictions", f"{len(models)} models of shape {shape} {dtype}")]
    if membership.dtype != np.bool_:
        if membership.dtype.kind not in "fiu" or not np.isin(membership, (0, 1)).all():
            message = f"type {membership.dtype} with other values than 0 and 1, expected bool"
            return [*findings, Finding("error", "membership", message)]
        message = f"type {membership.dtype} holding 0 and 1 only: read as false and true"
        findings.append(Finding("warning", "membership", message))
    if len(models) > shape[0]:
        message = f"more models ({len(models)}) than points ({shape[0]}): are the first two axes swapped?"
        findings.append(Finding("warning", "predictions", message))
    if len(models) < FEW_MODELS:
        message = f"{len(models)} models: too few shadows for most attacks and for narrow intervals"
        findings.append(Finding("warning", "models", message))
    return findings


def _misfit(found: tuple[int, ...], expected: tuple[int, int], model: tuple[int, ...]) -> str:
    if found == expected[::-1]:
        return f"shape {found} is [points, models]: transpose it to [models, points] {expected}"
    if len(found) == 2 and found[0] == expected[0] and found[1] in model[1:]:
        return (
            f"shape {found}, but a model has shape {model}: the points seem to be in axis {model.index(found[1])} of "
            "the predictions, expected [points, augmentations, classes]"
        )
    return f"shape {found}, expected {expected}, one row per model and one column per point"


def _check_design(mask: NDArray[np.bool_]) -> list[Finding]:
    """Whether the membership leaves IN and OUT shadows everywhere, and does not give the target's away."""
    models, points = mask.shape
    findings = []
    share = mask.mean()
    if share in (0, 1):
        return [Finding("error", "membership", f"all entries are {bool(share)}: there is nothing to tell apart")]
    if not USUAL_SHARE[0] <= share <= USUAL_SHARE[1]:
        message = f"{share:.1%} of the entries are members, usual is a half: one side has few shadows to learn from"
        findings.append(Finding("warning", "membership", message))
    members = mask.sum(axis=0)
    one_sided = int(((members == 0) | (members == models)).sum())
    if one_sided:
        message = f"{_some(one_sided, 'point')} in all models or in none: no attack can learn there"
        findings.append(Finding("warning", "membership", message))
    sizes = mask.sum(axis=1)
    constant = np.flatnonzero((sizes == 0) | (sizes == points))
    if constant.size:
        message = f"{_some(constant.size, 'model')} with all points or none, the first being model {constant[0]}"
        findings.append(Finding("warning", "membership", message))
    packed = [row.tobytes() for row in np.packbits(mask, axis=1)]
    if repeated := len(packed) - len(set(packed)):
        message = f"{_some(repeated, 'row')} equal to another one: independent models have sets of their own"
        findings.append(Finding("warning", "membership", message))
    design = describe_design(mask)
    if design["complementary_pairs"] and design["is_independent"]:
        message = (
            f"{_some(design['complementary_pairs'], 'pair')} of models that are complements of one another: leave one "
            "of each out, or draw each model's half independently"
        )
        findings.append(Finding("warning", "membership", message))
    # A design that attacks can cope with is no mistake, unless it leaves them nothing to learn from.
    severity: Severity = "warning" if min(design["shadows"] or [LEAST_MATCHED]) < LEAST_MATCHED else "ok"
    findings.append(Finding(severity, "membership", f"{share:.1%} members; {design['said']}"))
    return findings


def _sampled_points(models: Sequence[NDArray[Any]], sample_bytes: int) -> NDArray[np.int64]:
    points = len(models[0])
    number = max(1, sample_bytes // (4 * len(models) * int(np.prod(models[0].shape[1:]))))
    if number >= points:
        return np.arange(points)
    return np.sort(stream(0, "check").choice(points, number, replace=False))


def _check_values(sample: NDArray[np.float32]) -> list[Finding]:
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


def _check_copies(sample: NDArray[np.float32]) -> list[Finding]:
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
        message = (
            f"{_some(len(pairs), 'model')} with exactly the answers of another one, for instance {copy} as {first}"
        )
        findings.append(Finding("error", "models", message))
    fixed = int((sample == sample[:1]).all(axis=(0, 2, 3)).sum())
    if fixed:
        message = (
            f"{_some(fixed, 'point')} of {sample.shape[1]} answered identically by all models, which tells nothing"
        )
        findings.append(Finding("error" if fixed == sample.shape[1] else "warning", "points", message))
    constant = np.flatnonzero((sample == sample[:, :1]).all(axis=(1, 2, 3)))
    if constant.size and sample.shape[1] > 1:
        message = f"{_some(constant.size, 'model')} with one answer to all points, the first being model {constant[0]}"
        findings.append(Finding("error", "models", message))
    return findings or [Finding("ok", "models", "all answer differently")]


def _check_labels(
    sample: NDArray[np.float32], labels: NDArray[Any], chosen: NDArray[np.int64], points: int
) -> list[Finding]:
    classes = sample.shape[3]
    if labels.shape != (points,) or labels.dtype.kind not in "iu":
        message = f"type {labels.dtype} and shape {labels.shape}, expected whole numbers ({points},)"
        return [Finding("error", "labels", message)]
    if labels.min() < 0 or labels.max() >= classes:
        message = f"between {labels.min()} and {labels.max()}, expected 0 to {classes - 1}, the predictions' classes"
        return [Finding("error", "labels", message)]
    here = labels[chosen]
    if (here == here[0]).all():
        return [Finding("ok", "labels", f"all {here[0]}")]
    answers = sample.mean(axis=2).argmax(axis=2)
    right = (answers == here).mean(axis=0)
    by_chance = (np.bincount(here, minlength=classes) / len(here))[answers].mean(axis=0)
    excess = right - by_chance
    error = excess.std(ddof=1) / np.sqrt(len(excess))
    if excess.mean() <= CERTAIN * error:
        message = (
            f"{right.mean():.1%} of the answers agree with them, {by_chance.mean():.1%} would by chance: points out of "
            "order, or labels of another task; leave them out if the points have no class among the predictions'"
        )
        return [Finding("warning", "labels", message)]
    return [Finding("ok", "labels", f"{right.mean():.1%} of the answers agree with them")]


def _check_signal(
    models: Sequence[NDArray[Any]],
    mask: NDArray[np.bool_],
    sampled: NDArray[np.int64],
    labels: NDArray[Any] | None,
) -> list[Finding]:
    """A trial attack, each model in turn against the others, and whether members are answered more surely."""
    points = sampled[np.linspace(0, len(sampled) - 1, min(TRIAL_POINTS, len(sampled))).astype(np.int64)]
    block = [np.ascontiguousarray(model[points]) for model in models]
    targets = np.linspace(0, len(models) - 1, min(TRIAL_TARGETS, len(models))).astype(np.int64).tolist()
    truth = mask[:, points]
    if truth[targets].all() or not truth[targets].any():
        return [Finding("warning", "signal", "too few points to try an attack on")]
    scores = score(attack_named("gaussian"), AttackInput(Predictions(block), truth), targets)
    auc = judge(scores, truth[targets], [], Bootstrap(400, 0.99)).auc
    said = f"trial attack (gaussian): AUC {auc.estimate:.3f} [{auc.low:.3f}, {auc.high:.3f}]"
    if auc.high < 0.5:
        message = f"{said}, below a coin flip: membership or models may be in another order than the predictions"
        return [Finding("error", "signal", message)]
    if auc.low <= 0.5:
        message = (
            f"{said}, no better than a coin flip: nothing leaks that this attack finds in this sample, or models or "
            "points of membership and predictions are in different orders"
        )
        return [Finding("warning", "signal", message)]
    difference = _members_surer(np.stack(block), truth, None if labels is None else labels[points])
    if difference < -CERTAIN:
        message = (
            f"{said}, but members are answered less surely than non-members ({-difference:.1f} standard errors): the "
            "membership may be reversed, true meaning non-member, or signals may be losses"
        )
        return [Finding("warning", "signal", message)]
    return [Finding("ok", "signal", said)]


def _members_surer(block: NDArray[Any], truth: NDArray[np.bool_], labels: NDArray[Any] | None) -> float:
    """By how many standard errors over points IN models are surer than OUT models.

    Sure is the log-probability of the point's label, or of the answer's own top class without labels, relative to all
    answers of the same model.
    """
    logits = block.astype(np.float64)
    top = logits.max(axis=3, keepdims=True)
    normaliser = top[..., 0] + np.log(np.exp(logits - top).sum(axis=3))
    chosen = top[..., 0] if labels is None else np.take_along_axis(logits, labels[None, :, None, None], axis=3)[..., 0]
    sure = (chosen - normaliser).mean(axis=2)
    sure -= sure.mean(axis=1, keepdims=True)
    count = truth.sum(axis=0)
    both = (count > 0) & (count < len(truth))
    inside, outside = (
        np.where(side, sure, 0.0).sum(axis=0) / np.maximum(side.sum(axis=0), 1) for side in (truth, ~truth)
    )
    difference = (inside - outside)[both]
    error = difference.std(ddof=1) / np.sqrt(len(difference)) if len(difference) > 1 else 0.0
    return float(difference.mean() / error) if error > 0 else 0.0


def _some(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
