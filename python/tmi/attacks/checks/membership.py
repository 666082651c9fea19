"""Mistakes in the membership: how it was drawn, and whether it fits the answers as it lies."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmi.attacks.checks.alignment import find_order
from tmi.attacks.checks.answers import CERTAIN, as_seen
from tmi.attacks.checks.finding import Finding, Severity, some
from tmi.attacks.registry import attack_named
from tmi.attacks.scoring import score
from tmi.metrics.bootstrap import Bootstrap
from tmi.metrics.roc import judge
from tmi.predictions.arrays import Predictions
from tmi.predictions.attack_input import AttackInput
from tmi.predictions.designs import describe_design
from tmi.predictions.tokens import TOKEN

# Points and targets of the trial attack.
TRIAL_POINTS, TRIAL_TARGETS = 400, 64
# Fewer matched shadows on either side leave nothing to compare a shadow with.
LEAST_MATCHED = 2
# A share of members outside these leaves one side with few shadows.
USUAL_SHARE = (0.25, 0.75)


def check_design(mask: NDArray[np.bool_]) -> list[Finding]:
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
        message = f"{some(one_sided, 'point')} in all models or in none: no attack can learn there"
        findings.append(Finding("warning", "membership", message))
    sizes = mask.sum(axis=1)
    constant = np.flatnonzero((sizes == 0) | (sizes == points))
    if constant.size:
        message = f"{some(constant.size, 'model')} with all points or none, the first being model {constant[0]}"
        findings.append(Finding("warning", "membership", message))
    packed = [row.tobytes() for row in np.packbits(mask, axis=1)]
    if repeated := len(packed) - len(set(packed)):
        message = f"{some(repeated, 'row')} equal to another one: independent models have sets of their own"
        findings.append(Finding("warning", "membership", message))
    design = describe_design(mask)
    if design["complementary_pairs"] and design["is_independent"]:
        message = (
            f"{some(design['complementary_pairs'], 'pair')} of models that are complements of one another: leave one "
            "of each out, or draw each model's half independently"
        )
        findings.append(Finding("warning", "membership", message))
    # A design that attacks can cope with is no mistake, unless it leaves them nothing to learn from.
    severity: Severity = "warning" if min(design["shadows"] or [LEAST_MATCHED]) < LEAST_MATCHED else "ok"
    findings.append(Finding(severity, "membership", f"{share:.1%} members; {design['said']}"))
    return findings


def check_signal(
    given: NDArray[Any], mask: NDArray[np.bool_], sampled: NDArray[np.int64], labels: NDArray[np.int64] | None
) -> list[Finding]:
    """A trial attack; whether another order of the membership fits better; whether members are answered more surely."""
    some = np.linspace(0, len(sampled) - 1, min(TRIAL_POINTS, len(sampled))).astype(np.int64)
    points, block = sampled[some], np.ascontiguousarray(given[:, some])
    targets = np.linspace(0, len(mask) - 1, min(TRIAL_TARGETS, len(mask))).astype(np.int64).tolist()
    truth = mask[:, points]
    if truth[targets].all() or not truth[targets].any():
        return [Finding("warning", "signal", "too few points to try an attack on")]
    order = find_order(as_seen(block), mask, points)
    if order.remedy:
        message = (
            f"does not fit the predictions as it lies, but {order.remedy} does ({order.lead:.0f} standard deviations "
            "better): models or points are in another order"
        )
        return [Finding("error", "membership", message)]
    scores = score(attack_named("gaussian"), AttackInput(Predictions(list(block)), truth), targets)
    auc = judge(scores, truth[targets], [], Bootstrap(400, 0.99)).auc
    said = f"trial attack (gaussian): AUC {auc.estimate:.3f} [{auc.low:.3f}, {auc.high:.3f}]"
    over_points, over_models = members_surer(block, truth, None if labels is None else labels[some])
    if max(over_points, over_models) < -CERTAIN:
        message = (
            f"members are answered less surely than non-members (by {-max(over_points, over_models):.0f} standard "
            "errors): it is reversed, true meaning non-member, or signals are losses"
        )
        return [Finding("error", "membership", message)]
    if auc.low <= 0.5:
        than = "no better" if auc.high >= 0.5 else "worse"
        message = (
            f"{said}, {than} than a coin flip: nothing leaks that this attack finds in this sample, or models or "
            "points of membership and predictions are in different orders"
        )
        return [Finding("warning", "signal", message)]
    return [Finding("ok", "signal", said)]


def members_surer(
    block: NDArray[Any], truth: NDArray[np.bool_], labels: NDArray[np.int64] | None
) -> tuple[float, float]:
    """By how many standard errors IN models are surer than OUT models, over points and over models.

    Sure is the log-probability of the point's label, or of the answer's own top class without labels, relative to all
    answers of the same model; of texts, of all their tokens. Points of a model are not independent, nor are models at a
    point: both have to say so.
    """
    of_answers = as_seen(block)[..., -1] if block.dtype == TOKEN else _of_top_class(block, labels)
    sure = of_answers.mean(axis=2, dtype=np.float64)
    sure -= sure.mean(axis=1, keepdims=True)
    of_points = _differences(sure, truth)
    return _standard_errors(of_points), _standard_errors(_differences((sure - sure.mean(axis=0)).T, truth.T))


def _of_top_class(block: NDArray[np.float32], labels: NDArray[np.int64] | None) -> NDArray[np.float64]:
    """The log-probability of the points' labels, or of the answers' top classes where there are none."""
    logits = block.astype(np.float64)
    top = logits.max(axis=3, keepdims=True)
    normaliser = top[..., 0] + np.log(np.exp(logits - top).sum(axis=3))
    chosen = top[..., 0] if labels is None else np.take_along_axis(logits, labels[None, :, None, None], axis=3)[..., 0]
    of_class: NDArray[np.float64] = chosen - normaliser
    return of_class


def _differences(values: NDArray[np.float64], side: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean of each column where ``side`` is true minus where it is not, for columns that have both."""
    count = side.sum(axis=0)
    both = (count > 0) & (count < len(side))
    inside = np.where(side, values, 0.0).sum(axis=0)[both] / count[both]
    outside = np.where(side, 0.0, values).sum(axis=0)[both] / (len(side) - count[both])
    difference: NDArray[np.float64] = inside - outside
    return difference


def _standard_errors(values: NDArray[np.float64]) -> float:
    """The mean in its standard errors; 0 where there is none."""
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0
    return float(values.mean() / error) if error > 0 else 0.0
