from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from made.simulated import evidence_of
from tmi import _core
from tmi.attacks.features.conditioning import condition_answers, standardised
from tmi.attacks.features.membership import Ingredients
from tmi.attacks.features.shrinkage import Sides, expected_shift, profile_regressors, remaining_variance, variances
from tmi.attacks.registry import attack_named
from tmi.predictions.arrays import Predictions
from tmi.predictions.attack_input import AttackInput, Reference

Floats = np.ndarray


def plain_empirical_bayes(
    x: Floats, membership: Floats, target: int, mean: Floats, variance: Floats, share: float
) -> Floats:
    """What a prior adds to `_core.leave_one_out_features`, model by model from the formulae."""
    models, points, classes = x.shape
    features = np.zeros((models, points, 3))
    for model in range(models):
        shadows = np.array([other for other in range(models) if other not in (model, target)], dtype=int)
        for point in range(points):
            inside = x[shadows[membership[shadows, point]], point]
            outside = x[shadows[~membership[shadows, point]], point]
            if not len(inside) or not len(outside):
                continue
            mean_in, mean_out = inside.mean(axis=0), outside.mean(axis=0)
            within = np.concatenate([inside - mean_in, outside - mean_out])
            scatter = within.T @ within / max(len(shadows) - 2, 1)
            level = max(np.trace(scatter) / classes, 1e-6)
            covariance = (1 - share) * scatter + share * level * np.eye(classes)
            noise = (1 / len(inside) + 1 / len(outside)) * np.diag(covariance)
            shift = ((mean_in - mean_out) * variance + mean[point] * noise) / (variance + noise)
            part = len(inside) / len(shadows)
            centre = part * mean_in + (1 - part) * mean_out
            for column, direction in ((0, mean[point]), (1, shift)):
                middle = centre - (part - 0.5) * direction
                features[model, point, column] = direction @ np.linalg.solve(covariance, x[model, point] - middle)
            features[model, point, 2] = np.sqrt(shift @ np.linalg.solve(covariance, shift))
    return features


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    models=st.integers(3, 20),
    classes=st.integers(1, 7),
    share=st.floats(0.05, 0.95),
    inside=st.floats(0.1, 0.9),
)
def test_empirical_bayes_features_are_the_formulae(
    seed: int, models: int, classes: int, share: float, inside: float
) -> None:
    random = np.random.default_rng(seed)
    x = random.normal(size=(models, 5, classes)).astype(np.float32)
    membership = random.random((models, 5)) < inside
    mean, variance = random.normal(size=(5, classes)), random.exponential(size=classes)
    target = int(random.integers(models))
    found = _core.leave_one_out_features(x, membership, target, prior=(mean, variance), share=share)
    found = found.reshape(models, 5, -1)[..., -3:]
    expected = plain_empirical_bayes(x.astype(np.float64), membership, target, mean, variance, share)
    np.testing.assert_allclose(found, expected.clip(-1e6, 1e6), rtol=2e-5, atol=2e-5)


def test_empirical_bayes_features_with_threads_and_outliers() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(20, 50, 4)).astype(np.float32)
    x[3] *= 1e4
    membership = random.random((20, 50)) < 0.5
    prior = np.zeros((50, 4)), np.ones(4)
    one = _core.leave_one_out_features(x, membership, 1, prior=prior, threads=1)
    assert np.isfinite(one).all()
    np.testing.assert_array_equal(one, _core.leave_one_out_features(x, membership, 1, prior=prior, threads=3))
    one = one.reshape(20, 50, -1)[..., -3:]
    expected = plain_empirical_bayes(x.astype(np.float64), membership, 1, np.zeros((50, 4)), np.ones(4), 0.6)
    np.testing.assert_allclose(one, expected, rtol=1e-3, atol=1e-3)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), models=st.integers(1, 12), others=st.integers(1, 9), penalty=st.floats(0.01, 10))
def test_condition_is_leave_one_out_kernel_ridge_regression(
    seed: int, models: int, others: int, penalty: float
) -> None:
    random = np.random.default_rng(seed)
    x = random.normal(size=(models, 40, 3)).astype(np.float32)
    regressors = random.normal(size=(models, others, 5)).astype(np.float32)
    weights = random.random((40, others)).astype(np.float32)
    residuals, inverses = _core.condition(x, regressors, weights, penalty=penalty, threads=2)
    for point in (0, 17, 39):
        kernel = 1 + np.einsum("q,nqd,mqd->nm", weights[point], regressors, regressors) / 5
        matrix = kernel + penalty * np.eye(models)
        np.testing.assert_allclose(inverses[point], np.linalg.inv(matrix), rtol=2e-3, atol=1e-4 / penalty)
        for model in range(models):
            rest = np.arange(models) != model
            weight = np.linalg.solve(matrix[np.ix_(rest, rest)], x[rest, point]) if rest.any() else np.zeros((0, 3))
            expected = x[model, point] - kernel[model, rest] @ weight
            np.testing.assert_allclose(residuals[model, point], expected, rtol=2e-3, atol=2e-3)


