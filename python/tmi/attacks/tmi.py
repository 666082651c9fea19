"""The default attack: one metaclassifier for all points learns from the shadows what membership does to the answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from tmi.attacks.features.membership import Evidence, Ingredients
from tmi.attacks.metaclassifiers.lightgbm import fit_and_score
from tmi.attacks.registry import register
from tmi.predictions.attack_input import AttackInput
from tmi.system.seeding import stream

# Small trees, each on a part of the features: larger trees do not help.
RECIPE = {
    "num_leaves": 7,
    "learning_rate": 0.05,
    "min_data_in_leaf": 100,
    "max_bin": 63,
    "feature_fraction": 0.4,
}
# Rows (a shadow at a point) that one classifier is trained on; more cost time and add next to nothing.
MOST_ROWS = 20_000
# With few shadows there are few rows, and many trees would learn their noise.
ROWS_PER_TREE, MOST_TREES = 160, 100
# Points that are worked on at a time: fewer the more models there are, so that their matrices fit the memory.
LEAST_POINTS, MOST_POINTS = 200, 2_000
MATRIX_ENTRIES = 100_000_000
# Inverse strength of the penalty of the linear part, whose inputs have deviation 1.
LINEAR_STRENGTH = 0.01
LARGEST_INPUT = 8.0


@register
class Tmi:
    """One metaclassifier for all points of a target.

    Each row is a shadow at a point, described by how its answers compare with those of the other shadows that were and
    were not trained on that point (`tmi.attacks.features.membership`). What membership looks like in these terms is
    much the same at every point, so thousands of rows teach one classifier where the paper's has dozens. Most features
    are log-likelihood ratios, and independent ones should be added up: so a penalised logistic regression weighs the
    features, and LightGBM corrects its log-odds.
    """

    name = "tmi"
    summary = "one LightGBM for all points, on raw and conditioned answers compared with the shadows'"
    source = "after Abascal et al. 2024; one metaclassifier for all points, conditioning and shrinkage are new"
    needs: Literal["shadow models"] = "shadow models"
    upper_bound = False
    point_by_point = False
    ingredients = Ingredients()

    def score(self, answers: AttackInput, targets: Sequence[int]) -> NDArray[np.float64]:
        """The classifier's log-odds of membership."""

        def score(answers: AttackInput) -> NDArray[np.float64]:
            evidence = Evidence(answers, self.ingredients)
            return np.stack([_score_target(answers, evidence.of_target(target), target) for target in targets])

        return _in_windows(answers, score)


@register
class TmiUnconditioned(Tmi):
    """`tmi` on the raw answers alone."""

    name = "tmi-unconditioned"
    summary = "tmi without conditioning the answers on those at other points"
    ingredients = Ingredients(conditioning=False)


@register
class TmiUnshrunken(Tmi):
    """`tmi` without empirical Bayes."""

    name = "tmi-unshrunken"
    summary = "tmi without shrinking the effect towards what other points show"
    ingredients = Ingredients(shrinkage=False)


@register
class TmiWithoutContrast(Tmi):
    """`tmi` without the contrast between a point and its augmentations."""

    name = "tmi-without-contrast"
    summary = "tmi without the difference between the answers to a point and to its augmentations"
    ingredients = Ingredients(contrast=False)


@register
class Conditional:
    """The shrunken likelihood ratio of the conditioned answers to the points themselves: no metaclassifier."""

    name = "conditional"
    summary = "likelihood ratio on answers conditioned on the model's other answers; no LightGBM"
    source = ""
    needs: Literal["shadow models"] = "shadow models"
    upper_bound = False
    point_by_point = False

    def score(self, answers: AttackInput, targets: Sequence[int]) -> NDArray[np.float64]:
        """The log-likelihood ratio of each target's conditioned answers."""

        def score(answers: AttackInput) -> NDArray[np.float64]:
            evidence = Evidence(answers)
            return np.stack([evidence.conditional_scores(target) for target in targets])

        return _in_windows(answers, score)


def _in_windows(answers: AttackInput, score: Callable[[AttackInput], NDArray[np.float64]]) -> NDArray[np.float64]:
    """Scores of all points, a window of them at a time.

    Conditioning takes memory for points x (models^2 + points) numbers, and the points of a window explain one another
    as well as more points would. The windows depend on the shape of the answers alone, so that they are part of the
    attack and change with no setting of the machine.
    """
    models, points, _, _ = answers.predictions.shape
    size = min(MOST_POINTS, max(LEAST_POINTS, MATRIX_ENTRIES // models**2))
    windows = -(-points // size)
    bounds = [points * window // windows for window in range(windows + 1)]
    with threadpool_limits(1):  # the number of BLAS threads could change the last bits
        return np.concatenate([score(answers.at(slice(*ends))) for ends in pairwise(bounds)], axis=1)


def _score_target(answers: AttackInput, features: NDArray[np.float32], target: int) -> NDArray[np.float64]:
    models, points, columns = features.shape
    shadows = np.arange(models) != target
    rows = features[shadows].reshape(-1, columns)
    labels = answers.membership[shadows].reshape(-1)
    if len(rows) > MOST_ROWS:
        chosen = np.sort(stream(answers.seed, "metaclassifier rows").permutation(len(rows))[:MOST_ROWS])
        rows, labels = rows[chosen], labels[chosen]
    # Nothing to learn: one kind of label, or so few shadows that no row could be compared with others.
    if labels.all() or not labels.any() or not rows.any():
        return np.zeros(points)
    start = _linear_log_odds(rows, labels, features[target])
    recipe = RECIPE | {"trees": min(MOST_TREES, len(rows) // ROWS_PER_TREE)}
    return fit_and_score(rows, labels, features[target], recipe, answers.seed, start)


def _linear_log_odds(
    rows: NDArray[np.float32], labels: NDArray[np.bool_], queries: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log-odds of a penalised logistic regression, for the rows that it was fitted to and for the queries."""
    inputs = _linear_inputs(rows)
    scale = inputs.std(axis=0) + 1e-9
    model = LogisticRegression(C=LINEAR_STRENGTH, solver="newton-cholesky", tol=1e-3)
    model.fit(inputs / scale, labels)
    return model.decision_function(inputs / scale), model.decision_function(_linear_inputs(queries) / scale)


def _linear_inputs(features: NDArray[np.float32]) -> NDArray[np.float64]:
    """Features as they are, limited, and on a logarithmic scale that keeps their sign."""
    x = features.astype(np.float64)
    return np.concatenate([np.clip(x, -LARGEST_INPUT, LARGEST_INPUT), np.sign(x) * np.log1p(2 * np.abs(x))], axis=-1)
