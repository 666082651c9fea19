"""A target of unknown membership: known answers, a slow reference, and what happens where there is nothing to find."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tmi.errors import TmiError
from tmi.metrics import set_test as set_tests
from tmi.metrics.bootstrap import Bootstrap
from tmi.metrics.roc import judge
from tmi.metrics.set_test import set_test
from tmi.metrics.unknown_target import SUSPECTED_POINTS, calls, p_values, target_results

seeds = st.integers(0, 2**32 - 1)
shadow_counts = st.integers(5, 12)
point_counts = st.integers(8, 30)

Scores = tuple[np.ndarray, np.ndarray, np.ndarray]


def made(
    seed: int,
    shadows: int = 24,
    points: int = 60,
    *,
    signal: float = 0.0,
    members: float = 0.0,
    of_model: float = 0.3,
    shift: float = 0.0,
    decimals: int = 9,
) -> Scores:
    """Scores of a target and shadows with effects of models and of points; the target has a share of the points."""
    random = np.random.default_rng(seed)
    membership = random.random((shadows + 1, points)) < 0.5
    membership[0] = random.random(points) < members
    noise = random.standard_t(3, size=membership.shape) * random.gamma(2, 0.5, size=points)
    scores = noise + of_model * random.normal(size=(shadows + 1, 1)) + 2 * random.normal(size=points)
    scores = (scores + signal * membership).round(decimals)
    scores[0] += shift
    return scores[0], scores[1:], membership[1:]


def slow_set_test(target: np.ndarray, shadows: np.ndarray, membership: np.ndarray) -> tuple[float, float]:
    """The excess and the p-value, point by point and shadow by shadow."""
    pool = [score for row, has in zip(shadows, membership, strict=True) for score in row[~has]]

    def quantile(score: float) -> float:
        below = sum(other < score for other in pool) + 0.5 * sum(other == score for other in pool)
        return stats.norm.ppf((below + 0.5) / (len(pool) + 1))

    points = [p for p in range(len(target)) if (~membership[:, p]).sum() >= 3]
    out = {p: [s for s in range(len(shadows)) if not membership[s, p]] for p in points}
    values = {(s, p): quantile(shadows[s, p]) for p in points for s in out[p]}

    def deviations(p: int, others: list[int]) -> tuple[float, float, int]:
        theirs = [values[s, p] for s in others]
        mean = sum(theirs) / len(theirs)
        return mean, sum((value - mean) ** 2 for value in theirs), len(theirs) - 1

    parts = [deviations(p, out[p]) for p in points]
    common = sum(part[1] for part in parts) / sum(part[2] for part in parts)

    def standardised(value: float, p: int, others: list[int]) -> float:
        mean, squares, freedom = deviations(p, others)
        weight = set_tests.PRIOR_WEIGHT
        z = (value - mean) / np.sqrt((squares + weight * common) / (freedom + weight))
        return float(np.clip(z, -set_tests.LARGEST_DEVIATION, set_tests.LARGEST_DEVIATION))

    means = []
    for s in range(len(shadows)):
        own = [standardised(values[s, p], p, [other for other in out[p] if other != s]) for p in points if s in out[p]]
        means += [np.mean(own)] if own else []
    excess = np.mean([standardised(quantile(target[p]), p, out[p]) for p in points]) - np.mean(means)
    t = excess / (np.std(means, ddof=1) * np.sqrt(1 + 1 / len(means)))
    return float(excess), float(stats.t.sf(t, len(means) - 1))


# ------------------------------------------------------------------------------------- p-values


def test_p_values_count_non_members_of_all_shadows_and_ties_with_them():
    shadows = np.array([[1.0, 2.0], [3.0, 9.0], [4.0, 5.0]])
    membership = np.array([[False, False], [False, True], [True, False]])  # non-members: 1, 2, 3, 5
    p = p_values(np.array([3.0, 5.5]), shadows, membership)
    assert p.tolist() == [3 / 5, 1 / 5]
    assert p_values(np.array([-np.inf, np.inf]), shadows, membership).tolist() == [1, 1 / 5]


@given(st.lists(st.integers(0, 5), min_size=2, max_size=60), st.floats(0.001, 0.999))
def test_p_values_of_exchangeable_scores_are_never_small_too_often(scores, rate):
    """Whichever of n + 1 scores is the target's, at most a share of ``rate`` has a p-value of at most ``rate``."""
    values = np.array(scores, dtype=np.float64)
    small = 0
    for left_out in range(len(values)):
        others = np.delete(values, left_out)[:, None]
        small += p_values(values[[left_out]], others, np.zeros(others.shape, dtype=bool))[0] <= rate
    assert small <= rate * len(values) + 1e-9


