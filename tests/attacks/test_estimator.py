"""Attacks as scikit-learn estimators."""

from __future__ import annotations

import doctest
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score

import tmi
from tmi.attacks import estimator as estimators
from tmi.attacks.estimator import MembershipAttack
from tmi.attacks.registry import Needs, all_attacks, attack_named, lacking
from tmi.errors import TmiError
from tmi.predictions.arrays import Predictions
from tmi.predictions.attack_input import AttackInput

# LightGBM or a network for every target: the same code path, but slow.
EXPENSIVE = {"tmi-pointwise", "tmi-mlp"}
WITH_LABELS = {*estimators.HAS, Needs.PRETRAINING_LABELS}
USABLE = [name for name, attack in all_attacks().items() if not lacking(attack, WITH_LABELS)]


def simulated(
    models: int = 13, points: int = 40, effect: float = 2.0, augmentations: int = 2, classes: int = 4, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Logits and memberships; the first model is the target of the tests."""
    random = np.random.default_rng(seed)
    membership = random.random((models, points)) < 0.5
    direction = effect * random.normal(size=(points, 1, classes))
    own = random.normal(size=(models, points, 1, classes))
    jitter = 0.2 * random.normal(size=(models, points, augmentations, classes))
    return (membership[..., None, None] * direction + own + jitter).astype(np.float32), membership


def fitted(attack: str = "gaussian", **options: Any) -> tuple[MembershipAttack, NDArray[np.float32]]:
    logits, membership = simulated(**options)
    return MembershipAttack(attack).fit(logits[1:], membership[1:]), logits[0]


@pytest.mark.parametrize("name", [name for name in USABLE if name not in EXPENSIVE])
def test_the_target_is_scored_as_in_a_run_whatever_its_row_of_the_membership(name: str) -> None:
    """As one of all models of `tmi.Answers`, in any place, with the true row, its opposite or ones only."""
    logits, membership = simulated(models=9, points=24)
    labels, pretraining = np.random.default_rng(1).integers(4, size=(2, 24))
    estimator = MembershipAttack(name, seed=3).fit(logits[1:], membership[1:], labels, pretraining)
    scores = estimator.score_samples(logits[0])
    assert scores.shape == (24,)
    order = [*range(1, 9), 0]
    for row in (membership[0], ~membership[0], np.ones(24, dtype=bool)):
        known = np.vstack([membership[1:], row])
        predictions = Predictions(list(logits[order]))
        answers = AttackInput(predictions, known, seed=3, labels=labels, pretraining_labels=pretraining)
        # Not equal to the bit: kernels sum over all models once and subtract the target's part.
        expected = attack_named(name).score(answers, [8])[0]
        np.testing.assert_allclose(scores, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["tmi", "gaussian", "adapted-lira"])
def test_shadow_scores_are_those_of_a_run(name: str) -> None:
    logits, membership = simulated()
    estimator = MembershipAttack(name).fit(logits, membership)
    scores = estimator.shadow_scores()
    answers = AttackInput(Predictions(list(logits)), membership)
    np.testing.assert_array_equal(scores, tmi.score(attack_named(name), answers, range(13)))
    assert estimator.shadow_scores() is scores
    with pytest.raises(ValueError, match="read-only"):
        scores[0, 0] = 0


def test_views_are_applied_to_shadows_and_target() -> None:
    logits, membership = simulated()
    estimator = MembershipAttack("gaussian", view="label").fit(logits[1:], membership[1:])
    louder = 1.5 * logits[0] + 3
    np.testing.assert_array_equal(estimator.score_samples(logits[0]), estimator.score_samples(louder))
    whole = MembershipAttack("gaussian").fit(logits[1:], membership[1:])
    assert not np.array_equal(whole.score_samples(logits[0]), whole.score_samples(louder))


def test_it_finds_members() -> None:
    logits, membership = simulated(models=33, points=200)
    estimator = MembershipAttack("gaussian").fit(logits[1:], membership[1:])
    auc = estimator.score(logits[0], membership[0])
    assert auc == pytest.approx(roc_auc_score(membership[0], estimator.score_samples(logits[0])))
    assert auc > 0.9
    called = estimator.predict(logits[0], fpr=0.05)
    assert called.dtype == np.bool_
    assert called[membership[0]].mean() > 0.5
    assert called[~membership[0]].mean() < 0.12
    p = estimator.p_values(logits[0])
    np.testing.assert_array_equal(called, p <= 0.05)
    assert p[membership[0]].mean() < p[~membership[0]].mean()


def test_false_positives_are_as_rare_as_promised() -> None:
    """Of 40 targets that are trained on none of the points, pooled."""
    logits, membership = simulated(models=73, points=60)
    estimator = MembershipAttack("adapted-lira").fit(logits[40:], membership[40:])
    random = np.random.default_rng(7)
    jitter = 0.2 * random.normal(size=(40, 60, 2, 4))
    strangers = (random.normal(size=(40, 60, 1, 4)) + jitter).astype(np.float32)
    called = np.mean([estimator.predict(stranger, fpr=0.1).mean() for stranger in strangers])
    assert 0.07 < called < 0.13


def test_too_few_non_members_call_nobody() -> None:
    estimator, target = fitted(models=5, points=10, effect=9.0)
    assert not estimator.predict(target, fpr=0.01).any()


def test_one_augmentation_may_be_left_out_and_float64_is_rounded() -> None:
    logits, membership = simulated(augmentations=1)
    whole = MembershipAttack("gaussian").fit(logits[1:], membership[1:])
    short = MembershipAttack("gaussian").fit(list(logits[1:, :, 0].astype(np.float64)), membership[1:])
    expected = whole.score_samples(logits[0])
    np.testing.assert_array_equal(short.score_samples(logits[0, :, 0]), expected)
    np.testing.assert_array_equal(short.score_samples(logits[0].astype(np.float64)), expected)
    halves = MembershipAttack("gaussian").fit(logits[1:].astype(np.float16), membership[1:])
    np.testing.assert_allclose(halves.score_samples(logits[0]), expected, atol=0.3)


def test_options_are_those_of_the_attack() -> None:
    logits, membership = simulated()
    labels = np.arange(membership.shape[1]) % logits.shape[-1]
    scores = [
        MembershipAttack("rmia", options=options).fit(logits[1:], membership[1:], labels).score_samples(logits[0])
        for options in (None, {"gamma": 1}, {"gamma": 1.2})
    ]
    np.testing.assert_array_equal(scores[0], scores[1])
    assert (scores[2] <= scores[0]).all()
    assert (scores[2] < scores[0]).any()
    with pytest.raises(TmiError, match="'rmia' has no option 'gama'"):
        MembershipAttack("rmia", options={"gama": 1}).fit(logits[1:], membership[1:])


@given(
    attack=st.sampled_from(USABLE),
    view=st.sampled_from(["logits", "top-3", "label"]),
    seed=st.integers(0, 99),
    threads=st.integers(1, 3),
)
def test_parameters_are_those_of_scikit_learn(attack: str, view: str, seed: int, threads: int) -> None:
    parameters: dict[str, Any] = {"attack": attack, "view": view, "seed": seed, "threads": threads}
    parameters |= {"options": {"gamma": 2.0}, "force": True}
    estimator = MembershipAttack(**parameters)
    assert estimator.get_params() == parameters
    copied = clone(estimator)
    assert copied is not estimator
    assert copied.get_params() == parameters
    assert MembershipAttack().set_params(**parameters).get_params() == parameters


def test_a_clone_is_not_fitted_and_fits_alike() -> None:
    estimator, target = fitted()
    copied = clone(estimator)
    with pytest.raises(NotFittedError):
        copied.score_samples(target)
    for ask in (copied.shadow_scores, lambda: copied.predict(target), lambda: copied.score(target, np.ones(40) > 0)):
        with pytest.raises(NotFittedError):
            ask()
    logits, membership = simulated()
    copied.fit(logits[1:], membership[1:])
    np.testing.assert_array_equal(copied.score_samples(target), estimator.score_samples(target))
    # Parameters take effect when it is fitted again, scores that were computed once do not outlive that.
    before = copied.shadow_scores()
    copied.set_params(attack="confidence")
    np.testing.assert_array_equal(copied.shadow_scores(), before)
    assert not np.array_equal(copied.fit(logits[1:], membership[1:]).shadow_scores(), before)


@settings(max_examples=20, deadline=None)
@given(threads=st.integers(1, 4), order=st.permutations(range(12)))
def test_threads_and_the_order_of_shadows_do_not_matter(threads: int, order: list[int]) -> None:
    logits, membership = simulated()
    estimator, target = fitted()
    other = MembershipAttack("gaussian", threads=threads).fit(logits[1:][order], membership[1:][order])
    np.testing.assert_allclose(other.score_samples(target), estimator.score_samples(target), rtol=1e-5, atol=1e-5)


def changed(array: NDArray[Any], index: Any, value: Any) -> NDArray[Any]:
    array = array.copy()
    array[index] = value
    return array


LOGITS, MEMBERSHIP = simulated()


@pytest.mark.parametrize(
    ("arguments", "options", "sentence"),
    [
        ((LOGITS, MEMBERSHIP), {"attack": "gausian"}, "no attack named 'gausian'"),
        ((LOGITS, MEMBERSHIP), {"attack": "direct"}, "'direct' needs the pretrained model, expected one that needs"),
        ((LOGITS, MEMBERSHIP), {"attack": "inputs-alone"}, "'inputs-alone' needs known members"),
        ((LOGITS, MEMBERSHIP), {"attack": "label-probe"}, r"needs pretraining labels .*, expected fit\("),
        ((LOGITS, MEMBERSHIP), {"attack": "label-probe-shadows"}, r"'label-probe-shadows' needs pretraining labels"),
        ((LOGITS, MEMBERSHIP), {"view": "top-9"}, "top-9"),
        ((LOGITS[:2], MEMBERSHIP[:2]), {}, "hold 2 models, expected at least 3"),
        ((LOGITS[:0], MEMBERSHIP[:0]), {}, "predictions: holds no models, expected at least 3"),
        ((LOGITS, MEMBERSHIP[1:]), {}, r"membership: has shape \(12, 40\), expected membership \(13, 40\)"),
        ((LOGITS, 2 * MEMBERSHIP.astype(int)), {}, "membership: has type int64 and other values than 0 and 1"),
        ((LOGITS.astype(int), MEMBERSHIP), {}, "predictions: model 0: has type int64"),
        ((LOGITS[0], MEMBERSHIP), {}, "membership: has shape"),
        ((LOGITS[0, 0], MEMBERSHIP), {}, "predictions: has shape"),
        ((changed(LOGITS, (3, 1), np.nan), MEMBERSHIP), {}, "predictions: model 3: holds NaN"),
        ((LOGITS, MEMBERSHIP, np.full(40, 0.5)), {}, "labels: has type float64, expected labels that are whole"),
    ],
)
def test_what_cannot_be_fitted(arguments: tuple[Any, ...], options: dict[str, str], sentence: str) -> None:
    with pytest.raises(TmiError, match=sentence):
        MembershipAttack(**options).fit(*arguments)


def test_targets_that_do_not_fit() -> None:
    estimator, target = fitted()
    for wrong, sentence in (
        (target[1:], r"target has shape \(39, 2, 4\), expected \(40, 2, 4\)"),
        (target[..., 1:], r"target has shape \(40, 2, 3\), expected"),
        (target[0, 0], "target: has type float32 and shape"),
        (changed(target, 3, np.nan), "target: holds NaN"),
    ):
        with pytest.raises(TmiError, match=sentence):
            estimator.score_samples(wrong)
    for rate in (0, 1, np.nan):
        with pytest.raises(TmiError, match="expected a rate between 0 and 1"):
            estimator.predict(target, fpr=rate)
    for truth, sentence in (
        (MEMBERSHIP[0, 1:], "expected bool"),
        (MEMBERSHIP[0].astype(int), "has type int64"),
        (np.ones(40, dtype=bool), "all memberships of the target are equal"),
    ):
        with pytest.raises(TmiError, match=sentence):
            estimator.score(target, truth)


def test_the_example_in_the_documentation() -> None:
    outcome = doctest.testmod(estimators)
    assert outcome.attempted >= 8
    assert outcome.failed == 0
