"""Attacks are what their formulas say, and keep their promises at the edges."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_expit

from made.labelled import TARGET, made_up, scaled_logits, unlabelled
from made.simulated import ATTACKS, with_membership
from tmi.attacks.gaussian import RIDGE
from tmi.attacks.registry import attack_named
from tmi.attacks.rmia import Rmia
from tmi.predictions.arrays import Predictions
from tmi.predictions.attack_input import AttackInput

OFFLINE = ["gaussian-offline", "lira-offline", "rmia-offline"]


HERE = [
    "adapted-lira",
    "adapted-lira-diagonal",
    "adapted-lira-pooled",
    "gaussian",
    "lira-online",
    "ridge-logistic",
    "rmia",
    "tmi-mlp",
    *OFFLINE,
]


@pytest.mark.parametrize("classes", [2, 5])
def test_ridge_logistic_maximises_its_penalised_likelihood(classes: int) -> None:
    """With fewer features than shadows (6 and 13), and with more (15)."""
    answers = unlabelled(made_up(classes=classes))
    models, points, augmentations, _ = answers.predictions.shape
    features = augmentations * classes
    shadows = np.arange(models) != TARGET
    expected = []
    for point in range(points):
        x = scaled_logits(answers.predictions.block(slice(None))[:, point]).reshape(models, features)
        x = (x - x[shadows].mean(axis=0)) / x[shadows].std(axis=0)
        signs = np.where(answers.membership[shadows, point], 1.0, -1.0)

        def loss(weights: NDArray[np.float64], x: NDArray[np.float64] = x, signs: NDArray[np.float64] = signs) -> float:
            margins = signs * (x[shadows] @ weights[:-1] + weights[-1])
            return float(features / 2 * weights[:-1] @ weights[:-1] - log_expit(margins).sum())

        weights = minimize(loss, np.zeros(features + 1), method="BFGS", options={"gtol": 1e-7}).x
        prior = np.log((signs > 0).sum() / (signs < 0).sum())
        expected.append(x[TARGET] @ weights[:-1] + weights[-1] - prior)
    scores = attack_named("ridge-logistic").score(answers, [TARGET])
    np.testing.assert_allclose(scores[0], expected, rtol=1e-4, atol=1e-5)


def test_gaussian_offline_is_the_excess_of_a_mahalanobis_distance() -> None:
    answers = unlabelled(made_up())
    expected = []
    for point in range(answers.membership.shape[1]):
        x = scaled_logits(answers.predictions.block(slice(None))[:, point]).mean(axis=1)
        outside = ~answers.membership[:, point]
        outside[TARGET] = False
        covariance = np.cov(x[outside].T)
        inverse = np.linalg.inv(covariance + RIDGE * np.trace(covariance) / 4 * np.eye(4))
        difference = x[TARGET] - x[outside].mean(axis=0)
        typical = (1 + 1 / outside.sum()) * np.trace(inverse @ covariance)
        expected.append(difference @ inverse @ difference - typical)
    scores = attack_named("gaussian-offline").score(answers, [TARGET])
    np.testing.assert_allclose(scores[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", OFFLINE)
def test_offline_attacks_do_not_look_at_in_shadows(name: str) -> None:
    answers = made_up()
    logits = answers.predictions.block(slice(None)).copy()
    members = answers.membership.copy()
    members[TARGET] = False
    logits[members] += np.random.default_rng(1).normal(size=logits[members].shape)
    changed = AttackInput(Predictions(list(logits)), answers.membership, labels=answers.labels)
    attack = attack_named(name)
    np.testing.assert_array_equal(attack.score(changed, [TARGET]), attack.score(answers, [TARGET]))


@pytest.mark.parametrize("name", OFFLINE)
def test_offline_attacks_score_points_that_no_shadow_has_seen(name: str) -> None:
    answers = made_up()
    outside = with_membership(answers, np.zeros_like(answers.membership))
    scores = attack_named(name).score(outside, [TARGET])
    assert np.isfinite(scores).all()
    assert len(np.unique(scores)) > 5


@pytest.mark.parametrize("name", HERE)
def test_one_sided_points_get_one_neutral_score(name: str) -> None:
    answers = made_up()
    membership = answers.membership.copy()
    membership[:, :2], membership[:, 2:4] = True, False
    scores = attack_named(name).score(with_membership(answers, membership), [TARGET])[0]
    if name in OFFLINE:
        assert scores[0] == scores[1]
    else:
        assert len(set(scores[:4])) == 1
    expected = {"lira-offline": 3 * np.log(0.5), "tmi-mlp": 0.5}.get(name, 0.0)
    if not name.startswith("rmia"):
        assert scores[0] == pytest.approx(expected)


def test_one_sided_points_are_in_no_population() -> None:
    """In RMIA they count as equally likely under target and shadows, and say nothing about the others."""
    answers = made_up()
    membership = answers.membership.copy()
    membership[:, 0] = True
    scores = Rmia(1.1).score(with_membership(answers, membership), [TARGET])[0]
    np.testing.assert_allclose(scores[1:], Rmia(1.1).score(answers.at(slice(1, None)), [TARGET])[0])
    assert 0 < scores[0] < 1


@pytest.mark.parametrize("logits", ["huge", "all equal", "infinite"])
@pytest.mark.parametrize(
    "name", [*HERE, "tmi", "tmi-unconditioned", "conditional", "tmi-pointwise", "confidence", "direct"]
)
def test_extreme_answers_give_finite_scores(name: str, logits: str) -> None:
    answers = made_up(models=8, points=20)
    array = answers.predictions.block(slice(None)).copy()
    if logits == "huge":
        array *= 1e4
    elif logits == "all equal":
        array[...] = 0.0
    else:
        array[:, ::2, 0, 0], array[0, 1, 1, 2] = np.inf, -np.inf
    predictions = Predictions(list(array))
    answers = AttackInput(predictions, answers.membership, pretrained=predictions, labels=answers.labels)
    assert np.isfinite(attack_named(name).score(answers, [0, TARGET])).all()


@pytest.mark.parametrize("name", [name for name in ATTACKS if attack_named(name).point_by_point])
@pytest.mark.parametrize("classes", [4, 9])
def test_points_scored_a_few_at_a_time_get_the_same_scores_to_the_bit(name: str, classes: int) -> None:
    predictions = made_up(models=6, classes=classes).predictions
    # Few models, so that some sides have a single shadow or none.
    membership = np.random.default_rng(0).random((6, 12)) < 0.5
    answers = AttackInput(predictions, membership, pretrained=predictions)
    attack = attack_named(name)
    whole = attack.score(answers, [0, TARGET])
    for size in (1, 5):
        pieces = [attack.score(answers.at(slice(start, start + size)), [0, TARGET]) for start in range(0, 12, size)]
        np.testing.assert_array_equal(np.concatenate(pieces, axis=1), whole)
