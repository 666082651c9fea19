"""Do the intervals hold the truth as often as they say? Whole audits with shared shadows, simulated.

N models, each trained on its own half of P points, answer every point with one number: the point's own mean, a shift if
the point was in the half, and noise. Each model is scored by the likelihood ratio that all others give.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from tmi import _core
from tmi.attacks.registry import attack_named
from tmi.metrics.bootstrap import Bootstrap
from tmi.metrics.epsilon import epsilon_lower_bound
from tmi.metrics.points import PointVulnerability, point_vulnerability
from tmi.metrics.roc import judge
from tmi.predictions.arrays import Predictions
from tmi.predictions.attack_input import AttackInput

AUDITS = 500
# Fewer where every audit is resampled.
RESAMPLED_AUDITS, RESAMPLES = 200, 300
RATES = [0.1, 0.05]
MODELS, POINTS = 24, 200


class World(NamedTuple):
    """How far membership shifts the answers, and how models differ in their offset and in how much they memorise."""

    shift: float = 0.0
    offset: float = 0.0
    quality: float = 0.0
    # All points alike, or exponentially distributed shifts.
    equal: bool = False
    # One model in ten memorises five times as much.
    heavy: bool = False


WORLDS = {
    "no leak": World(),
    "some leak": World(1.0),
    "models differ": World(1.0, 0.5, 0.5),
    "strong leak": World(3.0),
    "near perfect": World(3.5, equal=True),
    "perfect": World(6.0, equal=True),
}
HEAVY = World(0.25, heavy=True)
Audit = tuple[np.ndarray, np.ndarray]


def halves(random: np.random.Generator, models: int, points: int) -> np.ndarray:
    return np.stack([random.permutation(points) < points // 2 for _ in range(models)])


def leave_one_out_means(answers: np.ndarray, side: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number, mean and sum of squared deviations of the other models on one side, neutral where there are none."""
    count = side.sum(axis=0) - side
    total = (answers * side).sum(axis=0) - answers * side
    squares = (answers**2 * side).sum(axis=0) - answers**2 * side
    mean = total / np.maximum(count, 1)
    return count, mean, squares - count * mean**2


def gaussian_audit(world: World, seed: int, points: int = POINTS) -> Audit:
    random = np.random.default_rng([7, seed])
    labels = halves(random, MODELS, points)
    means, shifts = 2 * random.normal(size=points), world.shift * random.exponential(size=points)
    shifts = np.full(points, world.shift) if world.equal else shifts
    models = random.normal(size=(2, MODELS, 1))
    memory = np.where(random.random((MODELS, 1)) < 0.1, 5.0, 1.0) if world.heavy else np.exp(world.quality * models[1])
    answers = means + world.offset * models[0] + memory * shifts * labels
    answers = answers + random.normal(size=labels.shape)
    n_in, mean_in, ss_in = leave_one_out_means(answers, labels)
    n_out, mean_out, ss_out = leave_one_out_means(answers, ~labels)
    variance = (ss_in + ss_out) / (n_in + n_out - 2)
    return ((answers - mean_out) ** 2 - (answers - mean_in) ** 2) / (2 * variance), labels


def private_audit(mechanism: str, epsilon: float, models: int, points: int, seed: int) -> Audit:
    """Answers that are exactly epsilon private about each point's membership."""
    random = np.random.default_rng([3, seed])
    labels = halves(random, models, points)
    means = 2 * random.normal(size=points)
    if mechanism == "randomised response":
        told = labels ^ (random.random(labels.shape) < 1 / (1 + np.exp(epsilon)))
        answers = means + told * random.exponential(size=points) + 0.05 * random.normal(size=labels.shape)
        power = 2
    else:
        answers = means + labels * (epsilon > 0) + random.laplace(scale=1 / (epsilon or 1), size=labels.shape)
        power = 1
    _, mean_in, _ = leave_one_out_means(answers, labels)
    _, mean_out, _ = leave_one_out_means(answers, ~labels)
    return np.abs(answers - mean_out) ** power - np.abs(answers - mean_in) ** power, labels


def unrelated_audit(random: np.random.Generator, draw: Callable[..., np.ndarray]) -> Audit:
    """Scores that points and targets decide, and coin flips."""
    scores = 2 * draw(size=(1, 400)) + draw(size=(MODELS, 1)) + draw(size=(MODELS, 400))
    return scores, halves(random, MODELS, 400)


class Coverage(NamedTuple):
    """Shares of audits; the arrays are of AUC, TPR@10%FPR and TPR@5%FPR."""

    truth: np.ndarray
    covered: np.ndarray
    too_high: np.ndarray
    accuracy: float
    band: float


