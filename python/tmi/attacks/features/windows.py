"""Points worked on at a time, and what is made of their answers once for all targets.

Conditioning takes memory for points x (models^2 + points) numbers, what is made of the answers for some dozens of times
points x models x classes, and the points of a window explain one another as well as more points would. The windows
depend on the shape of the answers alone, so that they are part of an attack and change with no setting of the machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tmi.attacks.confidences import confidences, in_parts
from tmi.attacks.features.classes import MOST_CLASSES, likeliest_classes
from tmi.attacks.features.conditioning import Conditioned, condition_answers
from tmi.attacks.features.probe import held_probes
from tmi.predictions.arrays import Predictions
from tmi.predictions.attack_input import AttackInput
from tmi.predictions.rows import HeldRows

# Fewer points at a time the more models there are, so that their matrices fit the memory.
LEAST_POINTS, MOST_POINTS = 100, 2_000
MATRIX_ENTRIES = 100_000_000
# And the more classes: arrays of float32 that there are at a time of what is made of a model's answers to a point, so
# many and one for each augmentation so many, and the bytes that they may take. Where there is no room for the fewest
# points, as with a vocabulary, a point has few classes.
ARRAYS, ARRAYS_OF_AUGMENTATION = 25, 7
ARRAY_BYTES = 2_200_000_000
PROBE = "probe"


@dataclass(frozen=True)
class Window:
    """Some challenge points, and behind them their share of the reference points.

    Attributes:
        answers: about these points, the reference points being points like the others.
        challenged: number of challenge points.
        conditioned: what the answers at the other points leave unexplained.
        odds: float64 ``[models, points, probes]`` of the points' labels: the models' own where these are classes of the
            answers, about the point itself and on average; and those of other pretraining labels
            (`tmi.attacks.features.probe`), taught by all points of all windows; None where points have neither.
        companions: the same of the other finetunings; their odds are within those of the first.
    """

    answers: AttackInput
    challenged: int
    conditioned: Conditioned
    odds: NDArray[np.float64] | None
    companions: tuple[Window, ...] = ()


def windows(answers: AttackInput) -> Iterator[Window]:
    """All points, a window at a time."""
    models, points, _, _ = answers.predictions.shape
    references = 0 if answers.reference is None else answers.reference.predictions.shape[1]
    finetunings = 1 + len(answers.companions)
    size = min(MOST_POINTS, max(LEAST_POINTS, MATRIX_ENTRIES // (finetunings * models**2)))
    size = min(size, max(LEAST_POINTS, _points_with_room(answers)))
    number = -(-(points + references) // size)
    for window in range(number):
        challenged, further = (
            range(whole * window // number, whole * (window + 1) // number) for whole in (points, references)
        )
        yield _window(answers, challenged, further)


# One: that of the last attack, which the next one on the same answers needs as well.
@lru_cache(maxsize=1)
def _window(answers: AttackInput, challenged: range, further: range) -> Window:
    held, points = _all_odds(answers), answers.membership.shape[1]
    behind = range(points + further.start, points + further.stop)
    odds = None
    if held:
        # Points come first in memory: the order in which sums over models are taken, and with it their last bits.
        by_point = [each.at(challenged, behind).transpose(1, 0, 2) for each in held]
        odds = np.ascontiguousarray(np.concatenate(by_point, axis=-1)).transpose(1, 0, 2)
    part = _part(answers, challenged, further)
    if min(len(answers.membership[0]), LEAST_POINTS) > _points_with_room(answers):
        part = _with_few_classes(part)
    return _prepared(part.with_reference_points(), len(challenged), odds)


def _points_with_room(answers: AttackInput) -> int:
    """How many points there is room for, whatever their number."""
    numbers = 0
    for each in (answers, *answers.companions):
        models, _, augmentations, classes = each.predictions.shape
        numbers += models * classes * (ARRAYS + ARRAYS_OF_AUGMENTATION * augmentations)
    return ARRAY_BYTES // (4 * numbers)


def _with_few_classes(answers: AttackInput) -> AttackInput:
    """The likeliest classes at each point and the rest as one, in all finetunings that have many."""

    def few(predictions: Predictions) -> Predictions:
        many = predictions.shape[-1] > MOST_CLASSES
        return likeliest_classes(predictions, MOST_CLASSES - 1) if many else predictions

    return replace(
        answers,
        predictions=few(answers.predictions),
        reference=answers.reference and replace(answers.reference, predictions=few(answers.reference.predictions)),
        labels=None,
        companions=tuple(_with_few_classes(companion) for companion in answers.companions),
    )


def _all_odds(answers: AttackInput) -> list[HeldRows]:
    labels, pretraining = answers.labels, answers.pretraining_labels
    odds = [_own_odds(answers)] if labels is not None and answers.reference is None else []
    if pretraining is not None and not (odds and np.array_equal(pretraining, labels)):  # type: ignore[arg-type]
        odds.append(held_probes(answers))
    return odds


@lru_cache(maxsize=1)
def _own_odds(answers: AttackInput) -> HeldRows:
    """The models' own odds of the labels, which no probe has to learn: of the point itself and on average."""
    models, points, augmentations, _ = answers.predictions.shape
    held, start = HeldRows((models, points, min(augmentations, 2))), 0
    for part in in_parts(answers):
        own = confidences(part, 0)
        here = range(start, start := start + own.shape[1])
        rows = own if augmentations == 1 else np.stack([own[..., 0], own.mean(axis=-1)], axis=-1)
        held.put(range(models), here, rows)
    return held


def _part(answers: AttackInput, challenged: range, further: range) -> AttackInput:
    """The answers about some challenge points and some reference points."""
    return replace(
        answers.at(slice(challenged.start, challenged.stop)),
        reference=answers.reference and answers.reference.at(slice(further.start, further.stop)),
        companions=tuple(_part(companion, challenged, further) for companion in answers.companions),
    )


def _prepared(answers: AttackInput, challenged: int, odds: NDArray[np.float64] | None) -> Window:
    representations = {} if odds is None else {PROBE: odds.astype(np.float32)}
    conditioned = condition_answers(answers.predictions, representations, answers.threads)
    # The labels are those of the points, however models were finetuned.
    labelled = (replace(companion, pretraining_labels=answers.pretraining_labels) for companion in answers.companions)
    companions = tuple(_prepared(companion, challenged, None) for companion in labelled)
    return Window(answers, challenged, conditioned, odds, companions)
