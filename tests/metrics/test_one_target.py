"""Closed-form intervals against slow references, and their coverage when the truth is known."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from tmi.errors import TmiError
from tmi.metrics.bootstrap import Bootstrap
from tmi.metrics.differences import compare, compare_to, comparison_results
from tmi.metrics.one_target import auc_difference, auc_interval, delong, rates_at_threshold
from tmi.metrics.proportions import clopper_pearson
from tmi.metrics.roc import judge

RATES = [0.01, 0.1]
seeds = st.integers(0, 2**32 - 1)


def pairwise(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Structural components by comparing every member with every non-member (Mann-Whitney)."""
    members, others = scores[labels][:, None], scores[~labels][None, :]
    wins = (members > others) + 0.5 * (members == others)
    return wins.mean(axis=1), wins.mean(axis=0)


def rows(seed: int, points: int, effect: float = 0.5, decimals: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Scores with ties, half of the rows members."""
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(points) % 2 == 0)
    return random.normal(size=points).round(decimals) + effect * labels, labels


# ------------------------------------------------------------------------------------- Clopper-Pearson


@given(st.integers(1, 200), st.floats(0, 1), st.floats(0.5, 0.999))
@settings(max_examples=100, deadline=None)
def test_clopper_pearson_is_that_of_scipy(trials, share, confidence):
    successes = round(share * trials)
    low, high = clopper_pearson(successes, trials, confidence)
    expected = stats.binomtest(successes, trials).proportion_ci(confidence, method="exact")
    assert low == pytest.approx(expected.low, abs=1e-9)
    assert high == pytest.approx(expected.high, abs=1e-9)


def test_clopper_pearson_broadcasts():
    low, high = clopper_pearson(np.arange(4)[:, None], np.array([3, 10, 100]))
    assert low.shape == high.shape == (4, 3)
    assert low[0].tolist() == [0, 0, 0]
    assert high[3, 0] == 1
    assert (low <= high).all()


@pytest.mark.parametrize("rate", [0.003, 0.1, 0.5, 0.97])
def test_clopper_pearson_never_covers_less_than_it_says(rate):
    """The probability of every count is known, so the coverage is exact: no simulation."""
    counts = np.arange(121)
    low, high = clopper_pearson(counts, 120)
    covered = stats.binom.pmf(counts, 120, rate)[(low <= rate) & (rate <= high)].sum()
    assert covered >= 0.95


@pytest.mark.parametrize(("successes", "trials"), [(-1, 5), (6, 5), (0, 0), (1.5, 3), (np.nan, 3)])
def test_impossible_counts_are_refused(successes, trials):
    with pytest.raises(TmiError, match="0 <= successes <= trials"):
        clopper_pearson(successes, trials)


@given(seeds, st.integers(4, 60), st.floats(-2, 2))
@settings(max_examples=60, deadline=None)
def test_rates_are_those_at_the_threshold(seed, points, threshold):
    scores, labels = rows(seed, points)
    found = rates_at_threshold(scores, labels, threshold)
    assert found.tpr.estimate == (scores[labels] >= threshold).mean()
    assert found.fpr.estimate == (scores[~labels] >= threshold).mean()
    for rate in (found.tpr, found.fpr):
        assert 0 <= rate.low <= rate.estimate <= rate.high <= 1


# --------------------------------------------------------------------------------------------- DeLong


@given(seeds, st.integers(4, 80), st.floats(0, 3), st.integers(0, 2))
@settings(max_examples=100, deadline=None)
def test_delong_is_the_covariance_of_pairwise_comparisons(seed, points, effect, decimals):
    first, labels = rows(seed, points, effect, decimals)
    second = first + np.random.default_rng(seed).normal(size=points).round(decimals)
    aucs, covariance = delong([first, second], labels)
    assert aucs == pytest.approx([roc_auc_score(labels, first), roc_auc_score(labels, second)], abs=1e-12)
    beaten, beating = zip(*(pairwise(scores, labels) for scores in (first, second)), strict=True)
    expected = np.cov(beaten) / labels.sum() + np.cov(beating) / (~labels).sum()
    np.testing.assert_allclose(covariance, expected, atol=1e-12)


@given(seeds, st.integers(4, 80), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_the_difference_is_that_of_the_covariance_matrix(seed, points, effect):
    first, labels = rows(seed, points, effect)
    second = rows(seed + 1, points)[0]
    (a, b), covariance = delong([first, second], labels)
    found = auc_difference(first, second, labels, 0.9)
    assert found.estimate == pytest.approx(a - b, abs=1e-12)
    variance = np.array([1, -1]) @ covariance @ np.array([1, -1])
    assert found.high - found.estimate == pytest.approx(stats.norm.ppf(0.95) * np.sqrt(variance), abs=1e-9)


def test_infinite_scores_are_ranks():
    scores, labels = rows(0, 40)
    extreme = np.where(scores == scores.max(), np.inf, scores)
    assert auc_interval(extreme, labels) == auc_interval(scores, labels)


def test_intervals_without_variance_say_nothing():
    labels = np.arange(20) < 10
    perfect = auc_interval(labels.astype(float), labels)
    assert (perfect.estimate, perfect.low, perfect.high, perfect.resolvable) == (1.0, 0.0, 1.0, False)
    scores, labels = rows(3, 30)
    same = auc_difference(scores, np.exp(scores), labels)
    assert (same.estimate, same.low, same.high, same.resolvable) == (0.0, 0.0, 0.0, False)


@pytest.mark.parametrize(("truth", "effect"), [(0.5, 0.0), (stats.norm.cdf(1.5 / np.sqrt(2)), 1.5)])
def test_the_interval_of_the_auc_covers_the_truth(truth, effect):
    covered = 0
    for seed in range(1000):
        random = np.random.default_rng(seed)
        labels = np.arange(100) < 50
        auc = auc_interval(random.normal(size=100) + effect * labels, labels)
        covered += auc.low <= truth <= auc.high
    assert 0.93 <= covered / 1000 <= 0.975


def test_the_interval_of_the_difference_covers_zero_for_equally_good_attacks():
    covered = 0
    for seed in range(1000):
        random = np.random.default_rng(seed)
        labels = np.arange(100) < 50
        shared = random.normal(size=100) + labels
        difference = auc_difference(*(shared + 0.5 * random.normal(size=(2, 100))), labels)
        covered += difference.low <= 0 <= difference.high
    assert 0.93 <= covered / 1000 <= 0.97


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        (np.zeros(4), np.ones(4, dtype=bool), "labels are all True"),
        (np.zeros(0), np.zeros(0, dtype=bool), "labels are empty"),
        (np.zeros(4), np.arange(4) < 1, "1 members and 3 non-members, expected at least 2"),
        (np.zeros(5), np.arange(4) < 2, r"shape \(5,\), expected \(4,\)"),
        (np.full(4, np.nan), np.arange(4) < 2, "NaN"),
        (np.zeros((2, 2)), np.eye(2, dtype=bool), "of one target"),
    ],
)
def test_rows_that_make_no_sense_are_refused(scores, labels, message):
    with pytest.raises(TmiError, match=message):
        delong([scores], labels)


@pytest.mark.parametrize("confidence", [0, 1, 95])
def test_confidence_is_a_probability(confidence):
    scores, labels = rows(0, 20)
    with pytest.raises(TmiError, match=f"confidence is {confidence}, expected"):
        auc_interval(scores, labels, confidence)


# ------------------------------------------------------------------------------------ paired comparison


def attacks(seed: int, targets: int, points: int, gain: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two attacks whose scores share effects of points and targets; the first is better by ``gain``."""
    random = np.random.default_rng(seed)
    labels = random.random((targets, points)) < 0.5
    shared = random.normal(size=(1, points)) + 0.5 * random.normal(size=(targets, 1)) + 0.8 * labels
    first, second = shared + 0.5 * random.normal(size=(2, targets, points))
    return first + gain * labels, second, labels


def test_a_comparison_is_the_difference_of_two_judgements():
    first, second, labels = attacks(0, 10, 60, 0.5)
    compared = compare(first, second, labels, RATES, Bootstrap(200, seed=3))
    a, b = (judge(scores, labels, RATES, Bootstrap(200, seed=3)) for scores in (first, second))
    assert compared.auc.estimate == pytest.approx(a.auc.estimate - b.auc.estimate)
    assert compared.balanced_accuracy.estimate == pytest.approx(
        a.balanced_accuracy.estimate - b.balanced_accuracy.estimate
    )
    for rate, difference in compared.tpr_at_fpr.items():
        assert difference.estimate == pytest.approx(a.tpr_at_fpr[rate].estimate - b.tpr_at_fpr[rate].estimate)
        assert difference.low <= difference.estimate <= difference.high


def test_a_comparison_is_antisymmetric_and_zero_with_itself():
    first, second, labels = attacks(1, 8, 50, 0.3)
    there = compare(first, second, labels, RATES, Bootstrap(300)).auc
    back = compare(second, first, labels, RATES, Bootstrap(300)).auc
    assert (there.estimate, there.low, there.high) == pytest.approx((-back.estimate, -back.high, -back.low))
    same = compare(first, first, labels, RATES, Bootstrap(100)).auc
    assert (same.estimate, same.low, same.high) == (0, 0, 0)


def test_pairing_sees_what_two_intervals_do_not():
    first, second, labels = attacks(2, 12, 100, 0.3)
    difference = compare(first, second, labels, RATES, Bootstrap(500)).auc
    a, b = (judge(scores, labels, RATES, Bootstrap(500)).auc for scores in (first, second))
    assert a.low < b.high, "the intervals of the two overlap"
    assert difference.low > 0


def test_the_comparison_of_equally_good_attacks_covers_zero():
    covered = 0
    for seed in range(200):
        first, second, labels = attacks(seed, 10, 60)
        difference = compare(first, second, labels, [0.1], Bootstrap(200, seed=seed)).auc
        covered += difference.low <= 0 <= difference.high
    assert 0.9 <= covered / 200 <= 1.0


def test_several_attacks_are_compared_with_one():
    first, second, labels = attacks(4, 8, 50)
    compared = compare_to("base", {"base": first, "other": second, "same": first}, labels, RATES, Bootstrap(200))
    assert list(compared) == ["other", "same"]
    assert compared["other"] == compare(first, second, labels, RATES, Bootstrap(200))
    assert compared["same"].auc.high == 0


def test_a_comparison_refuses_what_does_not_fit():
    first, second, labels = attacks(5, 4, 20)
    with pytest.raises(TmiError, match=r"scores of 'b' have shape \(4, 19\), expected \(4, 20\)"):
        compare(first, second[:, :-1], labels, RATES)
    with pytest.raises(TmiError, match="all labels are equal"):
        compare(first, second, labels | True, RATES)


def test_comparisons_are_plain_json():
    first, second, labels = attacks(6, 4, 20)
    compared = compare_to("mine", {"mine": first, "other": second}, labels, RATES, Bootstrap(100))
    read = json.loads(json.dumps(comparison_results("mine", compared)))
    assert read["against"] == "mine"
    assert set(read["other"]["tpr_at_fpr"]) == {"0.01", "0.1"}
    assert set(read["other"]["auc"]) == {"estimate", "low", "high", "resolvable", "p_value"}
