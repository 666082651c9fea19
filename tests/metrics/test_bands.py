"""Bands around whole curves, against a search by brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tmi.metrics.bands import rank_envelope, resolved_rates, simultaneous_band


def inside(curves: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
    return float(((low <= curves) & (curves <= high)).all(axis=1).mean())


@given(st.integers(0, 2**32 - 1), st.integers(2, 60), st.integers(1, 8), st.sampled_from([0.5, 0.9, 0.95]))
@settings(max_examples=60, deadline=None)
def test_the_envelope_is_the_narrowest_that_holds_enough_curves(seed, count, grid, confidence):
    curves = np.random.default_rng(seed).normal(size=(count, grid)).cumsum(axis=1).round(1)
    low, high = rank_envelope(curves, confidence)
    ordered = np.sort(curves, axis=0)
    enough = [
        k
        for k in range(1, (count + 1) // 2 + 1)
        if inside(curves, ordered[k - 1], ordered[count - k]) >= confidence - 1e-12
    ]
    assert low.tolist() == ordered[max(enough) - 1].tolist()
    assert high.tolist() == ordered[count - max(enough)].tolist()


def test_it_is_wider_than_the_pointwise_interval():
    curves = np.random.default_rng(0).normal(size=(1000, 30))
    low, high = rank_envelope(curves, 0.95)
    assert (low < np.percentile(curves, 2.5, axis=0)).all()
    assert (high > np.percentile(curves, 97.5, axis=0)).all()


def test_the_band_rises_and_goes_on_where_nothing_is_resolved():
    curves = np.sort(np.random.default_rng(0).random((300, 10)), axis=1)
    low, high = simultaneous_band(curves, np.arange(10) >= 3, 0.95)
    assert (np.diff(low) >= 0).all()
    assert (np.diff(high) >= 0).all()
    assert low[:3].tolist() == [0, 0, 0]
    assert high[:3].tolist() == [high[3]] * 3
    nothing = simultaneous_band(curves, np.zeros(10, dtype=bool), 0.95)
    assert [edge.tolist() for edge in nothing] == [[0.0] * 10, [1.0] * 10]


def test_ends_of_the_curve_are_not_resolved():
    resolved = resolved_rates(np.array([0.004, 0.005, 0.5, 1.0]), np.array([0.1, 0.1, 0.996, 1.0]), 1000, 1000)
    assert resolved.tolist() == [False, True, False, False]


def test_the_share_of_curves_is_respected_for_ties():
    low, high = rank_envelope(np.zeros((50, 4)), 0.95)
    assert low == pytest.approx(0)
    assert high == pytest.approx(0)
