"""LiRA and RMIA are what their papers say."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import softmax
from scipy.stats import multivariate_normal, norm
from sklearn.metrics import roc_auc_score

from made.labelled import TARGET, made_up, scaled_logits, unlabelled
from made.simulated import with_membership
from tmi.attacks.confidences import confidences
from tmi.attacks.lira import LiraOffline, LiraOnline
from tmi.attacks.registry import attack_named
from tmi.attacks.rmia import Rmia, RmiaOffline
from tmi.attacks.scoring import score
from tmi.errors import TmiError
from tmi.predictions.attack_input import AttackInput


def class_of(answers: AttackInput, point: int, augmentation: int) -> int:
    """The class whose confidence LiRA and RMIA look at."""
    if answers.labels is not None:
        return int(answers.labels[point])
    return int(answers.predictions.block(slice(None))[TARGET, point, augmentation].argmax())


def sides(answers: AttackInput, point: int, augmentation: int) -> tuple[float, list[float], list[float]]:
    """Confidence of the target, of the IN shadows and of the OUT shadows."""
    logits = answers.predictions.block(slice(None))[:, point, augmentation]
    confidence = scaled_logits(logits)[:, class_of(answers, point, augmentation)]
    shadows = [model for model in range(len(logits)) if model != TARGET]
    in_ = [confidence[model] for model in shadows if answers.membership[model, point]]
    out = [confidence[model] for model in shadows if not answers.membership[model, point]]
    return confidence[TARGET], in_, out


def queries(answers: AttackInput) -> list[tuple[int, int]]:
    _, points, augmentations, _ = answers.predictions.shape
    return list(product(range(points), range(augmentations)))


@pytest.mark.parametrize(
    ("covariance", "name", "labels"),
    [
        ("full", "adapted-lira", False),
        ("pooled", "adapted-lira-pooled", False),
        ("diagonal", "adapted-lira-diagonal", False),
        *((each, "lira-online", labels) for each in ("full", "pooled") for labels in (True, False)),
    ],
)
def test_lira_is_a_ratio_of_multivariate_gaussians(covariance: str, name: str, labels: bool) -> None:
    answers = made_up(models=30) if labels else unlabelled(made_up(models=30))
    augmentations = answers.predictions.shape[2]
    expected = []
    for point in range(answers.membership.shape[1]):
        target, in_, out = (
            np.array(rows).T for rows in zip(*(sides(answers, point, a) for a in range(augmentations)), strict=True)
        )
        residuals = np.concatenate([in_ - in_.mean(axis=0), out - out.mean(axis=0)])
        pooled = residuals.T @ residuals / (len(residuals) - 2)
        shrunken = 0.7 * pooled + 0.3 * np.trace(pooled) / augmentations * np.eye(augmentations)
        covariances = {
            "full": [np.cov(side.T) for side in (in_, out)],
            "pooled": [shrunken, shrunken],
            "diagonal": [np.diag(side.var(axis=0, ddof=1)) for side in (in_, out)],
        }[covariance]
        likelihoods = [
            multivariate_normal.logpdf(target, side.mean(axis=0), matrix)
            for side, matrix in zip((in_, out), covariances, strict=True)
        ]
        expected.append(likelihoods[0] - likelihoods[1])
    attack = attack_named(name, {"variance": covariance} if name == "lira-online" else None)
    # The kernel adds a millionth of the variance to every variance.
    np.testing.assert_allclose(attack.score(answers, [TARGET])[0], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("variance", ["global", "per-point", "per-point-in-out", "spherical"])
@pytest.mark.parametrize("location", ["mean", "median"])
def test_lira_online_is_a_ratio_of_gaussians(answers: AttackInput, variance: str, location: str) -> None:
    locate = {"mean": np.mean, "median": np.median}[location]
    everything = [sides(answers, *query) for query in queries(answers)]
    overall = [np.std(np.concatenate([query[side] for query in everything])) for side in (1, 2)]
    expected = np.zeros(answers.membership.shape[1])
    for (point, _), (target, in_, out) in zip(queries(answers), everything, strict=True):
        of_point = [each for (other, _), each in zip(queries(answers), everything, strict=True) if other == point]
        squares = len(in_) * np.var(in_) + len(out) * np.var(out)
        pooled = np.sqrt(squares / (len(in_) + len(out) - 2))
        deviations = {
            "global": overall,
            "per-point": [pooled, pooled],
            "per-point-in-out": [np.std(in_), np.std(out)],
            "spherical": [np.sqrt(np.mean([np.var(query[side]) for query in of_point])) for side in (1, 2)],
        }[variance]
        expected[point] += norm.logpdf(target, locate(in_), deviations[0])
        expected[point] -= norm.logpdf(target, locate(out), deviations[1])
    scores = LiraOnline(variance, location).score(answers, [TARGET])  # type: ignore[arg-type]
    np.testing.assert_allclose(scores[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("variance", ["global", "per-point"])
@pytest.mark.parametrize("location", ["mean", "median"])
def test_lira_offline_is_a_test_against_the_out_shadows(answers: AttackInput, variance: str, location: str) -> None:
    locate = {"mean": np.mean, "median": np.median}[location]
    everything = [sides(answers, *query) for query in queries(answers)]
    overall = np.std(np.concatenate([out for _, _, out in everything]))
    expected = np.zeros(answers.membership.shape[1])
    for (point, _), (target, _, out) in zip(queries(answers), everything, strict=True):
        deviation = overall if variance == "global" else np.std(out)
        expected[point] += np.log(1 - norm.sf(target, locate(out), deviation))
    scores = LiraOffline(variance, location).score(answers, [TARGET])  # type: ignore[arg-type]
    np.testing.assert_allclose(scores[0], expected, rtol=1e-4, atol=1e-6)


def plain_rmia(answers: AttackInput, gamma: float, offline_a: float | None) -> NDArray[np.float64]:
    """RMIA by its definition, pair by pair."""
    logits = answers.predictions.block(slice(None)).astype(np.float64)
    _, points, augmentations, _ = logits.shape
    shadows = [model for model in range(len(logits)) if model != TARGET]
    shares = np.zeros((points, augmentations))
    for augmentation in range(augmentations):
        ratios = []
        for point in range(points):
            p = softmax(logits[:, point, augmentation], axis=-1)[:, class_of(answers, point, augmentation)]
            mean_in = np.mean([p[model] for model in shadows if answers.membership[model, point]])
            mean_out = np.mean([p[model] for model in shadows if not answers.membership[model, point]])
            if offline_a is None:
                ratios.append(p[TARGET] / ((mean_in + mean_out) / 2))
            else:
                ratios.append(p[TARGET] / (((1 + offline_a) * mean_out + (1 - offline_a)) / 2))
        for point in range(points):
            population = [other for other in range(points) if other != point]
            shares[point, augmentation] = np.mean([ratios[point] / ratios[other] >= gamma for other in population])
    return shares.mean(axis=1)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 1.1, 2.0])
def test_rmia_compares_every_pair_of_points(answers: AttackInput, gamma: float) -> None:
    expected = plain_rmia(answers, gamma, None)
    assert len(set(expected)) > 3
    np.testing.assert_allclose(Rmia(gamma).score(answers, [TARGET])[0], expected)


@pytest.mark.parametrize(("gamma", "offline_a"), [(2.0, 0.3), (1.1, 1.0), (1.0, 0.0)])
def test_rmia_offline_compares_every_pair_of_points(answers: AttackInput, gamma: float, offline_a: float) -> None:
    expected = plain_rmia(answers, gamma, offline_a)
    np.testing.assert_allclose(RmiaOffline(gamma, offline_a).score(answers, [TARGET])[0], expected)


@pytest.mark.parametrize("name", ["rmia", "rmia-offline", "lira-online", "lira-offline"])
def test_attacks_on_one_confidence_find_members_that_are_answered_with_more_of_it(name: str) -> None:
    answers = made_up(models=24, points=60)
    # Not the models whose membership is made up to be the same everywhere: RMIA compares points of one target.
    targets = range(8, 16)
    truth = answers.membership[targets].ravel()
    assert roc_auc_score(truth, attack_named(name).score(answers, targets).ravel()) > 0.65
    # The other way round they find the wrong ones, unless they learn the direction from IN shadows.
    reversed_ = attack_named(name).score(made_up(models=24, points=60, effect=-2.0), targets)
    assert (roc_auc_score(truth, reversed_.ravel()) > 0.5) == (name == "lira-online")


@pytest.mark.parametrize(
    "attack", [LiraOnline("per-point"), LiraOnline("per-point-in-out", "median"), LiraOffline("per-point")]
)
def test_lira_goes_point_by_point_unless_its_variance_is_global(attack: LiraOnline | LiraOffline) -> None:
    assert attack.point_by_point
    assert not LiraOnline().point_by_point
    # Few models, so that some sides have a single shadow or none.
    random = np.random.default_rng(0)
    answers = made_up(models=6, points=30)
    answers = with_membership(answers, random.random(answers.membership.shape) < 0.5)
    whole = attack.score(answers, [0, TARGET])
    assert np.isfinite(whole).all()
    answers.predictions.memory = 5_000
    assert answers.points_in_memory < 10
    np.testing.assert_array_equal(score(attack, answers, [0, TARGET]), whole)


def test_options_outside_their_domain_are_named() -> None:
    with pytest.raises(TmiError, match=r"the variance of LiRA is 'globl' \(did you mean 'global'"):
        LiraOnline("globl")  # type: ignore[arg-type]
    with pytest.raises(TmiError, match="the variance of LiRA is 'per-point-in-out'"):
        LiraOffline("per-point-in-out")  # type: ignore[arg-type]
    with pytest.raises(TmiError, match="the location of LiRA is 'mode'"):
        LiraOffline(location="mode")  # type: ignore[arg-type]
    with pytest.raises(TmiError, match="the gamma of RMIA is 0"):
        Rmia(0)
    with pytest.raises(TmiError, match="the gamma of RMIA is nan"):
        RmiaOffline(float("nan"))
    with pytest.raises(TmiError, match=r"the offline_a of RMIA is 1\.5"):
        RmiaOffline(offline_a=1.5)


def test_labels_that_do_not_fit_are_named() -> None:
    answers = made_up()
    assert answers.labels is not None
    for labels, message in [
        (answers.labels.astype(np.int32), "labels have type int32"),
        (answers.labels[:-1], r"labels have type int64 and shape \(11,\), expected int64 \(12,\)"),
        (answers.labels + 3, "labels lie between 3 and 6, expected 0 to 3"),
        (answers.labels - 1, "labels lie between -1 and 2"),
    ]:
        with pytest.raises(TmiError, match=message):
            AttackInput(answers.predictions, answers.membership, labels=labels)


def test_labels_go_with_their_points() -> None:
    answers = made_up()
    assert answers.labels is not None
    assert list(answers.at(slice(3, 6)).labels) == list(answers.labels[3:6])  # type: ignore[arg-type]
    assert answers.restricted([0, 1, 4]).labels is answers.labels


def test_confidences_of_labels_are_computed_once_for_all_targets() -> None:
    labelled = made_up()
    assert confidences(labelled, 0) is confidences(labelled, 1)
    own = unlabelled(labelled)
    assert not np.array_equal(confidences(own, 0), confidences(own, 1))
