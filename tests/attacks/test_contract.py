from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from made.simulated import ATTACKS, EXPENSIVE, evidence_of, simulated, with_membership
from tmi import _core
from tmi.attacks.features.membership import RIDGE, Ingredients
from tmi.attacks.features.profiles import profiles
from tmi.attacks.registry import Needs, attack_named, options_of
from tmi.attacks.tmi import LEAST_CLASSIFIERS
from tmi.errors import TmiError
from tmi.metrics.bootstrap import Bootstrap
from tmi.metrics.roc import judge
from tmi.predictions.arrays import Predictions
from tmi.predictions.attack_input import AttackInput, neutral

WITH_SHADOWS = [name for name in ATTACKS if name not in ("confidence", "label-probe")]
# RMIA asks whether the target is surer than the shadows, but in `simulated` membership has no preferred sign:
# test_attacks_published.py has a test of it with one.
NEEDS_A_SIGN = {"rmia"}


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_describes_itself(name: str) -> None:
    attack = attack_named(name)
    assert attack.name == name
    assert attack.summary
    assert attack.needs is not Needs.KNOWN_MEMBERS


@pytest.mark.parametrize("name", ATTACKS)
def test_options_are_plain_values_that_the_attack_takes_back(name: str) -> None:
    attack = attack_named(name)
    options = options_of(attack)
    assert all(isinstance(value, bool | int | float | str) for value in options.values())
    assert options_of(attack_named(name, options)) == options
    with pytest.raises(TmiError, match=f"the attack '{name}' has no option 'colour'"):
        attack_named(name, {"colour": "red"})


def test_unknown_attack() -> None:
    with pytest.raises(TmiError, match="no attack named 'gausian' \\(did you mean 'gaussian'"):
        attack_named("gausian")


@pytest.mark.parametrize("name", [name for name in WITH_SHADOWS if name not in NEEDS_A_SIGN])
def test_attacks_find_what_is_there(name: str) -> None:
    answers = simulated(effect=1.5)
    scores = attack_named(name).score(answers, range(8))
    assert scores.shape == (8, 60)
    assert scores.dtype == np.float64
    assert np.isfinite(scores).all()
    assert roc_auc_score(answers.membership[:8].ravel(), scores.ravel()) > 0.65


