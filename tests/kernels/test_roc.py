"""ROC curves, their figures and resamples against scikit-learn."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import roc_auc_score, roc_curve

from made.kernels import layouts, seeds, thorough
from tmi import _core


def reference_metrics(scores, labels, rates, weights=None) -> np.ndarray:
    fpr, tpr, _ = roc_curve(labels, scores, sample_weight=weights, drop_intermediate=False)
    auc = roc_auc_score(labels, scores, sample_weight=weights)
    at_rates = [tpr[np.flatnonzero(fpr <= rate)[-1]] for rate in rates]
    return np.array([auc, (1 + (tpr - fpr).max()) / 2, *at_rates])


score_values = st.floats(allow_nan=False) | st.sampled_from([0.0, -0.0, 1.0, 0.25, np.inf, -np.inf])


rate_lists = st.lists(st.floats(0, 1) | st.sampled_from([0.0, 0.5, 1 / 3, 1.0]), max_size=5)


@st.composite
def labelled_scores(draw: Any) -> tuple[np.ndarray, np.ndarray]:
    """Scores with many ties and labels of both kinds, [targets, points]."""
    shape = draw(st.tuples(st.integers(1, 6), st.integers(2, 12)))
    scores = draw(hnp.arrays(np.float64, shape, elements=score_values))
    labels = draw(hnp.arrays(np.bool_, shape))
    labels[0, 0], labels[-1, -1] = True, False
    return scores, labels


def finite(scores: np.ndarray) -> np.ndarray:
    """The same order and ties without infinities, for scikit-learn."""
    return np.unique(scores, return_inverse=True)[1].reshape(scores.shape).astype(np.float64)


@thorough
@given(labelled_scores(), layouts)
def test_roc_curve_is_that_of_scikit_learn(data, layout):
    scores, labels = (array.ravel() for array in data)
    fpr, tpr, thresholds = _core.roc_curve(layout(scores), layout(labels))
    expected_fpr, expected_tpr, _ = roc_curve(labels, finite(scores), drop_intermediate=False)
    np.testing.assert_array_equal(fpr, expected_fpr)
    np.testing.assert_array_equal(tpr, expected_tpr)
    np.testing.assert_array_equal(thresholds, [np.inf, *np.unique(scores)[::-1]])


@thorough
@given(labelled_scores(), rate_lists, layouts)
def test_roc_metrics_are_those_of_scikit_learn(data, rates, layout):
    scores, labels = data
    metrics = _core.roc_metrics(layout(scores), layout(labels), np.array(rates, np.float64))
    expected = reference_metrics(finite(scores).ravel(), labels.ravel(), rates)
    np.testing.assert_allclose(metrics, expected, rtol=1e-14, atol=1e-14)


@thorough
@given(labelled_scores(), rate_lists, seeds, layouts)
def test_resamples_are_those_of_scikit_learn(data, rates, seed, layout):
    scores, labels = data
    rng = np.random.default_rng(seed)
    targets, points = (rng.multinomial(n, [1 / n] * n, size=4).astype(np.uint16) for n in scores.shape)
    metrics = _core.roc_resample(
        layout(scores), layout(labels), layout(targets), layout(points), np.array(rates, np.float64)
    )
    for row, target_weights, point_weights in zip(metrics, targets, points, strict=True):
        weights = np.outer(target_weights, point_weights).ravel().astype(np.float64)
        if len(np.unique(labels.ravel()[weights > 0])) < 2:
            np.testing.assert_array_equal(row, [0.5, 0.5] + [0.0] * len(rates))
            continue
        expected = reference_metrics(finite(scores).ravel(), labels.ravel(), rates, weights)
        np.testing.assert_allclose(row, expected, rtol=1e-12, atol=1e-12)


@thorough
@given(labelled_scores(), rate_lists)
def test_each_entry_once_is_no_resampling(data, rates):
    scores, labels = data
    once = [np.ones((1, n), np.uint16) for n in scores.shape]
    rates = np.array(rates, np.float64)
    np.testing.assert_array_equal(
        _core.roc_resample(scores, labels, *once, rates)[0], _core.roc_metrics(scores, labels, rates)
    )


def test_the_largest_weights_do_not_overflow():
    scores, labels = np.array([[3.0, 2.0, 1.0, 0.0]] * 2), np.array([[True, False, True, False]] * 2)
    heavy = [np.full((1, n), 65535, np.uint16) for n in scores.shape]
    metrics = _core.roc_resample(scores, labels, *heavy, np.array([0.5]))[0]
    np.testing.assert_allclose(metrics, [0.75, 0.75, 1.0], rtol=1e-15)
