from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from tmi.errors import TmiError
from tmi.metrics.bootstrap import Bootstrap
from tmi.metrics.differences import compare_to
from tmi.metrics.estimate import holm
from tmi.metrics.roc import judge, point_aucs, resolution, score_histogram

RATES = [0.001, 0.01, 0.05, 0.1]


def sample(targets: int = 12, points: int = 80, effect: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.random((targets, points)) < 0.5
    return random.normal(size=labels.shape).round(1) + effect * labels, labels


def test_estimates_are_those_of_scikit_learn() -> None:
    scores, labels = sample()
    judged = judge(scores, labels, RATES, Bootstrap(100))
    fpr, tpr, _ = roc_curve(labels.ravel(), scores.ravel(), drop_intermediate=False)
    assert judged.auc.estimate == pytest.approx(roc_auc_score(labels.ravel(), scores.ravel()), abs=1e-12)
    assert 0.6 < judged.balanced_accuracy.estimate <= ((tpr + 1 - fpr) / 2).max() + 1e-12
    for rate in RATES:
        assert judged.tpr_at_fpr[f"{rate:g}"].estimate == tpr[fpr <= rate].max()


def test_intervals_are_ordered_and_narrower_with_more_targets() -> None:
    few, many = (judge(*sample(targets, 150), RATES, Bootstrap(400)).auc for targets in (4, 40))
    assert few.low < few.estimate < few.high
    assert many.high - many.low < few.high - few.low


def test_the_seed_and_not_the_threads_decide_the_interval() -> None:
    scores, labels = sample()
    one = judge(scores, labels, RATES, Bootstrap(300, seed=1, threads=1))
    assert one == judge(scores, labels, RATES, Bootstrap(300, seed=1, threads=3))
    assert one != judge(scores, labels, RATES, Bootstrap(300, seed=2))


def test_what_cannot_be_resolved_is_marked() -> None:
    scores, labels = sample(targets=2, points=150)
    judged = judge(scores, labels, RATES, Bootstrap(100))
    assert 100 < (~labels).sum() < 200
    assert [judged.tpr_at_fpr[f"{rate:g}"].resolvable for rate in RATES] == [False, False, False, True]


def test_the_curve_rises_inside_its_band() -> None:
    curve = judge(*sample(), RATES, Bootstrap(200)).roc
    assert np.all(np.diff(curve.fpr) > 0)
    assert np.all(np.diff(curve.tpr) >= 0)
    assert (np.array(curve.low) <= np.array(curve.high)).all()
    assert curve.fpr[-1] == pytest.approx(1)
    assert curve.tpr[-1] == 1


def test_one_kind_of_label_is_refused() -> None:
    with pytest.raises(TmiError, match="4 members and 0 non-members"):
        judge(np.zeros((2, 2)), np.ones((2, 2), dtype=bool), RATES)


def test_point_aucs_are_the_auc_of_each_column() -> None:
    scores, labels = sample(targets=15, points=30)
    labels[:, 0] = True
    aucs = point_aucs(scores, labels)
    assert np.isnan(aucs[0])
    for point in range(1, 30):
        assert aucs[point] == pytest.approx(roc_auc_score(labels[:, point], scores[:, point]))


def test_intervals_cover_the_truth_when_rows_are_not_independent() -> None:
    """Scores share an effect per point and per target; the interval must still cover 0.5 about 95% of the time."""
    covered = 0
    draws = 200
    for draw in range(draws):
        random = np.random.default_rng(draw)
        labels = random.random((10, 60)) < 0.5
        shared = random.normal(size=(1, 60)) + 0.5 * random.normal(size=(10, 1))
        auc = judge(shared + 0.5 * random.normal(size=labels.shape), labels, [0.1], Bootstrap(200, seed=draw)).auc
        covered += auc.low <= 0.5 <= auc.high
    assert 0.9 <= covered / draws <= 1.0


def test_the_band_holds_more_than_the_intervals_where_the_curve_is_resolved() -> None:
    scores, labels = sample(20, 200)
    curve = judge(scores, labels, RATES, Bootstrap(400)).roc
    fpr, low, high, band_low, band_high = map(
        np.array, (curve.fpr, curve.low, curve.high, curve.band_low, curve.band_high)
    )
    middle = (fpr > 0.01) & (fpr < 0.5)
    # Both step where scores are equal, the intervals symmetrically on the logit's scale.
    assert ((band_high - band_low)[middle] > (high - low)[middle]).mean() > 0.9
    assert (np.diff(band_low) >= 0).all()
    assert (np.diff(band_high) >= 0).all()
    assert ((band_low <= curve.tpr) & (curve.tpr <= band_high))[middle].all()
    assert (band_low[-1], band_high[-1]) == (pytest.approx(band_low.max()), 1)


def test_calibration_takes_out_what_rows_have_of_their_own() -> None:
    """Independent rows, whose standard error is known: the plain bootstrap has about sqrt(3) of it."""
    scores, labels = sample(40, 100)
    drawn = Bootstrap(1000, seed=0).draw(scores, labels, np.array([0.1]))
    estimates = np.array([judge(scores, labels, [0.1], Bootstrap(2)).auc.estimate, 0, 0])
    beaten = np.searchsorted(np.sort(scores[~labels]), scores[labels]) / (~labels).sum()
    beating = 1 - np.searchsorted(np.sort(scores[labels]), scores[~labels]) / labels.sum()
    exact = np.sqrt(beaten.var() / labels.sum() + beating.var() / (~labels).sum())
    assert drawn.both[:, 0].std() == pytest.approx(np.sqrt(3) * exact, rel=0.15)
    assert drawn.calibrated(estimates, 0.95)[:, 0].std() == pytest.approx(exact, rel=0.25)


def test_calibration_keeps_what_targets_share() -> None:
    random = np.random.default_rng(0)
    labels = random.random((20, 100)) < 0.5
    scores = random.normal(size=labels.shape) + labels * 2 * random.random((20, 1))
    drawn = Bootstrap(500, seed=0).draw(scores, labels, np.array([0.1]))
    calibrated = drawn.calibrated(drawn.both.mean(axis=0), 0.95)
    assert (calibrated.std(axis=0) > 0.99 * drawn.targets.std(axis=0))[[0, 2]].all()


def test_one_target_has_an_interval() -> None:
    judged = judge(*sample(targets=1, points=200), RATES, Bootstrap(200))
    assert 0 < judged.auc.low < judged.auc.estimate < judged.auc.high < 1


def test_the_resamples_of_both_are_those_of_the_plain_bootstrap() -> None:
    scores, labels = sample()
    drawn = Bootstrap(300, seed=5).draw(scores, labels, np.array(RATES))
    plain = Bootstrap(300, seed=5).draw(scores, labels, np.array(RATES)).both
    np.testing.assert_array_equal(drawn.both, plain)
    assert ((drawn - drawn).calibrated(np.zeros(6), 0.95) == 0).all()


def test_a_perfect_attack_is_not_certain_to_be_perfect() -> None:
    labels = np.random.default_rng(0).random((5, 50)) < 0.5
    judged = judge(labels.astype(float), labels, [0.1], Bootstrap(50))
    for figure in (judged.auc, judged.balanced_accuracy, judged.tpr_at_fpr["0.1"]):
        assert figure.estimate == figure.high == 1
        assert 0.9 < figure.low < 0.97
        assert figure.p_value < 0.01


def test_equal_scores_show_nothing() -> None:
    labels = np.random.default_rng(0).random((5, 50)) < 0.5
    judged = judge(np.zeros(labels.shape), labels, [0.1], Bootstrap(50))
    for figure in (judged.auc, judged.balanced_accuracy):
        assert figure.low <= 0.5 <= figure.high
        assert figure.p_value >= 0.5


def test_noise_has_the_balanced_accuracy_of_a_coin() -> None:
    """The best threshold for the same scores would be above 0.5 in every one of them."""
    figures = []
    for draw in range(60):
        random = np.random.default_rng(draw)
        labels = random.random((6, 80)) < 0.5
        figures.append(judge(random.normal(size=labels.shape), labels, [0.1], Bootstrap(2)).balanced_accuracy)
    assert abs(np.mean([figure.estimate for figure in figures]) - 0.5) < 0.01
    assert np.mean([figure.low <= 0.5 <= figure.high for figure in figures]) >= 0.9
    assert np.mean([figure.low > 0.5 for figure in figures]) <= 0.05


def test_few_targets_vary_more_than_they_show() -> None:
    """Two targets, drawn from themselves, vary by half of what two new ones would."""
    scores, labels = sample(2, 400)
    scores[1] -= labels[1]
    drawn = Bootstrap(1000, seed=0).draw(scores, labels, np.array([0.1]))
    variance, _ = drawn.variance()
    assert variance[0] > 1.8 * drawn.targets[:, 0].var()


def test_resolution_is_that_of_the_judgement() -> None:
    scores, labels = sample(targets=3, points=100)
    found = resolution(RATES, labels)
    judged = judge(scores, labels, RATES, Bootstrap(20))
    for rate in RATES:
        entry = found[f"{rate:g}"]
        assert entry["resolvable"] == judged.tpr_at_fpr[f"{rate:g}"].resolvable
        assert entry["resolvable"] == (entry["points_needed"] <= 100)
        share = (~labels).sum() / 100
        assert (entry["points_needed"] - 1) * share * rate < 9.5 <= entry["points_needed"] * share * rate + 1e-6
    assert resolution([0.01], np.zeros((1, 950), dtype=bool)) == {"0.01": {"resolvable": True, "points_needed": 950}}
    with pytest.raises(TmiError, match="no non-members"):
        resolution(RATES, np.ones((2, 2), dtype=bool))


def test_the_histogram_counts_every_score() -> None:
    scores, labels = sample(30, 200)
    scores[0, :3] = [np.inf, -np.inf, 1e9]
    found = score_histogram(scores, labels)
    edges = np.array(found["edges"])
    assert len(edges) == 41
    assert np.allclose(edges[[0, -1]], np.percentile(scores[np.isfinite(scores)], [0.5, 99.5]))
    assert (sum(found["members"]), sum(found["non_members"])) == (labels.sum(), (~labels).sum())
    inner = slice(1, -1)
    counts, _ = np.histogram(scores[labels & np.isfinite(scores)], edges)
    assert found["members"][inner] == counts[inner].tolist()


@pytest.mark.parametrize("value", [0.0, 1e300, -5.0, np.inf])
def test_the_histogram_of_equal_scores_has_bins(value: float) -> None:
    labels = np.array([[True, False]])
    found = score_histogram(np.full((1, 2), value), labels)
    assert (np.diff(found["edges"]) > 0).all()
    assert sum(found["members"]) == sum(found["non_members"]) == 1


def test_holm_is_that_of_the_definition() -> None:
    # Smallest times 4, next times 3, ..., never falling.
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]).tolist() == [1, 1]
    assert len(holm([])) == 0


def test_attacks_are_compared_in_the_resamples_that_they_were_judged_by() -> None:
    random = np.random.default_rng(3)
    labels = random.random((5, 40)) < 0.5
    scores = {name: random.normal(size=labels.shape) + shift * labels for name, shift in (("a", 1.0), ("b", 0.5))}
    rates, bootstrap = [0.05, 0.2], Bootstrap(300, seed=4)
    drawn = {name: judge(each, labels, rates, bootstrap).drawn for name, each in scores.items()}
    assert compare_to("a", scores, labels, rates, bootstrap, drawn) == compare_to("a", scores, labels, rates, bootstrap)
