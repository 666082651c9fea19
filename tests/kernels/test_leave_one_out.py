"""What compares a target with its shadows, against one model at a time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from made.kernels import float_types, layouts, predictions_like, reference_scaled, scales, seeds, thorough
from tmi import _core


def reference_lda(x, inside, outside, ridge: float) -> float:
    """Discriminant score of one row against the rows of its IN and OUT shadows, by a full solve."""
    mean_in, mean_out = inside.mean(0), outside.mean(0)
    deviations = np.concatenate([inside - mean_in, outside - mean_out])
    covariance = deviations.T @ deviations / max(len(deviations) - 2, 1)
    shrinkage = ridge * max(np.trace(covariance) / len(x), 1e-6)
    solved = np.linalg.solve(covariance + shrinkage * np.eye(len(x)), mean_in - mean_out)
    return solved @ (x - (mean_in + mean_out) / 2)


def reference_features(x, inside, outside, ridges) -> np.ndarray:
    """The features of one model at one point, straight from their definitions."""
    top = x.argmax()
    if not len(inside) or not len(outside):
        return np.array([0.0] * 12 + [x[top]] + [0.0] * len(ridges))
    mean_in, mean_out = inside.mean(0), outside.mean(0)
    squares_in, squares_out = ((inside - mean_in) ** 2).sum(0), ((outside - mean_out) ** 2).sum(0)
    pooled = (squares_in + squares_out) / max(len(inside) + len(outside) - 2, 1)
    floor = max(1e-3 * pooled.mean(), 1e-6)
    shared = np.maximum(pooled, floor)
    own_in = 0.7 * np.maximum(squares_in / max(len(inside) - 1, 1), floor) + 0.3 * shared
    own_out = 0.7 * np.maximum(squares_out / max(len(outside) - 1, 1), floor) + 0.3 * shared
    d_in, d_out, sd = x - mean_in, x - mean_out, np.sqrt(shared)
    llr = (d_out**2 - d_in**2) / (2 * shared)
    separate = (d_out**2 / own_out + np.log(own_out) - d_in**2 / own_in - np.log(own_in)) / 2
    features = [
        llr.sum(),
        separate.sum(),
        llr[top],
        separate[top],
        d_out[top] / sd[top],
        d_in[top] / sd[top],
        (mean_in - mean_out)[top] / sd[top],
        ((mean_in - mean_out) ** 2 / shared).sum(),
        llr.max(),
        llr.min(),
        np.sqrt((d_out**2 / shared).sum()),
        np.sqrt((d_in**2 / shared).sum()),
        x[top],
        *(reference_lda(x, inside, outside, ridge) for ridge in ridges),
    ]
    return np.clip(features, -1e6, 1e6)


def sides(membership: np.ndarray, left_out: set[int]) -> tuple[list[int], list[int]]:
    """Indices of the IN and the OUT shadows of a point."""
    shadows = [i for i in range(len(membership)) if i not in left_out]
    return [i for i in shadows if membership[i]], [i for i in shadows if not membership[i]]


def reference_lira(scaled, logits, membership, target: int, covariance: str) -> float:
    """Adapted LiRA at one point: scaled and raw logits [models, augmentations, classes]."""
    inside, outside = sides(membership, {target})
    if not inside or not outside:
        return 0.0
    augmentations = np.arange(scaled.shape[1])
    answers = scaled[:, augmentations, logits[target].argmax(-1)]
    offsets = [answers[target] - answers[side].mean(0) for side in (inside, outside)]
    deviations = [answers[side] - answers[side].mean(0) for side in (inside, outside)]
    scatters = [d.T @ d for d in deviations]
    pooled = sum(scatters) / max(len(inside) + len(outside) - 2, 1)
    variance = np.trace(pooled) / len(pooled)
    if covariance == "pooled":
        matrices = [0.7 * pooled + 0.3 * variance * np.eye(len(pooled))] * 2
    else:
        counts = (len(inside), len(outside))
        matrices = [s / (n - 1) if n > 1 else pooled for s, n in zip(scatters, counts, strict=True)]
    if covariance == "diagonal":
        matrices = [np.diag(np.diag(matrix)) for matrix in matrices]
    jitter = max(1e-6 * variance, 1e-9) * np.eye(len(pooled))
    density_in, density_out = (
        -(offset @ np.linalg.solve(matrix + jitter, offset) + np.linalg.slogdet(matrix + jitter)[1]) / 2
        for offset, matrix in zip(offsets, matrices, strict=True)
    )
    return density_in - density_out


def membership_like(seed: int, models: int, points: int, share: float = 0.5) -> np.ndarray:
    return np.random.default_rng(seed + 1).random((models, points)) < share


@thorough
@given(
    seeds,
    st.tuples(st.integers(1, 20), st.integers(1, 4), st.integers(1, 12)),
    st.sampled_from([0.5, 0.5, 0.1, 0.9, 0.0, 1.0]),
    scales,
    layouts,
)
def test_leave_one_out_features(seed, shape, share, scale, layout):
    models, points, _ = shape
    x = predictions_like(seed, shape, scale=scale)
    membership = membership_like(seed, models, points, share)
    target, ridges = seed % models, (0.05, 0.5, 2.0)
    features = _core.leave_one_out_features(layout(x), layout(membership), target, ridges=ridges)
    assert features.shape == (models * points, 13 + len(ridges))
    assert features.shape[-1] == len(_core.leave_one_out_feature_names(ridges))
    features = features.reshape(models, points, -1)
    for n in range(models):
        for p in range(points):
            inside, outside = sides(membership[:, p], {target, n})
            row = x[:, p].astype(np.float64)
            truth = reference_features(row[n], row[inside], row[outside], ridges)
            np.testing.assert_allclose(features[n, p], truth, rtol=2e-6, atol=1e-5)


def test_leave_one_out_ignores_the_target():
    x, membership = predictions_like(1, (12, 7, 5)), membership_like(1, 12, 7)
    changed, flipped = x.copy(), membership.copy()
    changed[3] += 100
    flipped[3] ^= True
    before, after = (
        np.delete(_core.leave_one_out_features(a, b, 3).reshape(12, 7, -1), 3, axis=0)
        for a, b in ((x, membership), (changed, flipped))
    )
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("size", [1e2, 1e4, 1e7])
def test_an_outlier_is_left_out_exactly(size):
    x, membership = predictions_like(2, (20, 3, 6)), membership_like(2, 20, 3)
    x[5] = size * np.sign(x[5])
    names = _core.leave_one_out_feature_names()
    lda = _core.leave_one_out_features(x, membership, 0).reshape(20, 3, -1)[5, :, names.index("lda_0.5")]
    for p in range(3):
        inside, outside = sides(membership[:, p], {0, 5})
        row = x[:, p].astype(np.float64)
        truth = np.clip(reference_lda(row[5], row[inside], row[outside], 0.5), -1e6, 1e6)
        np.testing.assert_allclose(lda[p], truth, rtol=1e-6)


@pytest.mark.parametrize("value", [0.0, -3.5, 3e38])
def test_identical_models_give_finite_features(value):
    x = np.full((9, 4, 3), value, np.float32)
    features = _core.leave_one_out_features(x, membership_like(3, 9, 4), 0)
    assert np.isfinite(features).all()


def test_feature_names():
    names = _core.leave_one_out_feature_names((0.25, 3))
    assert names[0] == "llr_shared"
    assert names[-3:] == ["top_value", "lda_0.25", "lda_3"]
    assert _core.leave_one_out_feature_names()[-2:] == ["lda_0.5", "lda_2"]


@thorough
@given(
    seeds,
    st.tuples(st.integers(1, 30), st.integers(1, 4), st.integers(1, 12)),
    st.sampled_from([0.5, 0.5, 0.1, 0.0]),
    st.floats(0.001, 10),
    layouts,
)
def test_gaussian_scores(seed, shape, share, ridge, layout):
    models, points, _ = shape
    x = predictions_like(seed, shape)
    membership = membership_like(seed, models, points, share)
    targets = np.random.default_rng(seed).integers(0, models, 5)
    scores = _core.gaussian_scores(layout(x), layout(membership), targets, ridge=ridge)
    assert scores.shape == (5, points)
    for t, target in enumerate(targets):
        for p in range(points):
            inside, outside = sides(membership[:, p], {target})
            row = x[:, p].astype(np.float64)
            truth = 0.0
            if inside and outside:
                truth = reference_lda(row[target], row[inside], row[outside], ridge)
            np.testing.assert_allclose(scores[t, p], truth, rtol=1e-7, atol=1e-7)


@thorough
@given(
    seeds,
    st.tuples(st.integers(1, 40), st.integers(1, 3), st.integers(1, 8), st.integers(2, 6)),
    st.sampled_from(["full", "pooled", "diagonal"]),
    st.sampled_from([0.5, 0.1, 0.0]),
    float_types,
    layouts,
)
def test_adapted_lira(seed, shape, covariance, share, dtype, layout):
    models, points, augmentations, _ = shape
    predictions = predictions_like(seed, shape, dtype)
    membership = membership_like(seed, models, points, share)
    targets = np.random.default_rng(seed).integers(0, models, 3)
    scores = _core.adapted_lira(layout(predictions), layout(membership), targets, covariance=covariance)
    scaled = reference_scaled(predictions)
    for t, target in enumerate(targets):
        for p in range(points):
            counts = [len(side) for side in sides(membership[:, p], {target})]
            # Fewer shadows than augmentations leave only the jitter between the score and infinity.
            singular = covariance == "full" and 0 < min(counts) <= augmentations
            near = {"rtol": 2e-3, "atol": 1.0} if singular else {"rtol": 2e-5, "atol": 2e-4}
            truth = reference_lira(scaled[:, p], predictions[:, p], membership[:, p], target, covariance)
            np.testing.assert_allclose(scores[t, p], truth, **near)


def test_repeated_queries_leave_adapted_lira_defined():
    predictions, membership = predictions_like(4, (40, 30, 3, 5)), membership_like(4, 40, 30)
    twice = np.concatenate([predictions, predictions[:, :, 1:2]], axis=2)
    targets = np.arange(4)
    once = _core.adapted_lira(predictions, membership, targets)
    repeated = _core.adapted_lira(twice, membership, targets)
    assert np.isfinite(repeated).all()
    np.testing.assert_allclose(repeated, once, atol=1e-3)