def test_condition_does_not_depend_on_the_threads() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(15, 90, 4)).astype(np.float32)
    weights = random.random((90, 90)).astype(np.float32)
    one, three = (_core.condition(x, x, weights, threads=threads) for threads in (1, 3))
    np.testing.assert_array_equal(one[0], three[0])
    np.testing.assert_array_equal(one[1], three[1])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"x": np.full((4, 3, 2), np.nan, np.float32)}, "x is NaN; expected finite numbers"),
        ({"regressors": np.full((4, 5, 2), np.inf, np.float32)}, "regressors is inf; expected finite numbers"),
        ({"regressors": np.zeros((3, 5, 2), np.float32)}, "regressors has shape"),
        ({"weights": np.zeros((3, 4), np.float32)}, "weights has shape"),
        ({"weights": np.full((3, 5), -1, np.float32)}, "weights is -1; expected finite numbers from 0"),
        ({"penalty": 0.0}, "penalty is 0; expected between 1e-3 and 1e6"),
        ({"x": np.zeros((4, 0, 2), np.float32)}, "x has shape"),
    ],
)
def test_condition_names_what_is_wrong(change: dict[str, object], sentence: str) -> None:
    arguments: dict[str, object] = {
        "x": np.zeros((4, 3, 2), np.float32),
        "regressors": np.zeros((4, 5, 2), np.float32),
        "weights": np.zeros((3, 5), np.float32),
        "penalty": 1.0,
    }
    with pytest.raises(ValueError, match=sentence):
        _core.condition(**(arguments | change))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"share": 1.0}, "share is 1; expected between 0 and 1"),
        ({"share": float("nan")}, "share is NaN"),
        ({"prior": (np.full((3, 2), np.nan), np.zeros(2))}, "prior_mean is NaN"),
        ({"prior": (np.zeros((3, 3)), np.zeros(2))}, "prior_mean has shape"),
        ({"prior": (np.zeros((3, 2)), np.full(2, -1.0))}, "prior_variance is -1"),
        ({"target": 4}, "target is 4"),
    ],
)
def test_empirical_bayes_names_what_is_wrong(change: dict[str, object], sentence: str) -> None:
    arguments: dict[str, object] = {
        "x": np.zeros((4, 3, 2), np.float32),
        "membership": np.zeros((4, 3), bool),
        "target": 0,
        "prior": (np.zeros((3, 2)), np.zeros(2)),
    }
    with pytest.raises(ValueError, match=sentence):
        _core.leave_one_out_features(**(arguments | change))  # type: ignore[arg-type]


