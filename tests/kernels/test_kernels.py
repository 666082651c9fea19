"""What the Rust kernels compute, against plain NumPy, SciPy and scikit-learn."""

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import logsumexp
from sklearn.metrics import roc_auc_score, roc_curve

from tmi import _core

# No deadline: on a shared machine any example may take long.
thorough = settings(deadline=None, max_examples=60)

# ------------------------------------------------------------------------------------------ references


def reference_scaled(logits: np.ndarray) -> np.ndarray:
    z = np.clip(logits.astype(np.float64), -1e4, 1e4)
    others = [logsumexp(np.delete(z, c, axis=-1), axis=-1) for c in range(z.shape[-1])]
    return z - np.stack(others, axis=-1)


def reference_clipped(scaled: np.ndarray, limit: float = 1.0) -> np.ndarray:
    return scaled * (limit / np.maximum(np.linalg.norm(scaled, axis=-1, keepdims=True), limit))


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


def reference_metrics(scores, labels, rates, weights=None) -> np.ndarray:
    fpr, tpr, _ = roc_curve(labels, scores, sample_weight=weights, drop_intermediate=False)
    auc = roc_auc_score(labels, scores, sample_weight=weights)
    at_rates = [tpr[np.flatnonzero(fpr <= rate)[-1]] for rate in rates]
    return np.array([auc, (1 + (tpr - fpr).max()) / 2, *at_rates])


# ------------------------------------------------------------------------------------------------ data


def predictions_like(seed: int, shape: tuple[int, ...], dtype=np.float32, scale: float = 4.0) -> np.ndarray:
    return (scale * np.random.default_rng(seed).normal(size=shape)).astype(dtype)


def membership_like(seed: int, models: int, points: int, share: float = 0.5) -> np.ndarray:
    return np.random.default_rng(seed + 1).random((models, points)) < share


def strided(array: np.ndarray) -> np.ndarray:
    """The same values in a view that is contiguous along no axis and runs backwards along the first."""
    padded = np.zeros(tuple(2 * n + 1 for n in array.shape), array.dtype)
    view = padded[tuple(slice(1, None, 2) for _ in array.shape)][::-1]
    view[...] = array
    assert not view.flags.c_contiguous or array.size <= 1
    return view


seeds = st.integers(0, 2**32 - 1)
float_types = st.sampled_from([np.float32, np.float16])
layouts = st.sampled_from([np.ascontiguousarray, np.asfortranarray, strided])
scales = st.sampled_from([0.01, 1.0, 8.0, 60.0])

# ---------------------------------------------------------------------------------------------- logits


@thorough
@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 40), st.integers(2, 12)),
        elements=st.floats(-200, 200, width=32) | st.sampled_from([0.0, 1.0, np.inf, -np.inf, 3e38]),
    ),
    layouts,
)
@example(np.array([[90, 0, 0], [1e4, -1e4, -1e4], [-np.inf] * 3, [np.inf, np.inf, 0]], np.float32), strided)
def test_scaled_logits_are_log_odds_to_float32_rounding(logits, layout):
    scaled = _core.scale_logits(layout(logits))
    truth = reference_scaled(logits)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled, truth, rtol=3e-7, atol=6e-7)


@thorough
@given(seeds, st.integers(1, 70), st.integers(2, 20), scales, layouts)
def test_float16_is_read_exactly(seed, rows, classes, scale, layout):
    logits = predictions_like(seed, (rows, classes), np.float16, scale)
    np.testing.assert_array_equal(_core.scale_logits(layout(logits)), _core.scale_logits(logits.astype(np.float32)))


@thorough
@given(seeds, st.integers(1, 40), st.integers(2, 12), st.floats(0.01, 100), scales)
def test_clipping_bounds_the_norm(seed, rows, classes, limit, scale):
    logits = predictions_like(seed, (rows, classes), scale=scale)
    clipped = _core.scale_logits(logits, clip_norm=limit)
    np.testing.assert_allclose(clipped, reference_clipped(reference_scaled(logits), limit), rtol=2e-6, atol=2e-6)


def test_confidence_far_beyond_float32_probabilities_is_kept():
    logits = np.array([[40.0, 0.0, 0.0], [500.0, 0.0, -1.0]], np.float32)
    scaled = _core.scale_logits(logits)
    np.testing.assert_allclose(scaled[:, 0], [40 - np.log(2), 500 - np.log1p(np.exp(-1))], rtol=1e-7)


@thorough
@given(
    seeds,
    st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(1, 9), st.integers(2, 11)),
    float_types,
    scales,
    layouts,
)
def test_reduced_logits(seed, shape, dtype, scale, layout):
    predictions = predictions_like(seed, shape, dtype, scale)
    scaled, clipped, spread = _core.reduce_logits(layout(predictions))
    truth = reference_scaled(predictions)
    # The mean may be much smaller than what it is of.
    near = {"rtol": 1e-6, "atol": 2e-6 + 3e-7 * np.abs(truth).max()}
    np.testing.assert_allclose(scaled, truth.mean(2), **near)
    np.testing.assert_allclose(clipped, reference_clipped(truth).mean(2), **near)
    np.testing.assert_allclose(spread, truth.max(-1).std(2), **near)
    assert scaled.dtype == clipped.dtype == spread.dtype == np.float32


def test_memory_maps_are_read_in_place(tmp_path):
    predictions = predictions_like(0, (5, 40, 3, 4), np.float16)
    np.save(tmp_path / "predictions.npy", predictions)
    mapped = np.load(tmp_path / "predictions.npy", mmap_mode="r")
    for result, expected in zip(_core.reduce_logits(mapped), _core.reduce_logits(predictions), strict=True):
        np.testing.assert_array_equal(result, expected)


# ------------------------------------------------------------------------------- leave-one-out statistics


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
    assert features.shape == (models, points, 13 + len(ridges))
    assert features.shape[-1] == len(_core.leave_one_out_feature_names(ridges))
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
        np.delete(_core.leave_one_out_features(a, b, 3), 3, axis=0) for a, b in ((x, membership), (changed, flipped))
    )
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("size", [1e2, 1e4, 1e7])
def test_an_outlier_is_left_out_exactly(size):
    x, membership = predictions_like(2, (20, 3, 6)), membership_like(2, 20, 3)
    x[5] = size * np.sign(x[5])
    names = _core.leave_one_out_feature_names()
    lda = _core.leave_one_out_features(x, membership, 0)[5, :, names.index("lda_0.5")]
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


# ------------------------------------------------------------------------------------------ adapted LiRA


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


# -------------------------------------------------------------------------------------------------- ROC

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
