"""The Rust kernels against plain NumPy, SciPy and scikit-learn."""

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import logsumexp
from sklearn.metrics import roc_auc_score, roc_curve

from tmi import _core

settings.register_profile("core", deadline=None, max_examples=60)
settings.load_profile("core")

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


@given(seeds, st.integers(1, 70), st.integers(2, 20), scales, layouts)
def test_float16_is_read_exactly(seed, rows, classes, scale, layout):
    logits = predictions_like(seed, (rows, classes), np.float16, scale)
    np.testing.assert_array_equal(_core.scale_logits(layout(logits)), _core.scale_logits(logits.astype(np.float32)))


@given(seeds, st.integers(1, 40), st.integers(2, 12), st.floats(0.01, 100), scales)
def test_clipping_bounds_the_norm(seed, rows, classes, limit, scale):
    logits = predictions_like(seed, (rows, classes), scale=scale)
    clipped = _core.scale_logits(logits, clip_norm=limit)
    np.testing.assert_allclose(clipped, reference_clipped(reference_scaled(logits), limit), rtol=2e-6, atol=2e-6)


def test_confidence_far_beyond_float32_probabilities_is_kept():
    logits = np.array([[40.0, 0.0, 0.0], [500.0, 0.0, -1.0]], np.float32)
    scaled = _core.scale_logits(logits)
    np.testing.assert_allclose(scaled[:, 0], [40 - np.log(2), 500 - np.log1p(np.exp(-1))], rtol=1e-7)


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
    near = {"rtol": 1e-6, "atol": 2e-6}
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


@given(
    seeds,
    st.tuples(st.integers(1, 20), st.integers(1, 4), st.integers(1, 12)),
    st.sampled_from([0.5, 0.5, 0.1, 0.9, 0.0, 1.0]),
    scales,
    layouts,
)
@settings(max_examples=80)
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


@given(labelled_scores(), layouts)
def test_roc_curve_is_that_of_scikit_learn(data, layout):
    scores, labels = (array.ravel() for array in data)
    fpr, tpr, thresholds = _core.roc_curve(layout(scores), layout(labels))
    expected_fpr, expected_tpr, _ = roc_curve(labels, finite(scores), drop_intermediate=False)
    np.testing.assert_array_equal(fpr, expected_fpr)
    np.testing.assert_array_equal(tpr, expected_tpr)
    np.testing.assert_array_equal(thresholds, [np.inf, *np.unique(scores)[::-1]])


@given(labelled_scores(), rate_lists, layouts)
def test_roc_metrics_are_those_of_scikit_learn(data, rates, layout):
    scores, labels = data
    metrics = _core.roc_metrics(layout(scores), layout(labels), np.array(rates, np.float64))
    expected = reference_metrics(finite(scores).ravel(), labels.ravel(), rates)
    np.testing.assert_allclose(metrics, expected, rtol=1e-14, atol=1e-14)


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


# ------------------------------------------------------------------------------- threads and interpreter


def calls(points: int = 150) -> dict[str, Callable[[int], Any]]:
    """Every threaded kernel on fixed data, as a function of the number of threads."""
    predictions = predictions_like(5, (33, points, 4, 7))
    x, membership, targets = predictions[:, :, 0], membership_like(5, 33, points), np.arange(0, 33, 5)
    scores, labels = predictions[:9, :, 0, 0].astype(np.float64), membership[:9]
    weights = [np.random.default_rng(n).integers(0, 3, (50, n)).astype(np.uint16) for n in scores.shape]
    rates = np.array([0.001, 0.1])
    return {
        "scale_logits": lambda n: _core.scale_logits(predictions.reshape(-1, 7), threads=n),
        "reduce_logits": lambda n: _core.reduce_logits(predictions, threads=n),
        "leave_one_out_features": lambda n: _core.leave_one_out_features(x, membership, 2, threads=n),
        "gaussian_scores": lambda n: _core.gaussian_scores(x, membership, targets, threads=n),
        "adapted_lira": lambda n: _core.adapted_lira(predictions, membership, targets, threads=n),
        "roc_metrics": lambda n: _core.roc_metrics(scores, labels, rates, threads=n),
        "roc_resample": lambda n: _core.roc_resample(scores, labels, *weights, rates, threads=n),
    }


