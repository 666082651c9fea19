"""Scaled, clipped and reduced logits against NumPy in float64."""

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from made.kernels import float_types, layouts, predictions_like, reference_scaled, scales, seeds, strided, thorough
from tmi import _core


def reference_clipped(scaled: np.ndarray, limit: float = 1.0) -> np.ndarray:
    return scaled * (limit / np.maximum(np.linalg.norm(scaled, axis=-1, keepdims=True), limit))


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
