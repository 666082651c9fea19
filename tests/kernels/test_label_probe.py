"""The label probe against its definition, one model and one point at a time."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp

from made.kernels import layouts, predictions_like, scales, seeds, thorough
from tmi import _core


def reference_odds(x: np.ndarray, labels: np.ndarray, weights: np.ndarray, penalty: float) -> np.ndarray:
    """Log odds of the points of one model, float64 [points]; every mean is summed anew without its point."""
    x, weights = x.astype(np.float64), weights.astype(np.float64)
    odds = np.zeros(len(x))
    if not weights.any():
        return odds
    x = x - np.average(x, axis=0, weights=weights)

    def mean_of(label: int, without: int | None = None) -> np.ndarray:
        teaches = (labels == label) & (np.arange(len(x)) != without)
        return weights[teaches] @ x[teaches] / (weights[teaches].sum() + 1)

    residuals = x - np.stack([mean_of(label) for label in labels])
    scatter = np.cov(residuals.T, aweights=weights, ddof=0).reshape(x.shape[1], -1)
    offset = np.average(residuals, axis=0, weights=weights)
    scatter += np.outer(offset, offset)  # np.cov is about the mean of the residuals, which pseudo-counts move from 0
    covariance = (1 - penalty) * scatter + penalty * np.diag(scatter).mean() * np.eye(len(scatter))
    if not scatter.any():
        return odds
    whitening = np.linalg.inv(np.linalg.cholesky(covariance))
    taught = np.unique(labels[weights > 0])
    for p, own in enumerate(labels):
        others = taught[taught != own]
        if len(others) and np.delete(weights, p)[np.delete(labels, p) == own].any():
            means = np.stack([mean_of(own, without=p), *(mean_of(label) for label in others)])
            densities = -0.5 * ((whitening @ (x[p] - means).T) ** 2).sum(0)
            odds[p] = densities[0] - logsumexp(densities[1:])
    return odds


def labels_like(seed: int, points: int, distinct: int) -> np.ndarray:
    """Labels of which the first two are different."""
    rng = np.random.default_rng(seed + 1)
    names = rng.choice(np.array([-5, 0, 3, 10**12, -(2**63), 2**63 - 1, *range(50, 70)]), distinct, replace=False)
    labels = rng.choice(names, points)
    labels[:2] = names[:2]
    return labels


@thorough
@given(
    seeds,
    st.tuples(st.integers(1, 3), st.integers(2, 70), st.integers(1, 8)),
    st.integers(2, 20),
    st.sampled_from(["ones", "some", "shares", "none"]),
    st.floats(0.001, 1),
    scales,
    layouts,
)
def test_label_probe(seed, shape, distinct, teachers, penalty, scale, layout):
    models, points, _ = shape
    rng = np.random.default_rng(seed)
    x, labels = predictions_like(seed, shape, scale=scale), labels_like(seed, points, distinct)
    weights = {
        "ones": np.ones((models, points)),
        "some": rng.random((models, points)) < 0.4,
        "shares": rng.random((models, points)) ** 3,
        "none": np.zeros((models, points)),
    }[teachers].astype(np.float32)
    odds = _core.label_probe(layout(x), layout(labels), layout(weights), penalty=penalty)
    assert odds.shape == (models, points)
    assert odds.dtype == np.float64
    for n in range(models):
        truth = reference_odds(x[n], labels, weights[n], penalty)
        # What is left of a covariance from few teachers is the penalty, which makes distances large.
        np.testing.assert_allclose(odds[n], truth, rtol=1e-6, atol=1e-5)


def test_points_tell_their_labels_where_answers_do():
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 5, 400)
    noise = rng.normal(size=(2, 400, 6)).astype(np.float32)
    telling = noise + 2 * rng.normal(size=(5, 6)).astype(np.float32)[labels]
    odds = _core.label_probe(np.concatenate([telling, noise]), labels, np.ones((4, 400), np.float32))
    assert (odds[:2] > 0).mean() > 0.9
    # Without anything to tell, the other four labels are likelier together.
    np.testing.assert_allclose(odds[2:].mean(1), -np.log(4), atol=0.15)


def test_a_teacher_does_not_teach_its_own_odds():
    """A label of two points that lie apart: each one's odds are those of the other's mean, however near its own."""
    x = predictions_like(4, (1, 60, 3), scale=1.0)
    x[0, 0], x[0, 1] = 9.0, -9.0
    labels = np.repeat([0, 1, 2, 3], [2, 20, 20, 18])
    odds = _core.label_probe(x, labels, np.ones((1, 60), np.float32))
    assert (odds[0, :2] < -5).all()
