"""Single points against SciPy's test and the AUC by definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tmi.errors import TmiError
from tmi.metrics.points import auc_intervals, point_vulnerability
from tmi.metrics.roc import point_aucs


def sample(seed: int, targets: int, points: int, decimals: int, effect: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.random((targets, points)) < 0.5
    return (random.normal(size=labels.shape) + effect * labels).round(decimals), labels


@given(st.integers(0, 2**32 - 1), st.integers(2, 20), st.sampled_from([1, 12]))
@settings(max_examples=40, deadline=None)
def test_p_values_are_those_of_scipy(seed, targets, decimals):
    scores, labels = sample(seed, targets, 6, decimals)
    found = point_vulnerability(scores, labels, shared_shadows=0)
    np.testing.assert_allclose(found.auc, point_aucs(scores, labels), atol=1e-12)
    for point in range(6):
        inside, outside = scores[labels[:, point], point], scores[~labels[:, point], point]
        if min(len(inside), len(outside)) == 0:
            assert np.isnan([found.auc[point], found.p_value[point], found.q_value[point], found.low[point]]).all()
            assert np.isnan([found.mean_in[point], found.mean_out[point]]).all()
            continue
        method = "exact" if len(np.unique(scores[:, point])) == targets else "asymptotic"
        if len(np.unique(scores[:, point])) == 1:
            assert found.p_value[point] == 1
            continue
        expected = stats.mannwhitneyu(inside, outside, alternative="greater", method=method)
        assert found.p_value[point] == pytest.approx(expected.pvalue, rel=1e-9)
        assert found.mean_in[point] == pytest.approx(inside.mean())
        assert found.targets_in[point] == len(inside)


def test_the_smallest_p_value_of_64_targets_is_exact():
    labels = np.arange(64)[:, None] < 32
    found = point_vulnerability(np.arange(64, 0, -1.0)[:, None], labels, shared_shadows=0)
    assert found.auc == 1
    assert found.p_value[0] == pytest.approx(1 / 1832624140942590534, rel=1e-9)


def test_p_values_are_uniform_on_noise():
    for targets in (24, 64):
        scores, labels = sample(1, targets, 4000, 12, effect=0)
        p_values = point_vulnerability(scores, labels, shared_shadows=0).p_value
        for level in (0.01, 0.05, 0.2, 0.5):
            # The test is discrete: never above its level, and not far below.
            assert 0.75 * level < (p_values <= level).mean() < level + 3 * np.sqrt(level / 4000)


def test_q_values_are_those_of_benjamini_and_hochberg():
    scores, labels = sample(2, 24, 50, 12)
    labels[:, 7] = True
    found = point_vulnerability(scores, labels)
    tested = np.arange(50) != 7
    np.testing.assert_allclose(found.q_value[tested], stats.false_discovery_control(found.p_value[tested]))
    assert np.isnan(found.q_value[7])


def leave_one_out_scores(random: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    """Answers of five numbers that know nothing, scored along the difference that all *other* models show."""
    answers = random.normal(size=(5, *labels.shape))
    sides = [(side, side.sum(axis=0) - side) for side in (labels, ~labels)]
    means = [((answers * side).sum(axis=1)[:, None] - answers * side) / np.maximum(n, 1) for side, n in sides]
    return ((answers - (means[0] + means[1]) / 2) * (means[0] - means[1])).sum(axis=0)


def test_targets_that_are_one_anothers_shadows_expose_no_points_by_chance():
    random = np.random.default_rng(6)
    labels = random.random((32, 6000)) < 0.5
    found = point_vulnerability(leave_one_out_scores(random, labels), labels)
    assert (found.p_value <= 0.01).mean() <= 0.01
    assert (found.p_value <= 0.05).mean() <= 0.05
    assert (found.low > 0.5).mean() <= 0.025


def test_half_of_the_shadows_weaken_half_as_much():
    scores, labels = sample(1, 24, 500, 12, effect=1)
    plain, half, full = (point_vulnerability(scores, labels, shared_shadows=share) for share in (0, 0.5, 1))
    for found, factor in ((half, 1.5), (full, 2)):
        expected = stats.norm.sf(stats.norm.isf(plain.p_value) / np.sqrt(factor))
        np.testing.assert_allclose(found.p_value, np.where(plain.p_value == 1, 1, expected), rtol=1e-6)
    assert ((plain.low > half.low) & (half.low > full.low)).mean() > 0.99
    with pytest.raises(TmiError, match="shared_shadows is 2"):
        point_vulnerability(scores, labels, shared_shadows=2)


def test_of_the_points_called_exposed_few_are_chance():
    scores, labels = sample(3, 40, 3000, 12, effect=0)
    scores[:, :600] += 1.5 * labels[:, :600]
    called = point_vulnerability(scores, labels, shared_shadows=0).q_value <= 0.05
    assert called[:600].mean() > 0.7
    assert called[600:].sum() / called.sum() < 0.07


@pytest.mark.parametrize(("targets", "effect"), [(64, 0.0), (64, 1.0), (24, 2.0), (12, 1.0), (64, 3.0)])
def test_intervals_cover(targets, effect):
    found = point_vulnerability(*sample(4, targets, 6000, 12, effect), shared_shadows=0)
    truth = stats.norm.cdf(effect / np.sqrt(2))
    defined = np.isfinite(found.auc)
    covered = ((found.low <= truth) & (truth <= found.high))[defined].mean()
    assert 0.94 <= covered <= 0.99


def test_perfect_separation_has_a_sane_interval():
    low, high = auc_intervals(np.array([1.0, 0.0, 0.5]), np.array([32] * 3), np.array([32] * 3))
    assert high[0] == 1
    assert 0.85 < low[0] < 0.95
    assert (low[1], high[1]) == pytest.approx((0, 1 - low[0]))
    assert low[2] == pytest.approx(1 - high[2])


def test_the_ends_solve_the_equation():
    low, high = auc_intervals(np.array([0.8]), np.array([20]), np.array([30]))
    n, z = (20 + 30) / 2 - 1, stats.norm.ppf(0.975)
    for end in (low[0], high[0]):
        variance = end * (1 - end) * (1 + n * (1 - end) / (2 - end) + n * end / (1 + end)) / 600
        assert abs(end - 0.8) == pytest.approx(z * np.sqrt(variance))


def test_infinite_scores_are_ranked():
    labels = np.array([[True], [True], [False], [False]])
    found = point_vulnerability(np.array([[np.inf], [-np.inf], [0.0], [1.0]]), labels)
    assert found.auc[0] == 0.5


@pytest.mark.parametrize("scores", [np.zeros(3), np.full((2, 2), np.nan)])
def test_wrong_input_is_refused(scores):
    with pytest.raises(TmiError, match="scores"):
        point_vulnerability(scores, np.zeros((2, 2), dtype=bool))
