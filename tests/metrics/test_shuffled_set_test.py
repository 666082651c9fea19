"""The test of a set against known non-members: its definition, and what happens where there is nothing to find."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from scipy import stats

from tmi.errors import TmiError
from tmi.metrics.set_test import shuffled_set_test
from tmi.metrics.unknown_target import conformal_p_values


def test_it_is_fishers_permutation_test_within_labels() -> None:
    random = np.random.default_rng(0)
    labels = np.array([3] * 5 + [-1] * 4 + [7] * 2 + [9])
    candidates = np.array([1, 1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 1], dtype=bool)
    for _ in range(5):
        scores = random.normal(size=12) + candidates
        found = shuffled_set_test(scores, candidates, labels, 4000, seed=1)
        ways = [
            sum(scores[list(way)])
            for way in product(combinations(range(5), 2), range(5, 9))
            for way in [[*way[0], way[1]]]
        ]
        expected = np.mean(np.array(ways) >= scores[[0, 1, 5]].sum() - 1e-9)
        assert found.p_value == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / 4000) + 1e-3)
        # Differences of labels weigh as they are known: 2 * 3 / 5 and 1 * 3 / 4.
        differences = [scores[:2].mean() - scores[2:5].mean(), scores[5] - scores[6:9].mean()]
        assert found.mean_excess == pytest.approx(np.average(differences, weights=[1.2, 0.75]))
        assert found.shuffles == 4000


def test_sets_without_members_are_suspected_as_often_as_said() -> None:
    """Scores that are related, of labels of unequal height and unequal shares of candidates."""
    p = []
    for seed in range(200):
        random = np.random.default_rng(seed)
        labels = random.integers(5, size=60)
        candidates = random.random(60) < np.array([0.1, 0.3, 0.5, 0.7, 0.9])[labels]
        scores = labels + random.standard_t(3, size=60)
        scores -= scores[::-1] / 3
        p.append(shuffled_set_test(scores, candidates, labels, 99, seed).p_value)
    for level in (0.01, 0.05, 0.1, 0.5):
        assert stats.binom.ppf(0.001, 200, level) <= (np.array(p) <= level).sum() <= stats.binom.ppf(0.999, 200, level)


def test_members_are_found_and_equal_scores_are_none() -> None:
    random = np.random.default_rng(0)
    labels, candidates = random.integers(4, size=200), np.arange(200) < 100
    scores = random.normal(size=200)
    assert shuffled_set_test(scores + candidates, candidates, labels, 199, 0).p_value == 1 / 200
    assert shuffled_set_test(np.ones(200), candidates, labels, 199, 0).p_value == 1


def test_labels_of_one_kind_of_points_say_nothing() -> None:
    labels = np.array([0, 0, 1, 1])
    with pytest.raises(TmiError, match="no label has both candidates and known non-members"):
        shuffled_set_test(np.arange(4.0), labels == 0, labels, 10, 0)


def test_conformal_p_values_count_the_non_members_above() -> None:
    random = np.random.default_rng(0)
    scores, others = random.integers(20, size=50) / 1.0, random.integers(20, size=30) / 1.0
    expected = [(1 + (others >= score).sum()) / 31 for score in scores]
    np.testing.assert_allclose(conformal_p_values(scores, others), expected)
