"""Running an attack in parts that fit the memory and keep all workers busy.

Most attacks look at one point at a time. They are cut by points: each part reads its points of all models once and
scores all targets, and no array is larger than the part, whatever the number of points. Attacks that learn from all
points of a target are cut by targets. Neither changes a bit of a score.

Where models were not drawn independently, shadows are chosen that do not give the target away, see
`tmi.predictions.designs`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmi.attacks.registry import Attack, MatchesShadows, Needs
from tmi.predictions.arrays import Predictions
from tmi.predictions.attack_input import AttackInput

# Enough that the workers end at about the same time and that progress is seen, for attacks that are cut by points.
PARTS_PER_WORKER = 16
# Fewer points than these cost more to hand out than to score.
LEAST_POINTS_PER_PART = 16
# What attacks need that compare the target with other models.
COMPARING = (Needs.SHADOW_MODELS, Needs.PRETRAINED_MODEL)


@dataclass(frozen=True)
class Part:
    """Some targets at some points: what one job scores."""

    targets: range
    points: range

    @property
    def size(self) -> int:
        """Number of scores."""
        return len(self.targets) * len(self.points)


def parts(attack: Attack, models: int, targets: int, points: int, workers: int) -> list[Part]:
    """Cut the scores ``[targets, points]`` of an attack on the first so many of the models into parts, one job each."""
    if attack.point_by_point:
        size = max(LEAST_POINTS_PER_PART, -(-points // (PARTS_PER_WORKER * workers)))
        return [Part(range(targets), chosen) for chosen in _chunks(points, size)]
    return [Part(chosen, range(points)) for chosen in _chunks(targets, attack.targets_at_once(models))]


def score_part(attack: Attack, answers: AttackInput, part: Part) -> NDArray[np.float64]:
    """The scores of one part, ``[targets, points]`` of it."""
    return score(attack, answers.at(slice(part.points.start, part.points.stop)), part.targets)


def join(pieces: Sequence[tuple[Part, NDArray[np.float64]]]) -> NDArray[np.float64]:
    """The scores ``[targets, points]`` of all parts together."""
    last = pieces[-1][0]
    scores = np.empty((last.targets.stop, last.points.stop))
    for part, piece in pieces:
        scores[part.targets.start : part.targets.stop, part.points.start : part.points.stop] = piece
    return scores


def score(attack: Attack, answers: AttackInput, targets: Sequence[int]) -> NDArray[np.float64]:
    """Scores of an attack, within the memory of ``answers.predictions`` if the attack goes point by point.

    Besides the scores themselves. An attack that learns from all points of a target needs them in memory and gets them.

    Args:
        attack: for instance ``tmi.attack_named("gaussian")``.
        answers: of all models.
        targets: models that play the target.

    Returns:
        float64 ``[targets, points]``, higher = member; the same as of ``attack.score`` if models were drawn
        independently.
    """
    if attack.needs is not Needs.TOKENS:
        answers = answers.summarised
    run = attack.score
    if attack.needs in COMPARING and not answers.design.is_independent:
        run = attack.score_matched if isinstance(attack, MatchesShadows) else partial(_score_matched, attack)
    points = answers.membership.shape[1]
    if not attack.point_by_point or answers.points_in_memory >= points:
        return run(answers, targets)
    scores = np.empty((len(targets), points))
    for chosen in _chunks(points, answers.points_in_memory):
        here = slice(chosen.start, chosen.stop)
        scores[:, here] = run(answers.at(here), targets)
    return scores


def _score_matched(attack: Attack, answers: AttackInput, targets: Sequence[int]) -> NDArray[np.float64]:
    """Scores of each target against shadows of its own at every point, handed over as if they were the same models."""
    finetunings = (answers, *answers.companions)
    read = [each.predictions.records(slice(None)) for each in finetunings]
    pretrained = None if answers.pretrained is None else answers.pretrained.records(slice(None))
    scores = np.zeros((len(targets), answers.membership.shape[1]))
    for row, target in enumerate(targets):
        models = answers.design.shadows_of(target, answers.membership, answers.seed).dealt
        if len(models) < 3:  # no attack can compare with a single shadow: neutral
            continue

        def deal(like: Predictions, block: NDArray[Any], models: NDArray[np.int64] = models) -> Predictions:
            return like.with_models(list(np.take_along_axis(block, models[..., None, None], axis=0)))

        membership = np.take_along_axis(answers.membership, models, axis=0)
        own, *others = (
            replace(
                each,
                predictions=deal(each.predictions, block),
                membership=membership,
                pretrained=None,
                reference=None,
                companions=(),
            )
            for each, block in zip(finetunings, read, strict=True)
        )
        direct = None
        if answers.pretrained is not None and pretrained is not None:
            direct = deal(answers.pretrained, pretrained)
        dealt = replace(own, pretrained=direct, companions=tuple(others))
        scores[row] = attack.score(dealt, [0])[0]
    return scores


def _chunks(length: int, size: int) -> list[range]:
    """Consecutive ranges of at most ``size`` that cover ``range(length)``."""
    return [range(start, min(start + size, length)) for start in range(0, length, size)]