@pytest.mark.parametrize("name", ATTACKS)
def test_the_target_row_of_the_membership_is_never_looked_at(name: str) -> None:
    answers = simulated(models=10)
    flipped = answers.membership.copy()
    flipped[3] = ~flipped[3]
    attack = attack_named(name)
    # Not equal to the bit: kernels sum over all models once and subtract the target's part.
    np.testing.assert_allclose(
        attack.score(answers, [3]), attack.score(with_membership(answers, flipped), [3]), rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("name", ATTACKS)
def test_scores_do_not_depend_on_the_other_targets_or_the_threads(name: str) -> None:
    answers = simulated(models=10)
    attack = attack_named(name)
    together = attack.score(answers, [0, 3, 7])
    np.testing.assert_array_equal(together[1:2], attack.score(answers, [3]))
    threaded = replace(answers, threads=3)
    np.testing.assert_array_equal(together, attack.score(threaded, [0, 3, 7]))


@pytest.mark.parametrize(("models", "size"), [(3, 1), (39, 1), (40, 2), (65, 3), (1000, 50)])
def test_most_models_teach_the_classifier_of_a_group(models: int, size: int) -> None:
    assert attack_named("tmi").targets_at_once(models) == size
    assert size * LEAST_CLASSIFIERS <= max(models, LEAST_CLASSIFIERS)


@pytest.mark.parametrize("name", ["tmi", "direct"])
def test_no_membership_of_a_group_teaches_its_classifier(name: str) -> None:
    answers, attack = simulated(models=40, points=30), attack_named(name)
    flipped = answers.membership.copy()
    flipped[4:6] = ~flipped[4:6]
    scores = attack.score(answers, [5, 0, 4, 39])
    for row, target in enumerate([5, 0, 4, 39]):
        np.testing.assert_array_equal(scores[[row]], attack.score(answers, [target]))
    np.testing.assert_allclose(
        scores[[0, 2]], attack.score(with_membership(answers, flipped), [5, 4]), rtol=1e-9, atol=1e-9
    )
    # It would be another if the two were taught.
    assert not np.allclose(scores[1], attack.score(with_membership(answers, flipped), [0])[0])


@pytest.mark.parametrize("name", ATTACKS)
def test_the_fewest_models_and_one_sided_points_give_finite_scores(name: str) -> None:
    answers = simulated(models=3, points=8)
    membership = answers.membership.copy()
    membership[:, 0], membership[:, 1] = True, False
    answers = with_membership(answers, membership)
    scores = attack_named(name).score(answers, range(3))
    assert np.isfinite(scores).all()
    assert neutral(membership, range(3))[:, :2].all()


def coin_flip_intervals(name: str, draws: Sequence[int]) -> list[bool]:
    """Whether the interval of an attack's AUC covers 0.5 when the membership has nothing to do with the answers."""
    covered = []
    for draw in draws:
        answers = simulated(models=16, points=50, effect=0.0, seed=draw)
        scores = attack_named(name).score(answers, range(16))
        auc = judge(scores, answers.membership, [0.1], Bootstrap(300, seed=draw)).auc
        covered.append(auc.low <= 0.5 <= auc.high)
    return covered


# Parts of `tmi` see nothing that it does not; --slow repeats this with all of them.
@pytest.mark.parametrize("name", [name for name in ATTACKS if not name.startswith("tmi-")])
def test_coin_flip_membership_shows_no_leak(name: str) -> None:
    assert sum(coin_flip_intervals(name, range(6))) >= 5


@pytest.mark.slow
@pytest.mark.parametrize("name", ATTACKS)
def test_intervals_of_a_coin_flip_cover_one_half(name: str) -> None:
    assert sum(coin_flip_intervals(name, range(100, 130))) >= 27


@pytest.mark.slow
@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("data", ["digits", "text"])
def test_coin_flip_membership_on_real_answers(name: str, data: str, shared: object) -> None:
    """Real models' answers with permuted membership: at least 90% of the 95% intervals cover 0.5."""
    from pathlib import Path

    assert isinstance(shared, Path)
    folder = shared / "golden" / data
    predictions = Predictions(list(np.load(folder / "predictions.npy")))
    labels = np.load(folder / "labels.npy").astype(np.int64)
    pretrained = Predictions(list(np.load(folder / "pretrained_predictions.npy").astype(np.float32)))
    truth = np.load(folder / "membership.npy").astype(bool)
    covered = []
    targets = range(2) if name in EXPENSIVE else range(8)
    for draw in range(20):
        membership = np.random.default_rng(draw).permuted(truth, axis=1)
        answers = AttackInput(predictions, membership, pretrained, pretraining_labels=labels)
        scores = attack_named(name).score(answers, targets)
        auc = judge(scores, membership[: len(targets)], [0.1], Bootstrap(300, seed=draw)).auc
        covered.append(auc.low <= 0.5 <= auc.high)
    assert sum(covered) >= 18


def test_features_are_named_and_finite() -> None:
    answers = simulated(models=8)
    everything = np.ones((8, 60), dtype=bool)
    assert evidence_of(answers, Ingredients(labels=False)).of_targets([2], everything).shape == (8 * 60, 7 * 8)
    features = evidence_of(answers).of_targets([2], everything)
    # The log odds of the labels as they are and conditioned, like the others, and the three of them.
    assert features.shape == (8 * 60, 9 * 8 + 4)
    assert np.array_equal(
        evidence_of(answers).of_targets([2], answers.membership), features[answers.membership.ravel()]
    )
    names = _core.leave_one_out_feature_names([RIDGE])
    assert len(set(names)) == len(names)
    assert np.isfinite(features).all()


def test_blocks_of_points_change_nothing() -> None:
    whole = attack_named("adapted-lira").score(simulated(), range(4))
    answers = simulated()
    answers.predictions.memory = 100_000
    assert len(list(answers.predictions.blocks())) > 3
    np.testing.assert_array_equal(attack_named("adapted-lira").score(answers, range(4)), whole)
    np.testing.assert_array_equal(
        profiles(answers.predictions).clipped,
        profiles(Predictions(list(answers.predictions.block(slice(None))))).clipped,
    )


def test_arrays_that_do_not_fit_are_named() -> None:
    answers = simulated(models=4, points=8)
    arrays = list(answers.predictions.block(slice(None)))
    with pytest.raises(TmiError, match=r"predictions of model 0 have type float64"):
        Predictions([array.astype(np.float64) for array in arrays])
    with pytest.raises(TmiError, match=r"predictions of model 2 have type float32 and shape \(7, 3, 4\)"):
        Predictions([arrays[0], arrays[1], arrays[2][:7]])
    with pytest.raises(TmiError, match=r"membership has type bool and shape \(4, 7\)"):
        AttackInput(answers.predictions, answers.membership[:, :7])
    with pytest.raises(TmiError, match=r"membership has type int64"):
        AttackInput(answers.predictions, answers.membership.astype(int))
    with pytest.raises(TmiError, match="hold 2 models, expected at least 3"):
        AttackInput(Predictions(arrays[:2]), answers.membership[:2])
    with pytest.raises(TmiError, match="needs the predictions of the pretrained models"):
        attack_named("direct").score(AttackInput(answers.predictions, answers.membership), [0])
    for name in ("label-probe", "label-probe-shadows"):
        with pytest.raises(TmiError, match="have no pretraining labels"):
            attack_named(name).score(AttackInput(answers.predictions, answers.membership), [0])
