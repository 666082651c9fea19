"""`label-probe` without shadow models: what known non-members are worth, made up and on real models' answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import roc_auc_score

from made.simulated import labelled_target
from tmi.attacks.features.probe import on_one_scale
from tmi.attacks.without_shadows import ProbedTarget, probe_target
from tmi.metrics.set_test import shuffled_set_test
from tmi.predictions.arrays import Predictions

LEVELS = (0.01, 0.05, 0.1, 0.5, 0.9)


def probed(
    logits: NDArray[np.float32], labels: NDArray[np.int64], known: NDArray[np.bool_], seed: int = 0
) -> ProbedTarget:
    return probe_target([Predictions([logits])], labels, ~known, seed)


def test_one_scale_is_that_of_each_label() -> None:
    random = np.random.default_rng(0)
    labels = np.array([5, 5, 5, -2, -2, 9])
    odds = random.normal(size=(2, 6)) * 3 + 10
    found = on_one_scale(odds, labels)
    for row, result in zip(odds, found, strict=True):
        squares = {label: ((row[labels == label] - row[labels == label].mean()) ** 2).sum() for label in (5, -2, 9)}
        common = sum(squares.values()) / (6 - 3)
        for point, label in enumerate(labels):
            same = row[labels == label]
            scale = np.sqrt((squares[label] + 8 * common) / (len(same) - 1 + 8))
            assert result[point] == pytest.approx((row[point] - same.mean()) / scale)
    assert (on_one_scale(np.ones((1, 6)), labels) == 0).all()


def excess(found: ProbedTarget, non_members: NDArray[np.bool_], known: int) -> list[float]:
    """How many more non-members have at most a p-value than exactly uniform ones of so few values would."""
    assert found.p_values is not None
    return [
        (found.p_values[non_members] <= level).mean() - np.floor(level * (known + 1) + 1e-9) / (known + 1)
        for level in LEVELS
    ]


def is_zero(differences: list[list[float]]) -> bool:
    error = np.std(differences, axis=0, ddof=1) / np.sqrt(len(differences))
    return bool((np.abs(np.mean(differences, axis=0)) <= 3 * error).all())


@pytest.mark.parametrize("members", [0.0, 0.5])
def test_non_members_have_exactly_uniform_p_values(members: float) -> None:
    """Few points of many labels, where a candidate that taught its own probe would look like less of a member."""
    differences = []
    for seed in range(200):
        logits, labels, inside = labelled_target(120, 20, members, seed=seed)
        known = ~inside & (np.random.default_rng(seed).random(120) < 1 / 3)
        differences.append(excess(probed(logits, labels, known, seed), ~inside[~known], int(known.sum())))
    assert is_zero(differences)


def test_sets_without_members_are_rarely_suspected_and_those_with_many_always() -> None:
    def p_value(members: float, seed: int) -> float:
        logits, labels, inside = labelled_target(120, members=members, seed=seed)
        known = ~inside & (np.random.default_rng(seed).random(120) < 1 / 2)
        return shuffled_set_test(probed(logits, labels, known).alike, ~known, labels, 99, seed).p_value

    without = np.array([p_value(0.0, seed) for seed in range(100)])
    for level in LEVELS:
        assert (without <= level).sum() <= stats.binom.ppf(0.999, len(without), level)
    assert max(p_value(0.5, seed) for seed in range(10)) <= 0.05


def test_members_are_found() -> None:
    logits, labels, inside = labelled_target(600, members=0.4)
    known = ~inside & (np.arange(600) < 300)
    found = probed(logits, labels, known)
    assert roc_auc_score(inside[~known], found.scores) > 0.8
    assert (found.p_values[inside[~known]] <= 0.05).mean() > 0.3


def test_nothing_depends_on_threads_or_on_how_labels_are_called() -> None:
    logits, labels, inside = labelled_target(100, members=0.3)
    known = ~inside & (np.arange(100) < 40)
    first = probe_target([Predictions([logits])], labels, ~known, 3)
    again = probe_target([Predictions([logits])], 7 - 3 * labels, ~known, 3, threads=2)
    np.testing.assert_array_equal(first.p_values, again.p_values)
    np.testing.assert_allclose(first.scores, again.scores)


def test_without_known_non_members_points_are_ranked() -> None:
    logits, labels, inside = labelled_target(300, members=0.5)
    found = probed(logits, labels, np.zeros(300, dtype=bool))
    assert found.p_values is None
    np.testing.assert_array_equal(found.scores, found.alike)
    assert roc_auc_score(inside, found.scores) > 0.8


def test_a_few_candidates_and_labels_of_single_points_are_scored() -> None:
    logits, _, _ = labelled_target(9)
    labels = np.array([0, 0, 0, 0, 1, 1, 2, 3, 4])
    found = probed(logits, labels, np.arange(9) % 2 == 1)
    assert np.isfinite(found.scores).all()
    # Points that are alone with their label say nothing.
    assert (found.alike[6:] == 0).all()


@pytest.mark.parametrize("data", ["text", "digits"])
def test_real_models(data: str, shared: Path) -> None:
    folder = shared / "golden" / data
    if not folder.is_dir():
        pytest.skip(f"needs the frozen predictions in {folder}")
    predictions, membership, labels = (
        np.load(folder / f"{name}.npy") for name in ("predictions", "membership", "labels")
    )
    labels = labels.astype(np.int64)
    differences, aucs, sets = [], [], []
    for model, inside in enumerate(membership[::2]):
        random = np.random.default_rng(model)
        non_members = random.permutation(np.flatnonzero(~inside))
        known = np.zeros(300, dtype=bool)
        known[non_members[:75]] = True
        found = probed(predictions[2 * model], labels, known, model)
        differences.append(excess(found, ~inside[~known], 75))
        aucs.append(roc_auc_score(inside[~known], found.scores))
        # The same known non-members, and no member among the candidates.
        chosen = ~inside
        alone = probed(predictions[2 * model][chosen], labels[chosen], known[chosen], model)
        sets.append(shuffled_set_test(alone.alike, ~known[chosen], labels[chosen], 99, model).p_value)
    assert is_zero(differences)
    for level in LEVELS:
        assert (np.array(sets) <= level).sum() <= stats.binom.ppf(0.999, len(sets), level)
    assert np.mean(aucs) > {"text": 0.92, "digits": 0.54}[data]


@pytest.mark.slow
@pytest.mark.parametrize("data", ["text", "digits"])
def test_power(data: str, shared: Path) -> None:
    """How many members are called: the table of the guide. Known are 105 of the 150 points that a model lacks."""
    folder = shared / "golden" / data
    predictions, membership, labels = (
        np.load(folder / f"{name}.npy") for name in ("predictions", "membership", "labels")
    )
    labels = labels.astype(np.int64)
    lines = []
    for share in (0.0, 0.02, 0.1, 0.3, 0.5, 0.76):
        rows = []
        for model, inside in enumerate(membership):
            random = np.random.default_rng(model)
            non_members, members = (random.permutation(np.flatnonzero(side)) for side in (~inside, inside))
            members = members[: round(share / (1 - share) * 45)]
            asked = np.concatenate([non_members, members])
            known = np.arange(len(asked)) < 105
            truth = inside[asked][~known]
            found = probed(predictions[model][asked], labels[asked], known, model)
            assert found.p_values is not None
            together = shuffled_set_test(found.alike, ~known, labels[asked], 999, model).p_value
            auc = roc_auc_score(truth, found.scores) if len(members) else np.nan
            called = [
                (found.p_values[side] <= level).mean() if side.any() else np.nan
                for side in (truth, ~truth)
                for level in (0.01, 0.05)
            ]
            rows.append([auc, *called, together <= 0.05])
        auc, at_1, at_5, false_1, false_5, together = np.mean(rows, axis=0)
        lines.append(
            f"{len(members)} members, 45 others: AUC {auc:.3f}, members called at 1% {at_1:.1%}, at 5% {at_5:.1%}; "
            f"others {false_1:.1%}, {false_5:.1%}; set suspected {together:.0%}"
        )
        assert false_1 < 0.02
        assert false_5 < 0.07
    print("", data, *lines, sep="\n")
    assert together > 0.9 or data == "digits"
