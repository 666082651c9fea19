from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from tmi.errors import TmiError
from tmi.metrics import judge, point_aucs

RATES = [0.001, 0.01, 0.05, 0.1]


def sample(targets: int = 12, points: int = 80, effect: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.random((targets, points)) < 0.5
    return random.normal(size=labels.shape).round(1) + effect * labels, labels


def test_estimates_are_those_of_scikit_learn() -> None:
    scores, labels = sample()
    judged = judge(scores, labels, RATES, resamples=100)
    fpr, tpr, _ = roc_curve(labels.ravel(), scores.ravel(), drop_intermediate=False)
    assert judged.auc.estimate == pytest.approx(roc_auc_score(labels.ravel(), scores.ravel()), abs=1e-12)
    assert judged.balanced_accuracy.estimate == pytest.approx(((tpr + 1 - fpr) / 2).max(), abs=1e-12)
    for rate in RATES:
        assert judged.tpr_at_fpr[f"{rate:g}"].estimate == tpr[fpr <= rate].max()


def test_intervals_are_ordered_and_narrower_with_more_targets() -> None:
    few, many = (judge(*sample(targets, 150), RATES, resamples=400).auc for targets in (4, 40))
    assert few.low < few.estimate < few.high
    assert many.high - many.low < few.high - few.low


def test_the_seed_and_not_the_threads_decide_the_interval() -> None:
    scores, labels = sample()
    one = judge(scores, labels, RATES, resamples=300, seed=1, threads=1)
    assert one == judge(scores, labels, RATES, resamples=300, seed=1, threads=3)
    assert one != judge(scores, labels, RATES, resamples=300, seed=2)


def test_what_cannot_be_resolved_is_marked() -> None:
    scores, labels = sample(targets=2, points=100)
    judged = judge(scores, labels, RATES, resamples=100)
    assert 20 < (~labels).sum() < 200
    assert [judged.tpr_at_fpr[f"{rate:g}"].resolvable for rate in RATES] == [False, True, True, True] or (
        (~labels).sum() < 100
    )


def test_the_curve_rises_inside_its_band() -> None:
    curve = judge(*sample(), RATES, resamples=200).roc
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
        auc = judge(shared + 0.5 * random.normal(size=labels.shape), labels, [0.1], resamples=200, seed=draw).auc
        covered += auc.low <= 0.5 <= auc.high
    assert 0.9 <= covered / draws <= 1.0
