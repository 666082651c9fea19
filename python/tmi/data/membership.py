"""Who is in which model, in pretraining and in finetuning.

Every model draws an exact half of the pool, independently of all other models. The halves are neither balanced per
point nor made in complementary pairs: with either, the label of the target could be read off those of its shadows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tmi.system.seeding import stream


def draw_membership(seed: int, models: int, points: int) -> NDArray[np.bool_]:
    """Membership of every pool point, bool ``[models, points]``: ``points // 2`` members per model.

    A model's row does not depend on how many models there are.
    """
    membership = np.zeros((models, points), dtype=bool)
    for model in range(models):
        membership[model, stream(seed, "membership", model).permutation(points)[: points // 2]] = True
    return membership


def draw_finetuning_set(seed: int, model: int, points: int, size: int) -> NDArray[np.int64]:
    """The downstream points that a model is finetuned on, int64 ``[size]``, ascending.

    The downstream points of different models overlap, as those of different finetunings by one team would.
    """
    return np.sort(stream(seed, "finetuning set", model).permutation(points)[:size])