def coverage(world: World, targets: int = MODELS, points: int = POINTS, audits: int = RESAMPLED_AUDITS) -> Coverage:
    """How often intervals hold the truth if only the first models play the target."""
    simulated = [gaussian_audit(world, seed, points) for seed in range(audits)]
    # All audits together, each with new points and new models: the expectation of one.
    scores, labels = (np.concatenate(arrays) for arrays in zip(*simulated, strict=True))
    truth = np.delete(_core.roc_metrics(scores, labels, np.array(RATES)), 1)
    curve, covered, too_high, accuracies, bands = None, [], [], [], []
    for seed, (all_scores, all_labels) in enumerate(simulated):
        audit = all_scores[:targets], all_labels[:targets]
        judged = judge(*audit, RATES, Bootstrap(RESAMPLES, seed=seed))
        figures = [judged.auc, *judged.tpr_at_fpr.values()]
        low, high = np.array([(figure.low, figure.high) for figure in figures]).T
        covered.append((low <= truth) & (truth <= high))
        too_high.append(low > truth)
        accuracies.append(judged.balanced_accuracy)
        if curve is None:
            curve = _core.roc_metrics(scores, labels, np.array(judged.roc.fpr))[2:]
        bands.append(((np.array(judged.roc.band_low) <= curve) & (curve <= np.array(judged.roc.band_high))).all())
    expected = np.mean([accuracy.estimate for accuracy in accuracies])
    accuracy = np.mean([accuracy.low <= expected <= accuracy.high for accuracy in accuracies])
    found = Coverage(truth, *(np.mean(each, axis=0) for each in (covered, too_high)), float(accuracy), np.mean(bands))
    print("\n", world, targets, "targets", {name: np.round(value, 3) for name, value in found._asdict().items()})
    return found


@pytest.mark.slow
@pytest.mark.parametrize("world", WORLDS)
def test_intervals_and_band_cover(world: str) -> None:
    found = coverage(WORLDS[world])
    assert (found.covered >= 0.9).all()
    assert (found.too_high <= 0.05).all()
    assert found.accuracy >= 0.9
    # So few resamples make it a little too narrow.
    assert found.band >= 0.88


@pytest.mark.slow
@pytest.mark.parametrize("targets", [2, 3, 4, 6, 12])
def test_few_targets_cover(targets: int) -> None:
    found = coverage(WORLDS["models differ"], targets, points=100)
    assert (found.covered >= 0.9).all()


@pytest.mark.slow
def test_one_target_speaks_for_itself_only() -> None:
    """It shows nothing of what other models would do, so that its interval is about this one; the limit is named."""
    assert coverage(WORLDS["models differ"], 1, points=100).covered[0] < 0.9
    assert (coverage(WORLDS["some leak"], 1, points=100).covered >= 0.92).all()


@pytest.mark.slow
def test_rare_models_that_leak_more_are_missed_but_not_invented() -> None:
    """An audit that happens to have none of them cannot know of them, so its interval lies too low: a named limit."""
    found = coverage(HEAVY, points=400)
    assert (found.covered >= 0.8).all()
    assert (found.too_high <= 0.06).all()


@pytest.mark.slow
@pytest.mark.parametrize("mechanism", ["randomised response", "Laplace"])
@pytest.mark.parametrize("epsilon", [0.0, 1.0, 3.0])
@pytest.mark.parametrize(("models", "points"), [(6, 400), (24, 400), (48, 1000)])
def test_the_bound_on_epsilon_holds(mechanism: str, epsilon: float, models: int, points: int) -> None:
    bounds = np.array(
        [
            epsilon_lower_bound(*private_audit(mechanism, epsilon, models, points, seed), seed=seed).lower_bound
            for seed in range(AUDITS)
        ]
    )
    print(f"\n{mechanism} {epsilon} {models}: exceeds {(bounds > epsilon).mean()}, median {np.median(bounds):.2f}")
    assert (bounds > epsilon).mean() <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["normal", "standard_cauchy"])
def test_unrelated_scores_bound_nothing(kind: str) -> None:
    bounds = []
    for seed in range(AUDITS):
        random = np.random.default_rng([5, seed])
        bounds.append(epsilon_lower_bound(*unrelated_audit(random, getattr(random, kind)), seed=seed).lower_bound)
    print(f"\n{kind}: above 0 in {np.mean(np.array(bounds) > 0)}")
    assert np.mean(np.array(bounds) > 0) <= 0.05


@pytest.mark.slow
def test_single_points_are_rarely_called_exposed_by_chance() -> None:
    found = [point_vulnerability(*gaussian_audit(WORLDS["no leak"], seed)) for seed in range(AUDITS)]
    require_valid("simulated answers", found)


@pytest.mark.slow
@pytest.mark.parametrize("data", ["digits", "text"])
@pytest.mark.parametrize(
    ("attack", "audits"), [("gaussian", 200), ("adapted-lira", 200), ("conditional", 60), ("tmi", 12)]
)
def test_redrawn_membership_exposes_no_points(shared: Path, data: str, attack: str, audits: int) -> None:
    predictions = np.load(shared / "golden" / data / "predictions.npy")
    found = []
    for seed in range(audits):
        random = np.random.default_rng([11, seed])
        models = random.permutation(len(predictions))[:MODELS]
        membership = halves(random, MODELS, predictions.shape[1])
        answers = AttackInput(Predictions([predictions[model] for model in models]), membership, seed=seed)
        scores = attack_named(attack).score(answers, range(MODELS))
        found.append(point_vulnerability(scores, membership))
    require_valid(f"{data}, {attack}", found)


def require_valid(what: str, found: list[PointVulnerability]) -> None:
    """P-values of points that show nothing are not too small, and rarely is any of them called."""
    p_values = np.array([audit.p_value for audit in found])
    levels = {level: float(np.nanmean(p_values <= level)) for level in (0.001, 0.01, 0.05)}
    any_called = float(np.mean([(audit.q_value <= 0.05).any() for audit in found]))
    print(f"\n{what}: p-values below {levels}, audits with any point called {any_called}")
    assert all(share <= level for level, share in levels.items())
    assert any_called <= 0.05