# ------------------------------------------------------------------------------------- calls


@given(seeds, shadow_counts, point_counts, st.sampled_from([0.01, 0.05, 0.1, 0.37]), st.integers(0, 2))
@settings(max_examples=25, deadline=None)
def test_called_are_the_points_whose_p_value_is_at_most_the_rate(seed, shadows, points, rate, decimals):
    target, scores, membership = made(seed, shadows, points, signal=1.0, members=0.5, decimals=decimals)
    result = calls(target, scores, membership, rate, Bootstrap(20))
    assert result.called == (p_values(target, scores, membership) <= rate).sum() == (target > result.threshold).sum()
    assert result.expected_false == pytest.approx(rate * points)
    assert result.resolvable == (rate * (1 + (~membership).sum()) >= 1)
    if result.resolvable:
        assert (scores[~membership] > result.threshold).mean() <= rate
        assert result.tpr.estimate == pytest.approx((scores[membership] > result.threshold).mean())


def test_the_true_positive_rate_and_its_interval_are_those_of_the_report():
    target, scores, membership = made(5, 30, 200, signal=2.0)
    ours = calls(target, scores, membership, 0.05, Bootstrap(300, seed=3))
    theirs = judge(scores, membership, [0.05], Bootstrap(300, seed=3)).tpr_at_fpr["0.05"]
    assert ours.tpr.estimate == pytest.approx(theirs.estimate, abs=0.005)
    assert (ours.tpr.low, ours.tpr.high) == pytest.approx((theirs.low, theirs.high), abs=0.01)
    assert ours.tpr.low < ours.tpr.estimate < ours.tpr.high


def test_too_few_non_members_for_a_rate_call_nobody():
    target, scores, membership = made(0, 4, 10)
    result = calls(target + 1e6, scores, membership, 0.001, Bootstrap(20))
    assert (result.called, result.resolvable, result.tpr.resolvable) == (0, False, False)
    assert result.threshold == np.inf


def test_calls_do_not_depend_on_threads():
    arguments = made(1, 12, 40, signal=1.0)
    assert calls(*arguments, 0.1, Bootstrap(50, threads=1)) == calls(*arguments, 0.1, Bootstrap(50, threads=2))


# ------------------------------------------------------------------------------------- the set


# Enough shadows and points for the test, and decimals for the scores to vary at every point.
@given(seeds, st.integers(8, 14), st.integers(12, 40), st.integers(2, 4))
@settings(max_examples=25, deadline=None)
def test_set_test_is_that_of_a_slow_reference(seed, shadows, points, decimals):
    arguments = made(seed, shadows, points, signal=1.0, members=0.3, decimals=decimals)
    result = set_test(*arguments)
    excess, p = slow_set_test(*arguments)
    assert result.mean_excess == pytest.approx(excess, abs=1e-9)
    assert result.p_value == pytest.approx(p, abs=1e-9)


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_set_test_knows_no_scale_and_no_order(seed):
    target, scores, membership = made(seed, signal=1.0, members=0.4)
    expected = set_test(target, scores, membership)
    order = np.random.default_rng(seed).permutation(len(target))
    moved = set_test(target[order], scores[:, order], membership[:, order])
    assert moved.p_value == pytest.approx(expected.p_value)
    # Through a monotone function, as far as floating point can tell the values apart.
    assert set_test(np.arctan(target), np.arctan(scores), membership).p_value == pytest.approx(expected.p_value)
    infinite = np.where(target == target.max(), np.inf, target)
    assert set_test(infinite, scores, membership).p_value <= expected.p_value + 1e-12


@given(seeds, st.floats(0, 3))
@settings(max_examples=30, deadline=None)
def test_higher_scores_of_the_target_never_raise_a_p_value(seed, rise):
    target, scores, membership = made(seed, 12, 30)
    assert set_test(target + rise, scores, membership).p_value <= set_test(target, scores, membership).p_value
    assert (p_values(target + rise, scores, membership) <= p_values(target, scores, membership)).all()