def correlated(models: int = 40, points: int = 60, classes: int = 4, seed: int = 0) -> AttackInput:
    """Answers in which most of what differs between models is shared by all points, and membership shows beneath it."""
    random = np.random.default_rng(seed)
    membership = np.array([random.permutation(points) < points // 2 for _ in range(models)])
    trait = random.normal(size=(models, 3)) @ random.normal(size=(points, 3, classes)).reshape(points, 3, classes)
    trait = trait.transpose(1, 0, 2)
    centre, direction = random.normal(scale=2, size=(2, points, classes))
    logits = (
        centre + 2 * trait + membership[..., None] * direction + 0.5 * random.normal(size=(models, points, classes))
    )
    jitter = 0.05 * random.normal(size=(models, points, 3, classes))
    return AttackInput(Predictions(list((logits[:, :, None] + jitter).astype(np.float32))), membership)


def test_conditioning_removes_what_models_share_between_points() -> None:
    answers = correlated()
    conditioned = condition_answers(answers.predictions)
    assert conditioned.residuals["centred"].var() < 0.5
    np.testing.assert_allclose(conditioned.neighbours.sum(axis=1), 1, rtol=1e-5)
    assert (np.diag(conditioned.neighbours) == 0).all()


def test_conditioning_makes_the_attack_stronger() -> None:
    from sklearn.metrics import roc_auc_score

    answers = correlated()
    truth = answers.membership[:6].ravel()
    auc = {
        name: roc_auc_score(truth, attack_named(name).score(answers, range(6)).ravel())
        for name in ("tmi", "tmi-unconditioned", "conditional", "gaussian")
    }
    assert auc["conditional"] > auc["gaussian"] + 0.05
    assert auc["tmi"] > auc["tmi-unconditioned"] + 0.05


@pytest.mark.parametrize("name", ["tmi", "conditional"])
def test_reference_points_are_points_that_are_not_scored(name: str) -> None:
    """Whichever points are challenged, the same scores come of the same answers."""
    answers = correlated(points=80)
    reference = Reference(answers.predictions.at(slice(40, 80)), answers.membership[:, 40:])
    challenged = replace(answers.at(slice(0, 40)), reference=reference)
    scores = attack_named(name).score(challenged, [0, 1])
    np.testing.assert_array_equal(scores, attack_named(name).score(answers, [0, 1])[:, :40])
    few = attack_named(name).score(replace(challenged, reference=None), [0, 1])
    assert not np.array_equal(scores, few)


@pytest.mark.parametrize("targets", [[5], [5, 6, 7]])
def test_the_smoothed_membership_leaves_targets_out_exactly(targets: list[int]) -> None:
    answers = correlated(models=12, points=20)
    evidence = evidence_of(answers)
    sides = Sides.without(answers.membership, targets)
    flipped = answers.membership.copy()
    flipped[targets] = ~flipped[targets]
    other = evidence_of(AttackInput(answers.predictions, flipped))
    for ours, theirs in zip(evidence._smoothed(targets, None), other._smoothed(targets, None), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)

    # The same with the matrix of the shadows alone: no downdate, one regression per shadow.
    inverses = condition_answers(answers.predictions).inverses.astype(np.float64)
    smoothed, surprise = evidence._smoothed(targets, None)
    rest = ~np.isin(np.arange(12), targets)
    for point in range(3):
        kernel = np.linalg.inv(inverses[point])
        inverse = np.linalg.inv(kernel[np.ix_(rest, rest)])
        signs = 2.0 * answers.membership[rest, point] - 1
        leave_one_out = (inverse @ signs) / np.diag(inverse)
        predicted = kernel[np.ix_(~rest, rest)] @ inverse @ signs
        np.testing.assert_allclose(surprise[point, rest], leave_one_out, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(smoothed[point, ~rest], predicted, rtol=1e-4, atol=1e-4)
    assert sides.inside[:, targets].sum() == sides.outside[:, targets].sum() == 0


def test_ingredients_are_left_out() -> None:
    answers = correlated(models=10, points=20)
    width = {
        ingredients: evidence_of(answers, ingredients).of_targets([0], answers.membership).shape[-1]
        for ingredients in (
            Ingredients(),
            Ingredients(conditioning=False),
            Ingredients(shrinkage=False),
            Ingredients(contrast=False),
        )
    }
    assert list(width.values()) == [7 * 8, 3 * 8, 7 * 5, 5 * 8]


def test_expected_shift_learns_what_all_points_share() -> None:
    random = np.random.default_rng(0)
    points, models, classes = 200, 20, 3
    profile = random.normal(size=(points, classes))
    membership = random.random((models, points)) < 0.5
    top = profile == profile.max(axis=1, keepdims=True)
    x = random.normal(size=(points, models, classes)) + 1.5 * membership.T[..., None] * top[:, None]
    sides = Sides.without(membership, [0])
    shift = sides.shift(sides.means(x))
    expected = expected_shift(
        shift, sides, profile_regressors(profile), np.zeros((points, points)), [profile.argmax(axis=1)]
    )
    assert np.abs(expected[top] - 1.5).mean() < 0.3
    assert np.abs(expected[~top]).mean() < 0.3
    assert (remaining_variance(shift, variances(x), sides, expected) < 0.1).all()


def test_standardised_keeps_constant_entries_small() -> None:
    x = np.random.default_rng(0).normal(size=(9, 4, 3)).astype(np.float32)
    x[:, 0] = 5 + 1e-6 * x[:, 0]
    z = standardised(x)
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(z[:, 1:].std(axis=0, ddof=1), 1, rtol=1e-5)
    assert np.abs(z[:, 0]).max() < 0.01


def test_many_points_are_scored_in_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = correlated(points=60)
    monkeypatch.setattr("tmi.attacks.features.windows.LEAST_POINTS", 1)
    monkeypatch.setattr("tmi.attacks.features.windows.MATRIX_ENTRIES", 20 * 40**2)
    scores = attack_named("tmi").score(answers, [0, 1])
    monkeypatch.undo()
    alone = [attack_named("tmi").score(answers.at(slice(start, start + 20)), [0, 1]) for start in (0, 20, 40)]
    np.testing.assert_array_equal(scores, np.concatenate(alone, axis=1))
