"""How the membership of shadow models was drawn, and which shadows say nothing about the target's own.

Where models are drawn independently, the shadows' membership tells nothing about the target's. Much published code puts
every point into exactly half of the models instead, or trains complementary pairs: then one shadow fewer has the points
that the target has, and whatever knows the numbers of IN and OUT shadows, the precision of a mean for instance, knows
the target's membership. It does not if a target is compared with as many IN and as many OUT shadows at every point,
chosen without looking at its own membership: if nothing leaks, they are random subsets of a given size either way.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammainc, gammaincc

from tmi.system.seeding import stream

# So often are independent draws taken for others.
FALSE_ALARMS = 1e-4
# Counts that vary nearly as much as those of independent draws say next to nothing about the target (see
# docs/statistics.md), and taking equally many shadows would leave few.
LEAST_DISPERSION = 0.75
# A few points with hardly any shadows on one side shall not decide how many are compared everywhere.
EXCEPTIONS = 0.05
# Points by which pairs of models are found.
MOST_POINTS = 10_000
# Rows that agree no less than this, from -1 for exact complements; independent ones are near 0.
COMPLEMENTARY = -0.9


@dataclass(frozen=True)
class Design:
    """How the membership of some models was drawn.

    Attributes:
        dispersion: variance over points of the number of models that have a point, relative to what it is if models are
            drawn independently; 1 if they are, 0 if each point is in equally many models.
        is_independent: whether it is as large as it should be, as far as can be seen.
        sizes: int64 ``[models, 2]``, with how many IN and OUT shadows each model as the target is compared at every
            point; zeros where models are independent, and all shadows serve.
        first: index of the first of the points at hand.
    """

    dispersion: float
    is_independent: bool
    sizes: NDArray[np.int64]
    first: int = 0

    @classmethod
    def of(cls, membership: NDArray[np.bool_]) -> Design:
        """The design of bool ``[models, points]``; constant rows, as of a target of unknown membership, say nothing."""
        models, points = membership.shape
        counts, shares = membership.sum(axis=0), membership.mean(axis=1)
        sizes = np.zeros((models, 2), dtype=np.int64)
        expected = float((shares * (1 - shares)).sum())
        if points < 2 or expected == 0:
            return cls(1.0, True, sizes)
        dispersion = float(counts.var(ddof=1)) / expected
        # The lower tail of chi-squared, which is heavier than that of counts of coin flips.
        chance = float(gammainc((points - 1) / 2, dispersion * (points - 1) / 2))
        if dispersion > LEAST_DISPERSION or chance > FALSE_ALARMS:
            return cls(dispersion, True, sizes)
        place = int(EXCEPTIONS * points)
        for model, row in enumerate(membership):
            inside = counts - row
            sizes[model] = [np.partition(side, place)[place] for side in (inside, models - 1 - inside)]
        return cls(dispersion, False, sizes)

    def at(self, first: int) -> Design:
        """The same for the points from ``first`` on."""
        return replace(self, first=self.first + first)

    def with_first(self) -> Design:
        """The same before one more model, whose membership nobody knows.

        It is compared with as many shadows as the shadows are with one another, so that its scores can be read against
        theirs.
        """
        return replace(self, sizes=np.concatenate([self.sizes.min(axis=0, keepdims=True), self.sizes]))

    def shadows_of(self, target: int, membership: NDArray[np.bool_], seed: int) -> MatchedShadows:
        """The shadows that a target, whose membership is not looked at, is compared with.

        At every point models are walked through in an order that the seed draws and the index of the point turns; the
        first ones of either side are taken. Where a side has too few, the other one fills in.
        """
        models, points = membership.shape
        order = stream(seed, "matched shadows", target).permutation(models)
        order = order[(np.arange(models) + (self.first + np.arange(points))[:, None]) % models]
        members = np.take_along_axis(membership.T, order, axis=1)
        inside, outside = members & (order != target), ~members & (order != target)
        rank_in, rank_out = inside.cumsum(axis=1), outside.cumsum(axis=1)
        wanted_in, wanted_out = self.sizes[target]
        total = wanted_in + wanted_out
        taken_in = np.clip(rank_in[:, -1:], total - rank_out[:, -1:], wanted_in)
        ranks = np.where(inside & (rank_in <= taken_in), rank_in, 0)
        ranks += np.where(outside & (rank_out <= total - taken_in), rank_out, 0)
        of_models = np.zeros_like(ranks)
        np.put_along_axis(of_models, order, ranks, axis=1)
        return MatchedShadows(target, np.ascontiguousarray(of_models.T), membership)


@dataclass(frozen=True)
class MatchedShadows:
    """Equally many IN and equally many OUT shadows at every point.

    Attributes:
        target: index of the model that is compared with them.
        ranks: int64 ``[models, points]``, 1, 2, ... among the chosen of the same side; 0 for models not chosen.
        membership: bool ``[models, points]``.
    """

    target: int
    ranks: NDArray[np.int64]
    membership: NDArray[np.bool_]

    @property
    def apart(self) -> NDArray[np.bool_]:
        """All other models, the target among them, bool ``[models, points]``."""
        apart: NDArray[np.bool_] = self.ranks == 0
        return apart

    @cached_property
    def dealt(self) -> NDArray[np.int64]:
        """Indices of models, int64 ``[1 + shadows, points]``: the target, then the IN shadows, then the OUT shadows."""
        models = len(self.ranks)
        places = np.where(self.apart, 3 * models, self.ranks + models * ~self.membership)
        places[self.target] = 0
        size = 1 + int((self.ranks[:, 0] > 0).sum())
        dealt: NDArray[np.int64] = places.argsort(axis=0, kind="stable")[:size]
        return dealt


def complementary_pairs(membership: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Models of which one has nearly all points that the other has not, by the correlation of their rows."""
    rows = membership[:, :: -(-membership.shape[1] // MOST_POINTS)].astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    norms = np.sqrt((rows**2).sum(axis=1, keepdims=True))
    np.divide(rows, norms, out=rows, where=norms > 0)
    first, second = np.nonzero(np.triu(rows @ rows.T, k=1) < COMPLEMENTARY)
    return list(zip(first.tolist(), second.tolist(), strict=True))


def describe_design(membership: NDArray[np.bool_]) -> dict[str, Any]:
    """The table ``design`` of ``results.json``, for bool ``[models, points]``."""
    design, pairs = Design.of(membership), complementary_pairs(membership)
    counts = membership.sum(axis=0)
    fewest, most = int(counts.min()), int(counts.max())
    table: dict[str, Any] = {
        "is_independent": design.is_independent,
        "dispersion": design.dispersion,
        "complementary_pairs": len(pairs),
        "fewest_models": fewest,
        "most_models": most,
        "shadows": None,
    }
    if float(gammaincc((size := membership.shape[1] - 1) / 2, design.dispersion * size / 2)) < FALSE_ALARMS:
        return table | {"said": "some points are in more models than others, by more than chance makes them"}
    if design.is_independent:
        return table | {"said": "drawn independently as far as can be seen"}
    inside, outside = (int(size) for size in design.sizes.min(axis=0))
    of_models = f"exactly {fewest}" if fewest == most else f"{fewest} to {most}"
    paired = ", which are complementary pairs" if 2 * len(pairs) >= len(membership) - 1 else ""
    said = (
        f"every point is in {of_models} of {len(membership)} models{paired}: the shadows' membership would give the "
        f"target's away, so each target is compared with {inside} IN and {outside} OUT shadows at every point"
    )
    return table | {"shadows": [inside, outside], "said": said}