def test_the_interval_excludes_zero_where_the_one_sided_p_value_is_below_its_tail():
    results = [set_test(*made(seed, 10, 40, signal=1.5, members=seed / 40)) for seed in range(40)]
    assert {result.low > 0 for result in results} == {True, False}
    for result in results:
        assert (result.low > 0) == (result.p_value < 0.025)
        assert result.low < result.mean_excess < result.high
        assert result.p_value == pytest.approx(stats.t.sf(result.statistic, result.shadows - 1))


@pytest.mark.parametrize(("shadows", "of_model"), [(6, 0.3), (24, 0.0), (24, 0.3), (24, 2.0)])
def test_a_target_without_members_is_rarely_suspected(shadows, of_model):
    """Heavy tails, points of unequal difficulty, and models that are surer about everything or less."""
    p = np.array([set_test(*made(seed, shadows, signal=1.0, of_model=of_model)).p_value for seed in range(400)])
    for level in (0.01, 0.05, 0.2):
        assert (p <= level).sum() <= stats.binom.ppf(0.999, len(p), level)
    assert (p <= 0.5).mean() == pytest.approx(0.5, abs=0.1)


def test_easier_points_without_members_are_no_evidence():
    """The points that shadows do not have score higher here for everybody; only a comparison per point sees through."""
    random = np.random.default_rng(0)
    p = []
    for seed in range(200):
        target, scores, _ = made(seed, 24, 60)
        # Few shadows have the points that are easy, so that a target that has none meets them more often.
        easy = scores.mean(axis=0) > np.median(scores)
        membership = random.random(scores.shape) < np.where(easy, 0.2, 0.8)
        p.append(set_test(target, scores, membership).p_value)
    assert (np.array(p) <= 0.05).sum() <= stats.binom.ppf(0.999, len(p), 0.05)


def test_members_are_found_and_a_few_outliers_are_not_enough():
    found = [set_test(*made(seed, 32, 200, signal=4.0, members=0.5)).p_value for seed in range(20)]
    assert max(found) < 0.01
    target, scores, membership = made(3, 32, 200)
    before = set_test(target, scores, membership)
    target[:2] = 1e12
    assert set_test(target, scores, membership).mean_excess - before.mean_excess < 0.1


def test_a_target_that_is_surer_about_everything_is_taken_for_members():
    """What the test cannot know, and the documentation says: a target that was not made like its shadows."""
    assert set_test(*made(0, 32, 100, of_model=0.1, shift=3.0)).p_value < 0.001


def test_points_that_all_shadows_have_count_for_nothing():
    target, scores, membership = made(2, 12, 30, signal=1.0)
    wider = np.hstack([membership, np.ones((12, 2), dtype=bool)])
    extended = set_test(np.append(target, [99.0, 99.0]), np.hstack([scores, np.zeros((12, 2))]), wider)
    assert extended == set_test(target, scores, membership)


@pytest.mark.parametrize("value", [0.0, np.inf, -np.inf, 1e300])
def test_constant_scores_say_nothing(value):
    _, _, membership = made(0, 8, 20)
    target, scores = np.full(20, value), np.full((8, 20), value)
    result = set_test(target, scores, membership)
    assert (result.p_value, result.statistic, result.mean_excess) == (1.0, 0.0, 0.0)
    assert calls(target, scores, membership, 0.1, Bootstrap(20)).called == 0
    assert (p_values(target, scores, membership) == 1).all()


def test_scores_that_depend_on_the_point_alone_say_nothing():
    _, _, membership = made(0, 8, 20)
    target = np.random.default_rng(0).normal(size=20)
    assert set_test(target, np.tile(target, (8, 1)), membership).p_value == 1


# ------------------------------------------------------------------------------------- the table of results.json


