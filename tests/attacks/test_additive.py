"""The metaclassifier of `tmi` against scikit-learn and LightGBM."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from tmi import _core
from tmi.attacks.metaclassifiers import additive

Floats = np.ndarray


def learned(rows: int = 3000, features: int = 12, seed: int = 0) -> tuple[Floats, Floats, Floats, Floats]:
    """Rows and queries with labels, of which some show in single features, some in products of two."""
    random = np.random.default_rng(seed)
    x = random.standard_t(4, size=(2, rows, features)).astype(np.float32)
    odds = x[..., 0] - 0.5 * x[..., 1] + np.clip(x[..., 2] * x[..., 3], -3, 3)
    y = random.random((2, rows)) < expit(odds)
    return x[0], y[0], x[1], y[1]


@pytest.mark.parametrize("constant", [False, True])
def test_the_linear_part_is_a_penalised_logistic_regression(constant: bool) -> None:
    rows, labels, queries, _ = learned()
    if constant:
        rows[:, 4] = 1e-7 * rows[:, 4] + 8
        queries[:, 4] = 8
    of_rows, of_queries = additive._linear_log_odds(rows, labels, queries)

    def inputs(x: Floats) -> Floats:
        return np.concatenate([np.clip(x, -8, 8), np.sign(x) * np.log1p(2 * np.abs(x))], axis=1, dtype=np.float64)

    x = inputs(rows)
    scale = np.where(x.std(axis=0) > 1e-3 * np.maximum(1, np.abs(x.mean(axis=0))), x.std(axis=0), 1)
    model = LogisticRegression(C=0.003, solver="newton-cholesky", tol=1e-10).fit(x / scale, labels)
    np.testing.assert_allclose(of_rows, model.decision_function(x / scale), atol=0.05)
    np.testing.assert_allclose(of_queries, model.decision_function(inputs(queries) / scale), atol=0.05)


def test_trees_are_as_good_as_those_of_lightgbm() -> None:
    recipe: dict[str, Any] = {"leaves": 7, "rate": 0.1, "least_rows": 100, "bins": 63}
    names = {"num_leaves": 7, "learning_rate": 0.1, "min_data_in_leaf": 100, "max_bin": 63, "num_threads": 1}
    losses = []
    for seed in (1, 2, 3):
        rows, labels, queries, truth = learned(rows=6000, seed=seed)
        of_rows, of_queries = (0.5 * x[:, 0].astype(np.float64) for x in (rows, queries))
        ours = _core.boosted_log_odds(rows, labels, of_rows, queries, trees=40, share=1.0, seed=0, **recipe)
        data = lightgbm.Dataset(rows, label=labels.astype(np.float32), init_score=of_rows)
        booster = lightgbm.train({"objective": "binary", "verbose": -1, **names}, data, 40)
        theirs = booster.predict(queries, raw_score=True)
        # Other boundaries of bins make trees of LightGBM as different from one another.
        assert np.corrcoef(ours, theirs)[0, 1] > 0.93
        losses.append([log_loss(truth, expit(of_queries + added)) for added in (ours, theirs, 0)])
    ours, theirs, before = np.mean(losses, axis=0)
    assert ours < theirs + 0.005 < before - 0.03


def test_the_whole_of_it_learns_what_no_line_separates() -> None:
    rows, labels, queries, truth = learned(rows=8000)
    whole = log_loss(truth, expit(additive.learned_log_odds(rows, labels, queries, 0)))
    linear = log_loss(truth, expit(additive._linear_log_odds(rows, labels, queries)[1]))
    assert whole < linear - 0.02
    # Of few rows only the linear part learns anything.
    few = additive.learned_log_odds(rows[:300], labels[:300], queries, 0)
    np.testing.assert_array_equal(few, additive._linear_log_odds(rows[:300], labels[:300], queries)[1])
