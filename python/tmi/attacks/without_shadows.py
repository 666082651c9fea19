"""`label-probe` on one target without shadow models, and what it scores points that are known to be no members.

A known non-member is scored exactly as a candidate would be that is none. So the probe is taught by candidates alone,
which may be members, and neither by the non-member nor by the candidate: the candidates are dealt into folds, and those
of a fold are scored, together with all known non-members, by a probe that the other folds have taught. Given the other
folds, a candidate that was not trained on and the non-members are exchangeable, and so are their scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tmi.attacks.features.probe import log_odds, on_one_scale, read_answers
from tmi.metrics.unknown_target import conformal_p_values
from tmi.predictions.arrays import Predictions
from tmi.system.seeding import stream

# One in so many candidates does not teach the probe that scores it: few, since those that do are what it lives on.
FOLDS = 20


@dataclass(frozen=True)
class ProbedTarget:
    """Scores of the points of a target.

    Attributes:
        scores: float64 ``[candidates]``, higher = member.
        p_values: float64 ``[candidates]``, of being no member; None where no non-members are known.
        alike: float64 ``[points]``, of candidates and non-members by a probe that all of them have taught: these
            do not know which are candidates.
    """

    scores: NDArray[np.float64]
    p_values: NDArray[np.float64] | None
    alike: NDArray[np.float64]


def probe_target(
    finetunings: Sequence[Predictions],
    labels: NDArray[np.int64],
    candidates: NDArray[np.bool_],
    seed: int,
    threads: int = 1,
) -> ProbedTarget:
    """Score the points of one target.

    Args:
        finetunings: predictions of the target alone, in one finetuning or several, which are probed side by side.
        labels: int64 ``[points]``, their pretraining labels, at least two different ones.
        candidates: bool ``[points]``, those that may be members; the others are known not to be. All of them if nothing
            is known, at least two.
        seed: of the folds.
        threads: for kernels; never changes a score.
    """
    probes = 3 if any(each.shape[2] > 1 for each in finetunings) else 1
    read = np.concatenate([read_answers(each, probes) for each in finetunings], axis=-1)

    def scored(teachers: NDArray[np.bool_]) -> NDArray[np.float64]:
        odds = log_odds(read, labels, teachers.astype(np.float32), threads)
        return on_one_scale(odds.mean(axis=-1), labels)

    alike = scored(np.ones((1, len(labels)), dtype=np.bool_))[0]
    if candidates.all():
        return ProbedTarget(alike, None, alike)
    asked = np.flatnonzero(candidates)
    fold = stream(seed, "folds of candidates").permutation(len(asked)) % FOLDS
    teachers = np.tile(candidates, (min(FOLDS, len(asked)), 1))
    teachers[fold, asked] = False
    of_folds = scored(teachers)
    scores, p_values = of_folds[fold, asked], np.empty(len(asked))
    for number, found in enumerate(of_folds):
        p_values[fold == number] = conformal_p_values(scores[fold == number], found[~candidates])
    return ProbedTarget(scores, p_values, alike)