@pytest.mark.parametrize("kernel", calls(1))
def test_the_number_of_threads_changes_no_bit(kernel):
    call = calls()[kernel]
    one, two, three, many = (np.concatenate([np.ravel(a) for a in [*call(n)]]) for n in (1, 2, 3, 64))
    assert one.tobytes() == two.tobytes() == three.tobytes() == many.tobytes()


@pytest.mark.parametrize("kernel", [*calls(1), "roc_curve"])
def test_the_interpreter_is_released(kernel):
    """While a call of some milliseconds runs, another thread gets on with counting."""
    if kernel == "roc_curve":
        scores = np.random.default_rng(0).normal(size=300_000)
        call = lambda _: _core.roc_curve(scores, scores > 0)  # noqa: E731
    else:
        call = calls(4000)[kernel]
    times: list[float] = []
    done = threading.Event()

    def count() -> None:
        while not done.is_set():
            times.append(time.perf_counter())
            time.sleep(1e-4)

    thread = threading.Thread(target=count)
    thread.start()
    try:
        while not times:
            time.sleep(1e-4)
        start = time.perf_counter()
        call(1)
        stop = time.perf_counter()
    finally:
        done.set()
        thread.join()
    # A call that kept the interpreter would leave at most one count at either end.
    assert sum(start < moment < stop for moment in times) > 2


# ------------------------------------------------------------------------------------------------ errors

GOOD: dict[str, dict[str, Any]] = {
    "scale_logits": {"logits": predictions_like(6, (4, 3))},
    "reduce_logits": {"predictions": predictions_like(6, (4, 5, 2, 3))},
    "leave_one_out_features": {
        "x": predictions_like(6, (4, 5, 3)),
        "membership": membership_like(6, 4, 5),
        "target": 1,
    },
    "gaussian_scores": {
        "x": predictions_like(6, (4, 5, 3)),
        "membership": membership_like(6, 4, 5),
        "targets": np.arange(2),
    },
    "adapted_lira": {
        "predictions": predictions_like(6, (4, 5, 2, 3)),
        "membership": membership_like(6, 4, 5),
        "targets": np.arange(2),
    },
    "roc_curve": {"scores": np.arange(3.0), "labels": np.array([True, False, True])},
    "roc_metrics": {
        "scores": np.arange(4.0).reshape(2, 2),
        "labels": np.eye(2, dtype=bool),
        "false_positive_rates": np.array([0.1]),
    },
    "roc_resample": {
        "scores": np.arange(4.0).reshape(2, 2),
        "labels": np.eye(2, dtype=bool),
        "target_weights": np.ones((3, 2), np.uint16),
        "point_weights": np.ones((3, 2), np.uint16),
        "false_positive_rates": np.array([0.1]),
    },
}


def with_nan(array: np.ndarray, *position: int) -> np.ndarray:
    array = array.copy()
    array[position] = np.nan
    return array


def refuse(error: type[Exception], message: str, kernel: str, **changed: Any) -> None:
    with pytest.raises(error, match=message):
        getattr(_core, kernel)(**{**GOOD[kernel], **changed})


@pytest.mark.parametrize("kernel", GOOD)
def test_good_arguments_are_accepted(kernel):
    getattr(_core, kernel)(**GOOD[kernel])


@pytest.mark.parametrize(
    ("kernel", "name"), [(k, n) for k, arguments in GOOD.items() for n in arguments if n != "target"]
)
def test_every_array_is_checked(kernel, name):
    array = GOOD[kernel][name]
    for bad in (array.astype(np.complex64), array.tolist(), None):
        refuse(TypeError, rf"^{name} has .*; expected a NumPy array of", kernel, **{name: bad})
    if array.dtype.itemsize > 1:
        swapped = array.astype(array.dtype.newbyteorder())
        refuse(TypeError, f"^{name} has dtype.*native byte order", kernel, **{name: swapped})
        unaligned = np.frombuffer(b"\0" + array.tobytes(), array.dtype, offset=1).reshape(array.shape)
        refuse(TypeError, f"^{name} is not aligned", kernel, **{name: unaligned})
    refuse(ValueError, f"^{name} has shape .*; expected", kernel, **{name: array[None]})
    if name != "false_positive_rates":
        refuse(ValueError, "has shape .*; expected", kernel, **{name: array[..., :0]})
        refuse(ValueError, "has shape .*; expected", kernel, **{name: array[:0]})


