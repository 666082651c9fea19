"""What is wrong with predictions and membership, found out before hours are spent on attacking them.

Large arrays are looked at in a sample of points, which is read once. Every finding is about what such mistakes look
like, not a proof of one: rows out of order and a model that leaks nothing give the same scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tmi.attacks.alignment import find_order
from tmi.attacks.registry import attack_named
from tmi.attacks.scoring import score
from tmi.errors import TmiError
from tmi.metrics.bootstrap import Bootstrap
from tmi.metrics.roc import judge
from tmi.predictions.arrays import LEAST_LIKELY, Predictions
from tmi.predictions.attack_input import AttackInput
from tmi.predictions.belonging import LARGEST_FACTOR, REMARKABLE_FACTOR, belonging
from tmi.predictions.designs import describe_design
from tmi.predictions.intake import SUM_TOLERANCE, are_probabilities, as_model, taken_in
from tmi.predictions.tokens import TOKEN, least_likely, tokens_there
from tmi.predictions.views import TOKENS
from tmi.system.seeding import stream

Severity = Literal["error", "warning", "ok"]

# Bytes of predictions that are looked at, as float32.
SAMPLE_BYTES = 256 << 20
# Points and targets of the trial attack.
TRIAL_POINTS, TRIAL_TARGETS = 400, 64
# Fewer models than these leave most attacks with too few shadows to learn from.
FEW_MODELS = 16
# How often labels are shuffled to see what chance gives.
SHUFFLES = 40
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
    findings += _check_design(mask)
    chosen = _sampled_points(predictions, sample_bytes)
    given = predictions.rows(chosen)
    sample = _as_seen(given)
    where = f"at all {points} points" if len(chosen) == points else f"at {len(chosen)} sampled points"
    broken = ~np.isfinite(sample)
    if broken.any():
        several = np.flatnonzero(broken.any(axis=(1, 2, 3)))
        message = (
            f"NaN or infinite values {where}, in {_some(len(several), 'model')}, the first being model {several[0]}"
        )
        return [*findings, Finding("error", "values", message)]
    findings.append(Finding("ok", "values", f"all finite {where}"))
    findings += _check_texts(given, sample) if given.dtype == TOKEN else _check_values(sample)
    findings += _check_copies(sample)
    labels = None if answers.labels is None else answers.labels[chosen]
    if labels is not None:
        found = _check_labels(sample, labels)
        findings.append(found)
        # Nobody is surer of labels that are not what the models answer.
        labels = labels if found.severity == "ok" else None
    if answers.pretraining_labels is not None:
        findings += _check_pretraining_labels(sample, answers.pretraining_labels, chosen)
    if not any(finding.severity == "error" for finding in findings):
        findings += _check_signal(given, mask, chosen, labels)
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
    findings = [replace(found, subject="target") for found in _check_values(sample)]
    return findings + _check_pretraining_labels(sample, pretraining_labels, np.arange(len(target)))


def check_target(answers: AttackInput, target: NDArray[Any], *, sample_bytes: int = SAMPLE_BYTES) -> list[Finding]:
    """Whether a target of unknown membership belongs to the shadow models.

    Args:
        answers: of the shadow models; where nothing but labels is seen of them, the unit of the logits is free.
        target: logits ``[points, augmentations, classes]``.
        sample_bytes: how much of the predictions is read.

    Raises:
        TmiError: the target's shape is not that of the shadows.
    """
    # Says what is wrong with the shape.
    answers.predictions.with_first(target)
    chosen = _sampled_points(answers.predictions, sample_bytes)
    writes, unit, parts = answers.predictions.dtype == TOKEN, "logits", "its points or classes"
    if writes:
        unit, parts = "log-odds", "its texts or their tokens"
    sample, asked = _as_seen(answers.predictions.rows(chosen)), _as_seen(target[chosen][None])[0]
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


def require_sound(findings: Sequence[Finding], *, force: bool = False) -> None:
    """Refuse what was found to be wrong.

    Args:
        findings: of the input.
        force: go on all the same.

    Raises:
        TmiError: there is an error among them.
    """
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors and not force:
        first, *others = errors
        more = f" (and {_some(len(others), 'further error')})" if others else ""
        raise TmiError(
            f"{first.subject}: {first.message}{more}; `tmi check` says more, --force (force=True) goes on all the same"
        )


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


def _sampled_points(predictions: Predictions, sample_bytes: int) -> NDArray[np.int64]:
    whole = predictions.seen_through(TOKENS) if predictions.dtype == TOKEN else predictions
    models, points, augmentations, classes = whole.shape
    number = max(1, sample_bytes // (4 * models * augmentations * classes))
    if number >= points:
        return np.arange(points)
    return np.sort(stream(0, "check").choice(points, number, replace=False))


def _as_seen(given: NDArray[Any]) -> NDArray[np.float32]:
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


def _check_texts(given: NDArray[Any], sample: NDArray[np.float32]) -> list[Finding]:
    """Whether models were asked about the same tokens, given what they say about these and how sure they are."""
    lengths = tokens_there(given).sum(axis=-1)
    differing = (lengths != lengths[0]).any(axis=(1, 2))
    if differing.any():
        model = int(differing.argmax())
        texts = _some(int((lengths[model] != lengths[0]).any(axis=-1).sum()), "text")
        message = (
            f"model {model} was asked about other numbers of tokens than model 0 in {texts}: is it another tokenizer?"
        )
        return [Finding("error", "texts", message)]
    if empty := int((lengths[0] == 0).any(axis=-1).sum()):
        return [Finding("error", "texts", f"{_some(empty, 'text')} without any token, of which nothing is predicted")]
    if given.shape[2] > 1 and (problem := _check_augmentations(sample)):
        return [problem]
    return [Finding("ok", "texts", f"{lengths.min()} to {lengths.max()} tokens, the same number for all models")]


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


def _check_labels(sample: NDArray[np.float32], here: NDArray[np.int64]) -> Finding:
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


def _check_pretraining_labels(
    sample: NDArray[np.float32], everywhere: NDArray[np.int64], chosen: NDArray[np.int64]
) -> list[Finding]:
    """Whether points have their label to themselves, and whether answers about points of one label are alike."""
    different, which, sizes = np.unique(everywhere, return_inverse=True, return_counts=True)
    findings = []
    if alone := int((sizes == 1).sum()):
        message = (
            f"{_some(alone, 'point')} of {len(everywhere)} with a label that no other point has: nothing tells how a "
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


def _check_signal(
    given: NDArray[Any], mask: NDArray[np.bool_], sampled: NDArray[np.int64], labels: NDArray[np.int64] | None
) -> list[Finding]:
    """A trial attack; whether another order of the membership fits better; whether members are answered more surely."""
    some = np.linspace(0, len(sampled) - 1, min(TRIAL_POINTS, len(sampled))).astype(np.int64)
    points, block = sampled[some], np.ascontiguousarray(given[:, some])
    targets = np.linspace(0, len(mask) - 1, min(TRIAL_TARGETS, len(mask))).astype(np.int64).tolist()
    truth = mask[:, points]
    if truth[targets].all() or not truth[targets].any():
        return [Finding("warning", "signal", "too few points to try an attack on")]
    order = find_order(_as_seen(block), mask, points)
    if order.remedy:
        message = (
            f"does not fit the predictions as it lies, but {order.remedy} does ({order.lead:.0f} standard deviations "
            "better): models or points are in another order"
        )
        return [Finding("error", "membership", message)]
    scores = score(attack_named("gaussian"), AttackInput(Predictions(list(block)), truth), targets)
    auc = judge(scores, truth[targets], [], Bootstrap(400, 0.99)).auc
    said = f"trial attack (gaussian): AUC {auc.estimate:.3f} [{auc.low:.3f}, {auc.high:.3f}]"
    over_points, over_models = _members_surer(block, truth, None if labels is None else labels[some])
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


def _members_surer(
    block: NDArray[Any], truth: NDArray[np.bool_], labels: NDArray[np.int64] | None
) -> tuple[float, float]:
    """By how many standard errors IN models are surer than OUT models, over points and over models.

    Sure is the log-probability of the point's label, or of the answer's own top class without labels, relative to all
    answers of the same model; of texts, of all their tokens. Points of a model are not independent, nor are models at a
    point: both have to say so.
    """
    of_answers = _as_seen(block)[..., -1] if block.dtype == TOKEN else _of_top_class(block, labels)
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


def _some(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