def test_target_results_are_json_and_hold_what_the_functions_say():
    target, scores, membership = made(4, 16, 150, signal=2.0, members=0.5)
    results = target_results(
        {"a": target, "b": -target},
        {"a": scores, "b": -scores},
        membership,
        [0.1, 0.0001],
        headline="a",
        name="their model",
        fpr=0.05,
        points=np.arange(150) + 1000,
        labels=[f"point {index}" for index in range(150)],
        bootstrap=Bootstrap(50),
    )
    assert json.loads(json.dumps(results, allow_nan=False)) == results
    assert list(results["attacks"]["a"]["calls"]) == ["0.0001", "0.05", "0.1"]
    assert results["attacks"]["a"]["calls"]["0.0001"]["threshold"] is None
    assert results["attacks"]["a"]["set_test"]["p_value"] == set_test(target, scores, membership).p_value
    assert results["attacks"]["a"]["calls"]["0.1"]["called"] == calls(target, scores, membership, 0.1).called
    assert {key: results[key] for key in ("name", "points", "shadows", "fpr", "attack")} == {
        "name": "their model",
        "points": 150,
        "shadows": 16,
        "fpr": 0.05,
        "attack": "a",
    }
    suspected = results["most_suspected"]
    assert len(suspected) == SUSPECTED_POINTS
    assert [row["score"] for row in suspected] == sorted(target, reverse=True)[: len(suspected)]
    first = suspected[0]
    assert (first["point"], first["label"]) == (1000 + first["index"], f"point {first['index']}")
    assert first["p_value"] == p_values(target, scores, membership)[first["index"]]
    assert sum(row["called"] for row in suspected) == results["attacks"]["a"]["calls"]["0.05"]["called"]


def test_target_results_where_little_is_known():
    target, scores, membership = np.array([np.inf, 0.0]), np.zeros((2, 2)), np.eye(2, dtype=bool)
    results = target_results(
        {"a": target}, {"a": scores}, membership, [], headline="a", name="", bootstrap=Bootstrap(10)
    )
    json.dumps(results, allow_nan=False)
    assert results["attacks"]["a"]["set_test"] is None
    assert [row["score"] for row in results["most_suspected"]] == [None, 0.0]
    assert [(row["point"], row["label"]) for row in results["most_suspected"]] == [(0, ""), (1, "")]


# ------------------------------------------------------------------------------------- wrong input


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, s, m: (t[:-1], s, m), r"target scores have .* shape \(29,\), expected float64 \(30,\)"),
        (lambda t, s, m: (t, s[1:], m), r"shadow scores have .* shape \(11, 30\), expected float64 \(12, 30\)"),
        (lambda t, s, m: (t.astype(np.float32), s, m), "target scores have type float32"),
        (lambda t, s, m: (t, s, m.astype(int)), "membership of the shadows has type int64"),
        (lambda t, s, m: (t, s, m[0]), r"membership of the shadows has .* shape \(30,\)"),
        (lambda t, s, m: (t[:0], s[:, :0], m[:, :0]), r"shape \(12, 0\)"),
        (lambda t, s, m: (np.where(t == t[0], np.nan, t), s, m), "target scores hold 1 NaN"),
        (lambda t, s, m: (t, np.where(m, np.nan, s), m), "shadow scores hold [0-9]+ NaN"),
        (lambda t, s, m: (t, s, np.ones_like(m)), "no non-member of any shadow"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    arguments = change(*made(0, 12, 30))
    for function in (p_values, set_test, lambda *three: calls(*three, 0.1, Bootstrap(10))):
        with pytest.raises(TmiError, match=message):
            function(*arguments)


def test_too_little_for_a_test_or_for_calls_is_refused():
    target, scores, membership = made(0, 12, 30)
    with pytest.raises(TmiError, match="0 shadows"):
        set_test(target, scores[:2], membership[:2])
    with pytest.raises(TmiError, match="no member of any shadow"):
        calls(target, scores, np.zeros_like(membership), 0.1)
    for rate in (0.0, 1.0, -0.1):
        with pytest.raises(TmiError, match="expected all in"):
            calls(target, scores, membership, rate)


def test_target_results_refuses_tables_that_do_not_fit():
    target, scores, membership = made(0, 12, 30)
    with pytest.raises(TmiError, match="target scores are of a, expected those of the shadow scores, b"):
        target_results({"a": target}, {"b": scores}, membership, [0.1], headline="a", name="")
    with pytest.raises(TmiError, match="the headline tmi"):
        target_results({"a": target}, {"a": scores}, membership, [0.1], headline="tmi", name="")
    with pytest.raises(TmiError, match="points hold 3 entries, expected 30"):
        target_results({"a": target}, {"a": scores}, membership, [], headline="a", name="", points=np.arange(3))
    with pytest.raises(TmiError, match="labels hold 1 entries"):
        target_results({"a": target}, {"a": scores}, membership, [], headline="a", name="", labels=["x"])
