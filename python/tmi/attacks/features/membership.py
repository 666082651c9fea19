"""Everything that the answers of a target and its shadows say about membership, as features.

Raw and conditioned representations of the answers are compared with those of the shadows on both sides of each point,
with the target and the model itself left out. All representations are whitened first, so that the statistics that go
class by class and those that know the covariance see the same scales. Where points have pretraining labels, what the
answers tell of those (`tmi.attacks.features.probe`) is a representation as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from tmi import _core
from tmi.attacks.features.profiles import profiles
from tmi.attacks.features.shrinkage import (
    IDENTITY_SHARE,
    Array,
    Sides,
    expected_shift,
    parts,
    profile_regressors,
    remaining_variance,
    variances,
    whitened,
)
from tmi.attacks.features.windows import PROBE, Window

RIDGE = 0.5
# Those of `_core.leave_one_out_features` that add to one another.
STATISTICS = ("llr_shared", "llr_separate", "separation", "distance_out", f"lda_{RIDGE:g}")
# The one conditioned representation that makes an attack of its own: the answer to the point itself.
IDENTITY = "identity"
# Least sum of squares of what the smoother leaves of the membership.
LEAST_SURPRISE = 1e-3
# Numbers in the matrices of the points that are worked on together.
MATRIX_ENTRIES = 30_000_000


@dataclass(frozen=True)
class Ingredients:
    """What may be switched off, for ablations.

    Attributes:
        conditioning: conditioned representations beside the raw ones.
        shrinkage: the empirical-Bayes features.
        contrast: the difference between the answer to the point itself and to its augmentations.
        labels: the pretraining labels of the points.
    """

    conditioning: bool = True
    shrinkage: bool = True
    contrast: bool = True
    labels: bool = True


class Evidence:
    """What all targets of the same answers share; the methods make the features of one target.

    Args:
        window: the answers of all models.
        ingredients: what is used of them.
    """

    def __init__(self, window: Window, ingredients: Ingredients = Ingredients()) -> None:
        self._answers, self._conditioning = window.answers, window.conditioned
        self._ingredients = ingredients
        self._odds = window.odds if ingredients.labels else None
        self._companions = [Evidence(companion, ingredients) for companion in window.companions]

    def of_targets(
        self, targets: Sequence[int], wanted: NDArray[np.bool_], apart: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float32]:
        """Features as seen for some targets that are compared with the same models, float32 ``[rows, features]``.

        Args:
            targets: indices of models: they are part of nothing that others are compared with.
            wanted: bool ``[models, points]``, whose features, and where: a row for each, in the order of the models
                and, within a model, of the points.
            apart: bool ``[models, points]``, models that are treated as the targets are, at each point others.
        """
        sides, others = Sides.without(self._answers.membership, targets, apart), apart
        if len(targets) > 1:
            others = np.zeros_like(wanted) if apart is None else apart.copy()
            others[targets] = True
        columns = [
            self._compared(x, expected, sides, targets[0], wanted, others)
            for x, expected in self._representations(targets, sides, apart)
        ]
        if self._telling_odds is not None:
            columns.append(self._telling_odds[wanted])
        columns += [companion.of_targets(targets, wanted, apart) for companion in self._companions]
        return np.concatenate(columns, axis=-1)

    def conditional_scores(self, target: int, apart: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
        """The shrunken likelihood ratio of the target's conditioned answers to the points themselves, ``[points]``."""
        sides = Sides.without(self._answers.membership, [target], apart)
        wanted = np.zeros_like(self._answers.membership)
        wanted[target] = True
        x, expected = self._restored(IDENTITY, sides, self._smoothed([target], apart))
        features = self._compared(x, expected, sides, target, wanted, apart)
        shrunken: NDArray[np.float32] = features[:, len(STATISTICS) + _core.EMPIRICAL_BAYES_FEATURES.index("shrunken")]
        return shrunken.astype(np.float64)

    def _compared(
        self,
        x: Array,
        expected: Array,
        sides: Sides,
        target: int,
        wanted: NDArray[np.bool_],
        apart: NDArray[np.bool_] | None,
    ) -> NDArray[np.float32]:
        """The features of one representation."""
        white, prior = whitened(x, sides, expected)
        compared = _core.leave_one_out_features(
            white,
            self._answers.membership,
            target,
            apart=apart,
            wanted=wanted,
            ridges=[RIDGE],
            prior=prior if self._ingredients.shrinkage else None,
            share=IDENTITY_SHARE,
            threads=self._answers.threads,
        )
        return compared.take(_used_features(self._ingredients.shrinkage), axis=-1)

    def _representations(
        self, targets: Sequence[int], sides: Sides, apart: NDArray[np.bool_] | None
    ) -> Iterator[tuple[Array, Array]]:
        """Every representation ``[points, models, classes]`` with the shift that is expected in it."""
        for name, x in self._raw.items():
            yield x, self._expected(name, sides.shift(sides.means(x)), sides)
        if self._ingredients.conditioning:
            smoothed = self._smoothed(targets, apart)
            for name in self._conditioned:
                yield self._restored(name, sides, smoothed)

    def _restored(self, name: str, sides: Sides, membership: tuple[Array, Array]) -> tuple[Array, Array]:
        """Conditioned answers with the effect of the membership put back that conditioning took out.

        The smoother that predicts a model's answer from alike models predicts its membership as well, ``smoothed``,
        so the residual holds the effect times the unpredicted part, ``surprise``, only. The effect is estimated from
        the residuals, without the model itself, shrunken towards half the expected shift (membership is +-1 here).
        """
        smoothed, surprise = (each[..., None] for each in membership)
        residuals, deviations = self._conditioned[name], self._variances[name]
        shift = sides.shift(sides.means(residuals))
        expected = self._expected(name, shift, sides)
        variance = remaining_variance(shift, deviations, sides, expected) / 4
        total = np.matmul(surprise.transpose(0, 2, 1), residuals)
        squares = surprise**2
        precision = np.maximum(squares.sum(axis=1, keepdims=True) - squares, LEAST_SURPRISE)
        prior = (expected / 2 * deviations)[:, None]
        restored = np.empty_like(residuals)
        for some in parts(residuals):
            # Numerator and denominator are both multiplied by the precision, which saves divisions.
            effect = surprise[some] * residuals[some]
            np.subtract(total[some], effect, out=effect)
            effect *= variance
            effect += prior[some]
            weight = precision[some] * variance
            weight += deviations[some, None]
            effect /= weight
            effect *= smoothed[some]
            np.add(residuals[some], effect, out=restored[some])
        return restored, expected

    def _smoothed(self, targets: Sequence[int], apart: NDArray[np.bool_] | None) -> tuple[Array, Array]:
        """The membership +-1 that alike shadows predict of each model, and what it leaves, ``[points, models]``.

        Leave-one-out as the residuals are, and without the targets. Their own rows are predicted by all shadows; their
        membership is not known.
        """
        return self._smoothed_by_most(targets) if apart is None else self._smoothed_by_some(targets, apart)

    def _smoothed_by_most(self, targets: Sequence[int]) -> tuple[Array, Array]:
        """By all but the targets, whose removal from the inverse is a downdate of a rank for each."""
        signs = 2.0 * self._answers.membership.T - 1.0
        columns = self._conditioning.inverses[:, :, targets].astype(np.float64)
        # The targets' own signs are taken out of the product that all targets share.
        product = self._inverse_times_signs - np.matmul(columns, signs[:, targets, None])[..., 0]
        signs[:, targets] = 0.0
        corner = np.linalg.inv(columns[:, targets])
        predicted = np.matmul(corner, product[:, targets, None])
        without = product - np.matmul(columns, predicted)[..., 0]
        diagonal = self._diagonals - np.einsum("png,pgh,pnh->pn", columns, corner, columns, optimize=True)
        diagonal[:, targets] = 1.0
        surprise = without / diagonal
        surprise[:, targets] = 0.0
        smoothed: Array = signs - surprise
        smoothed[:, targets] = -predicted[..., 0]
        return smoothed, surprise

    def _smoothed_by_some(self, targets: Sequence[int], apart: NDArray[np.bool_]) -> tuple[Array, Array]:
        """By other models at each point: the inverse is made anew."""
        known = ~apart.T
        known[:, targets] = False
        signs = np.where(known, 2.0 * self._answers.membership.T - 1.0, 0.0)
        surprise, predicted = np.empty_like(signs), np.empty_like(signs)
        for here in self._parts:
            kernels, alike = self._kernels(here), known[here]
            pairs = alike[:, :, None] & alike[:, None, :]
            # Ones on the diagonal of the models apart, so that the matrix falls into blocks and theirs does no harm.
            inverse = np.asarray(np.linalg.inv(np.where(pairs, kernels, np.eye(known.shape[1]))), dtype=np.float64)
            weights = np.where(alike, np.matmul(inverse, signs[here, :, None])[..., 0], 0.0)
            surprise[here] = weights / np.einsum("pnn->pn", inverse)
            predicted[here] = np.matmul(kernels, weights[..., None])[..., 0]
        smoothed: Array = np.where(known, signs - surprise, predicted)
        return smoothed, surprise

    def _expected(self, name: str, shift: Array, sides: Sides) -> Array:
        # What classes there are tells nothing of a probe, whose mean shift is all that there is to know of it.
        fixed = [np.ones_like(shift)] if name == PROBE else self._of_classes
        return expected_shift(shift, sides, fixed, self._neighbours, self._groups)

    @cached_property
    def _profile(self) -> Array:
        """Mean scaled logits over models, float64 ``[points, classes]``."""
        mean: NDArray[np.float32] = profiles(self._answers.predictions, self._answers.threads).scaled.mean(axis=0)
        return mean.astype(np.float64)

    @cached_property
    def _of_classes(self) -> list[Array]:
        return profile_regressors(self._profile)

    @cached_property
    def _groups(self) -> list[NDArray[np.int64]]:
        """Points that may be expected to shift alike: those of one top class, and those of one pretraining label."""
        groups = [self._profile.argmax(axis=1)]
        if self._ingredients.labels and self._answers.pretraining_labels is not None:
            groups.append(np.unique(self._answers.pretraining_labels, return_inverse=True)[1])
        return groups

    @cached_property
    def _raw(self) -> dict[str, Array]:
        return self._used(self._conditioning.raw)

    @cached_property
    def _conditioned(self) -> dict[str, Array]:
        return self._used(self._conditioning.residuals)

    @cached_property
    def _variances(self) -> dict[str, Array]:
        return {name: variances(x) for name, x in self._conditioned.items()}

    @cached_property
    def _telling_odds(self) -> NDArray[np.float32] | None:
        """The odds; what all models agree on tells points apart, not members: nothing is to be learned of it."""
        if self._odds is None:
            return None
        agreed = (self._odds == self._odds[0]).all(axis=0)
        return np.where(agreed, 0, self._odds).astype(np.float32)

    def _used(self, representations: dict[str, NDArray[np.float32]]) -> dict[str, Array]:
        left_out = set() if self._ingredients.contrast else {"contrast"}
        if self._odds is None:
            left_out.add(PROBE)
        return {name: _by_point(x) for name, x in representations.items() if name not in left_out}

    @cached_property
    def _neighbours(self) -> Array:
        return self._conditioning.neighbours.astype(np.float64)

    @cached_property
    def _parts(self) -> list[slice]:
        """Points whose matrices are worked on together, as float64 and several at a time."""
        points, models, _ = self._conditioning.inverses.shape
        size = max(1, MATRIX_ENTRIES // models**2)
        return [slice(start, start + size) for start in range(0, points, size)]

    def _kernels(self, points: slice) -> Array:
        """How alike models are at some points, with the penalty, ``[points, models, models]``."""
        if len(self._parts) > 1:
            return self._inverted(points)
        return self._all_kernels

    @cached_property
    def _all_kernels(self) -> Array:
        return self._inverted(slice(None))

    def _inverted(self, points: slice) -> Array:
        return np.asarray(np.linalg.inv(self._conditioning.inverses[points].astype(np.float64)), dtype=np.float64)

    @cached_property
    def _diagonals(self) -> Array:
        diagonals: Array = np.einsum("pnn->pn", self._conditioning.inverses).astype(np.float64)
        return diagonals

    @cached_property
    def _inverse_times_signs(self) -> Array:
        signs = (2.0 * self._answers.membership.T - 1.0)[..., None]
        inverses = self._conditioning.inverses
        return np.concatenate(
            [np.matmul(inverses[here].astype(np.float64), signs[here])[..., 0] for here in self._parts]
        )


def _by_point(x: NDArray[np.float32]) -> Array:
    return np.ascontiguousarray(x.transpose(1, 0, 2), dtype=np.float64)


@cache
def _used_features(shrinkage: bool) -> list[int]:
    names = [*_core.leave_one_out_feature_names([RIDGE]), *_core.EMPIRICAL_BAYES_FEATURES]
    used = STATISTICS + (tuple(_core.EMPIRICAL_BAYES_FEATURES) if shrinkage else ())
    return [names.index(name) for name in used]
