"""Log-odds as a sum over the features: a penalised logistic regression, whose log-odds boosted trees then correct.

Most features of `tmi.attacks.features.membership` are log-likelihood ratios, and independent ones should be added up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from tmi import _core

# Inverse strength of the penalty of the linear part, whose inputs have deviation 1.
LINEAR_STRENGTH = 0.003
LARGEST_INPUT = 8.0
LEAST_DEVIATION = 1e-3
# Newton's method ends where the slope of the mean loss, and what it would fall by, are no more than this: trees follow.
TOLERANCE = 1e-2
MOST_STEPS = 20
# Small trees, each on a part of the features: larger trees do not help.
RECIPE: Mapping[str, Any] = {"leaves": 7, "rate": 0.1, "least_rows": 100, "bins": 63, "share": 0.4}
# With few shadows there are few rows, and many trees would learn their noise.
ROWS_PER_TREE, MOST_TREES = 320, 50


def learned_log_odds(
    rows: NDArray[np.float32], labels: NDArray[np.bool_], queries: NDArray[np.float32], seed: int
) -> NDArray[np.float64]:
    """Learn to tell True from False.

    Args:
        rows: float32 ``[rows, features]``, finite.
        labels: bool ``[rows]``, both values.
        queries: float32 ``[queries, features]``.
        seed: for the choice of features of every tree.

    Returns:
        float64 ``[queries]``, log-odds of True.
    """
    of_rows, of_queries = _linear_log_odds(rows, labels, queries)
    trees = min(MOST_TREES, len(rows) // ROWS_PER_TREE)
    added = _core.boosted_log_odds(rows, labels, of_rows, queries, trees=trees, seed=seed, **RECIPE)
    return of_queries + added


def _linear_log_odds(
    rows: NDArray[np.float32], labels: NDArray[np.bool_], queries: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log-odds of a penalised logistic regression, for the rows that it was fitted to and for the queries.

    Newton's method. The products of the inputs are those of float32, a matrix with itself, which takes a fifth of the
    time; they decide how fast it converges, the gradient where.
    """
    x, members = _inputs(rows), labels.astype(np.float32)
    centre = np.full(len(x), 1 / len(x), dtype=np.float32) @ x
    x -= centre
    products = (x.T @ x).astype(np.float64)
    deviation = np.sqrt(products.diagonal() / len(x))
    # A feature that hardly varies among the rows, because it is at its limit everywhere, would be blown up elsewhere
    # or taken for the intercept where it is large.
    scale = np.where(deviation > LEAST_DEVIATION * np.maximum(1.0, np.abs(centre)), deviation, 1.0)
    penalty = np.append(scale**2 / LINEAR_STRENGTH, 0.0)
    weights = np.zeros(len(penalty))  # the intercept comes last
    odds = np.zeros(len(x), dtype=np.float32)
    hessian = np.empty((len(weights), len(weights)))
    for step in range(MOST_STEPS):
        p = expit(odds)
        excess = p - members
        gradient = np.append(x.T @ excess, excess.sum(dtype=np.float64)) + penalty * weights
        slope = np.abs(gradient / np.append(scale, 1.0)).max() / len(x)
        # The fall that is left, by the curvature of the step before.
        if step and slope <= TOLERANCE and gradient @ np.linalg.solve(hessian, gradient) / 2 <= TOLERANCE * len(x):
            break
        spread = p * (1 - p)
        if step:
            weighted = x * np.sqrt(spread)[:, None]
            products = weighted.T @ weighted
        else:
            products = products / 4  # at no weights all rows count alike
        hessian[:-1, :-1] = products
        hessian[-1, :-1] = hessian[:-1, -1] = spread @ x
        hessian[-1, -1] = spread.sum(dtype=np.float64)
        hessian[np.diag_indices(len(weights))] += penalty
        weights -= np.linalg.solve(hessian, gradient)
        odds = x @ weights[:-1].astype(np.float32) + np.float32(weights[-1])
    of_queries = (_inputs(queries) - centre) @ weights[:-1].astype(np.float32) + np.float32(weights[-1])
    return odds.astype(np.float64), of_queries.astype(np.float64)


def _inputs(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Features as they are, limited, and on a logarithmic scale that keeps their sign."""
    inputs = np.empty((len(features), 2 * features.shape[1]), dtype=np.float32)
    limited, logarithmic = np.split(inputs, 2, axis=1)
    np.clip(features, -LARGEST_INPUT, LARGEST_INPUT, out=limited)
    np.abs(features, out=logarithmic)
    logarithmic *= 2
    logarithmic += 1
    np.copysign(np.log(logarithmic, out=logarithmic), features, out=logarithmic)
    return inputs
