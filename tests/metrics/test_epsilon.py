"""The lower bound on epsilon: what it must never exceed, and that it is not idle."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tmi.errors import TmiError
from tmi.metrics.epsilon import effective_sample_size, epsilon_lower_bound


def randomised_response(epsilon: float, targets: int, points: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The label itself, told wrongly with the probability that makes it exactly epsilon private."""
    random = np.random.default_rng(seed)
    labels = random.random((targets, points)) < 0.5
    return (labels ^ (random.random(labels.shape) < 1 / (1 + np.exp(epsilon)))).astype(float), labels


@pytest.mark.parametrize("targets", [4, 16])
@pytest.mark.parametrize("epsilon", [0.5, 2.0])
def test_it_comes_near_the_truth_from_below(targets, epsilon):
    bound = epsilon_lower_bound(*randomised_response(epsilon, targets, 3000), delta=0)
    assert 0.87 * epsilon < bound.lower_bound <= epsilon
    assert bound.decisions == targets * 3000
    assert bound.lower_bound == pytest.approx(np.log(bound.tpr_low / bound.fpr_high))
    assert bound.lower_bound < np.log(bound.right / (bound.guesses - bound.right))


def test_it_hangs_little_on_the_seed():
    scores, labels = randomised_response(1.0, 8, 600)
    scores = scores + np.random.default_rng(2).normal(size=scores.shape)
    bounds = [epsilon_lower_bound(scores, labels, seed=seed).lower_bound for seed in range(8)]
    assert min(bounds) > 0
    assert max(bounds) - min(bounds) < 0.15


def test_chance_that_all_targets_share_is_no_bound():
    """Targets that are one another's shadows are all right or all wrong at a point that nobody remembers."""
    bounds = []
    for draw in range(40):
        random = np.random.default_rng(draw)
        labels, answers = random.random((24, 200)) < 0.5, random.normal(size=(24, 200))
        sums, counts = (answers * labels).sum(axis=0) - answers * labels, labels.sum(axis=0) - labels
        others = answers.sum(axis=0) - answers - sums, 23 - counts
        scores = answers * (sums / counts - others[0] / others[1])
        bounds.append(epsilon_lower_bound(scores, labels, seed=draw).lower_bound)
    assert np.mean(np.array(bounds) > 0) <= 0.05


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
    assert (bound.direction, bound.right) == ("non-members", bound.guesses)
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
    scores, labels = randomised_response(1.5, 40, 500)
    bound = epsilon_lower_bound(scores, labels, delta=0, shared_shadows=0)
    exact = stats.binomtest(bound.right, bound.guesses).proportion_ci(0.9, "exact").low
    assert bound.lower_bound == pytest.approx(np.log(exact / (1 - exact)), abs=0.03)


def test_guesses_without_an_error_are_not_taken_for_independent_rows():
    """Targets that agree in everything prove no more than one of them; looser thresholds have errors that show it."""
    random = np.random.default_rng(0)
    labels = random.random((1, 400)) < 0.5
    scores = np.where(labels & (random.random((1, 400)) < 0.3), 5.0, 0.0) + random.normal(size=(1, 400))
    once, repeated = (
        epsilon_lower_bound(np.tile(scores, (n, 1)), np.tile(labels, (n, 1)), shared_shadows=0) for n in (1, 20)
    )
    assert once.right == once.guesses
    assert repeated.lower_bound <= once.lower_bound + 0.1
    assert epsilon_lower_bound(np.tile(scores, (1, 20)), np.tile(labels, (1, 20))).lower_bound > once.lower_bound + 1


def test_either_half_may_seek_its_own_kind():
    labels = np.random.default_rng(0).random((10, 400)) < 0.3
    scores = np.where(labels, np.where(np.arange(400) < 200, 1.0, 0.0), np.where(np.arange(400) < 200, 0.0, -1.0))
    bound = epsilon_lower_bound(scores, labels)
    assert 0 < bound.lower_bound < np.inf


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
