"""The lower bound on epsilon: what it must never exceed, and that it is not idle."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tmi.errors import TmiError
from tmi.metrics.epsilon import _rate_bounds, effective_sample_size, epsilon_lower_bound
from tmi.metrics.proportions import clopper_pearson


def randomised_response(epsilon: float, targets: int, points: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The label itself, told wrongly with the probability that makes it exactly epsilon private."""
    random = np.random.default_rng(seed)
    labels = random.random((targets, points)) < 0.5
    return (labels ^ (random.random(labels.shape) < 1 / (1 + np.exp(epsilon)))).astype(float), labels


@pytest.mark.parametrize("targets", [4, 16])
@pytest.mark.parametrize("epsilon", [0.5, 2.0])
def test_it_comes_near_the_truth_from_below(targets, epsilon):
    bound = epsilon_lower_bound(*randomised_response(epsilon, targets, 3000), delta=0)
    assert 0.8 * epsilon < bound.lower_bound <= epsilon
    assert bound.decisions == targets * 3000 / 2
    assert bound.lower_bound == pytest.approx(np.log(bound.tpr_low / bound.fpr_high))
    assert ("targets" if targets == 16 else "points") in bound.method.split("from other ")[1]


def test_noise_refutes_nothing():
    bounds = []
    for draw in range(40):
        random = np.random.default_rng(draw)
        labels = random.random((10, 60)) < 0.5
        scores = random.normal(size=(1, 60)) + random.normal(size=(10, 1)) + random.normal(size=(10, 60))
        bounds.append(epsilon_lower_bound(scores, labels, seed=draw).lower_bound)
    assert np.mean(np.array(bounds) > 0) <= 0.05


def test_an_attack_that_only_finds_non_members_counts():
    scores, labels = randomised_response(0.0, 12, 1000)
    sure = ~labels & (np.random.default_rng(1).random(labels.shape) < 0.2)
    bound = epsilon_lower_bound(np.where(sure, -1.0, scores), labels)
    assert bound.direction == "non-members"
    assert bound.lower_bound > 2


def test_a_large_delta_explains_everything():
    scores, labels = randomised_response(1.0, 12, 500)
    bounds = [epsilon_lower_bound(scores, labels, delta=delta).lower_bound for delta in (0, 0.1, 0.9)]
    assert bounds[0] > bounds[1] > bounds[2] == 0


def test_infinite_and_equal_scores_have_a_bound():
    labels = np.random.default_rng(0).random((10, 40)) < 0.5
    assert epsilon_lower_bound(np.zeros(labels.shape), labels).lower_bound == 0
    perfect = epsilon_lower_bound(np.where(labels, np.inf, -np.inf), labels)
    assert 2 < perfect.lower_bound < np.inf
    json.dumps(perfect.to_dict(), allow_nan=False)


def test_the_bound_cannot_be_computed_from_one_kind_of_label():
    labels = np.ones((3, 10), dtype=bool)
    assert epsilon_lower_bound(np.zeros((3, 10)), labels) is None
    labels[0, 0] = False
    assert epsilon_lower_bound(np.zeros((3, 10)), labels) is None


@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.integers(1, 12), st.integers(1, 40))
@settings(max_examples=80, deadline=None)
def test_the_effective_size_is_never_above_the_rows(seed, rate, targets, points):
    random = np.random.default_rng(seed)
    counted = random.random((targets, points)) < 0.5
    counted[0, 0] = True
    size, share = effective_sample_size(random.random(counted.shape) < rate, counted)
    assert 0 < size <= counted.sum()
    assert 0 <= share <= 1


def test_rows_that_repeat_count_once():
    """If all points of a target agree, a target is one observation."""
    hits = np.repeat(np.arange(40)[:, None] % 2 == 0, 100, axis=1)
    size, rate = effective_sample_size(hits, np.ones_like(hits))
    assert rate == 0.5
    assert 30 < size < 42


def test_independent_rows_get_almost_the_interval_of_clopper_and_pearson():
    random = np.random.default_rng(0)
    scores = random.random((50, 400))
    counted = np.ones(scores.shape, dtype=bool)
    low, high = _rate_bounds(scores, scores >= 0.9, counted, 0.95)
    exact_low, exact_high = clopper_pearson((scores >= 0.9).sum(), scores.size)
    assert low <= exact_low + 1e-9
    assert exact_high - 1e-9 <= high < exact_high + 0.002


def test_no_hits_are_not_taken_for_independent_rows():
    """Scores that targets share: the next threshold with hits shows that points are what counts."""
    shared = np.tile(np.random.default_rng(0).random(100), (20, 1))
    counted = np.ones(shared.shape, dtype=bool)
    low, high = _rate_bounds(shared, shared > 2, counted, 0.95)
    assert low == 0
    assert high > clopper_pearson(0, 200)[1] > clopper_pearson(0, 2000)[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"delta": 1.0}, "delta is 1.0"),
        ({"confidence": 0.0}, "confidence is 0.0"),
        ({"scores": np.full((2, 4), np.nan)}, "scores hold NaN"),
        ({"scores": np.zeros((2, 3))}, r"shape \(2, 3\)"),
        ({"labels": np.zeros((2, 4))}, "labels type float64"),
    ],
)
def test_wrong_input_is_refused(change, message):
    arguments = {"scores": np.zeros((2, 4)), "labels": np.zeros((2, 4), dtype=bool)} | change
    with pytest.raises(TmiError, match=message):
        epsilon_lower_bound(**arguments)