@pytest.mark.parametrize("kernel", [kernel for kernel in GOOD if kernel != "roc_curve"])
@pytest.mark.parametrize("threads", [0, -1])
def test_threads_must_be_positive(kernel, threads):
    refuse(ValueError, rf"^threads is {threads}; expected at least 1$", kernel, threads=threads)


def test_nan_is_found_and_located():
    logits = with_nan(np.zeros((40, 3), np.float32), 37, 1)
    refuse(ValueError, "^logits contains NaN at row 37;", "scale_logits", logits=logits)
    for dtype in (np.float32, np.float16):
        predictions = with_nan(np.zeros((4, 40, 2, 3), dtype), 2, 33, 1, 0)
        predictions[3, 5] = np.nan  # a later model's, and so never the one reported
        message = "^predictions contains NaN at model 2, point 33;"
        for threads in (1, 2, 3):
            refuse(ValueError, message, "reduce_logits", predictions=predictions, threads=threads)
    predictions = with_nan(GOOD["adapted_lira"]["predictions"], 3, 4, 1, 0)
    refuse(ValueError, "^predictions contains NaN at model 3, point 4;", "adapted_lira", predictions=predictions)
    for kernel in ("leave_one_out_features", "gaussian_scores"):
        x = with_nan(GOOD[kernel]["x"], 2, 1, 0)
        refuse(ValueError, "^x contains NaN at model 2, point 1;", kernel, x=x)
        refuse(ValueError, "^x contains -inf at model 0, point 0;", kernel, x=np.full_like(x, -np.inf))
    for kernel in ("roc_metrics", "roc_resample"):
        scores = with_nan(GOOD[kernel]["scores"], 1, 0)
        refuse(ValueError, r"^scores contains NaN at index \[1, 0\];", kernel, scores=scores)


def test_arguments_outside_their_domain():
    for kernel in ("scale_logits", "reduce_logits", "adapted_lira"):
        name, array = next(iter(GOOD[kernel].items()))
        refuse(ValueError, f"^{name} has shape .*at least 2 classes", kernel, **{name: array[..., :1]})
    for limit in (0.0, -1.0, np.nan, np.inf):
        refuse(ValueError, "^clip_norm is .*positive finite", "scale_logits", clip_norm=limit)
    for target in (-1, 4):
        refuse(ValueError, rf"^target is {target}; expected", "leave_one_out_features", target=target)
        for kernel in ("gaussian_scores", "adapted_lira"):
            refuse(ValueError, rf"^targets is {target}; expected", kernel, targets=np.array([0, target]))
    for ridge in (0.0, -1.0, np.nan, np.inf):
        refuse(ValueError, "^ridge is .*between", "gaussian_scores", ridge=ridge)
        refuse(ValueError, "^ridges is .*between", "leave_one_out_features", ridges=(0.5, ridge))
    refuse(ValueError, '^covariance is "none"; expected', "adapted_lira", covariance="none")
    for kernel in ("roc_metrics", "roc_resample"):
        for rate in (-0.1, 1.1, np.nan):
            rates = np.array([0.5, rate])
            refuse(ValueError, "^false_positive_rates is .*0 to 1", kernel, false_positive_rates=rates)
    for kernel in ("roc_curve", "roc_metrics"):
        for value in (True, False):
            labels = np.full_like(GOOD[kernel]["labels"], value)
            refuse(ValueError, "^labels is .*everywhere; expected", kernel, labels=labels)
    odd_bytes = np.full((4, 5), 2, np.uint8).view(np.bool_)
    refuse(ValueError, "^membership has bytes other", "adapted_lira", membership=odd_bytes)
