"""Real shadow models, each in turn the target whose membership nobody is told."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import tmi
from tmi.metrics.bootstrap import Bootstrap
from tmi.metrics.set_test import SetTest, set_test
from tmi.metrics.unknown_target import calls, p_values

FAST = ["gaussian", "adapted-lira"]
LEVELS = [0.01, 0.05, 0.1, 0.5]


class Case:
    """One model as the target, the others as its shadows; ``has`` is what the target was really trained on."""

    def __init__(self, folder: Path, attack: str, model: int) -> None:
        predictions, membership = np.load(folder / "predictions.npy"), np.load(folder / "membership.npy")
        self.has = membership[model].copy()
        membership[model] = False
        others = [other for other in range(len(membership)) if other != model]
        answers = tmi.Answers(tmi.Predictions(list(predictions)), membership)
        score = tmi.attack_named(attack).score
        self.target = score(answers, [model])[0]
        self.shadows = score(answers.restricted(others), range(len(others)))
        self.membership = membership[others]

    def set_test(self, share: float, random: np.random.Generator) -> SetTest:
        """On half as many points as there are, of which the target was trained on a share."""
        size = min(self.has.sum(), (~self.has).sum())
        members = round(share * size)
        chosen = [
            random.choice(np.flatnonzero(self.has), members, replace=False),
            random.choice(np.flatnonzero(~self.has), size - members, replace=False),
        ]
        points = np.sort(np.concatenate(chosen))
        return set_test(self.target[points], self.shadows[:, points], self.membership[:, points])


@lru_cache(maxsize=4)
def cases(folder: Path, attack: str) -> list[Case]:
    return [Case(folder, attack, model) for model in range(len(np.load(folder / "membership.npy")))]


def standard_error(per_model: np.ndarray) -> np.ndarray:
    """Of the mean over models, whose points are not independent."""
    return per_model.std(axis=0, ddof=1) / np.sqrt(len(per_model))


@pytest.mark.parametrize("attack", FAST)
def test_p_values_of_non_members_are_uniform(golden, attack):
    p = [p_values(case.target, case.shadows, case.membership)[~case.has] for case in cases(golden, attack)]
    shares = np.array([[(each <= level).mean() for level in LEVELS] for each in p])
    assert (np.abs(shares.mean(axis=0) - LEVELS) < 3 * standard_error(shares)).all()
    # And the standard errors are small enough for that to mean something.
    assert (standard_error(shares) < [0.002, 0.006, 0.008, 0.012]).all()


@pytest.mark.parametrize("attack", FAST)
def test_members_are_called_at_the_promised_rate(golden, attack):
    found = [
        (p_values(case.target, case.shadows, case.membership)[case.has] <= 0.01).mean()
        for case in cases(golden, attack)
    ]
    for case in cases(golden, attack)[:3]:
        promised = calls(case.target, case.shadows, case.membership, 0.01, Bootstrap(200))
        assert promised.tpr.low < np.mean(found) < promised.tpr.high
        assert promised.tpr.estimate == pytest.approx(np.mean(found), abs=2 * standard_error(np.array(found)))


@pytest.mark.parametrize("attack", FAST)
def test_sets_without_members_are_rarely_suspected(golden, attack):
    random = np.random.default_rng(0)
    p = np.array([case.set_test(0, random).p_value for case in cases(golden, attack)])
    for level in (0.01, 0.05, 0.1):
        assert (p <= level).sum() <= stats.binom.ppf(0.99, len(p), level)
    assert 0.3 < (p <= 0.5).mean() < 0.6


@pytest.mark.parametrize("attack", FAST)
def test_sets_with_more_members_are_suspected_more_often(golden, attack):
    random = np.random.default_rng(0)
    power = [
        np.mean([case.set_test(share, random).p_value <= 0.05 for case in cases(golden, attack)])
        for share in (0.1, 0.5, 1.0)
    ]
    assert power == sorted(power)
    assert power[-1] > 0.6
    if golden.name == "text":
        assert power[1] > 0.95


def tmi_cases(folder: Path) -> Iterator[Case]:
    for model in range(3):
        yield Case(folder, "tmi", model)


@pytest.mark.slow
def test_the_default_attack_on_three_targets(golden):
    random = np.random.default_rng(0)
    called = []
    for case in tmi_cases(golden):
        p = p_values(case.target, case.shadows, case.membership)
        promised = calls(case.target, case.shadows, case.membership, 0.01, Bootstrap(200))
        assert (p[~case.has] <= 0.05).mean() < 0.15
        assert (p[~case.has] <= 0.5).mean() == pytest.approx(0.5, abs=0.2)
        assert case.set_test(0, random).p_value > 0.05
        assert case.set_test(1, random).p_value < 1e-4
        called.append((p[case.has] <= 0.01).mean())
    assert promised.tpr.low - 0.05 < np.mean(called) < promised.tpr.high + 0.05
