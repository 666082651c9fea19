"""Membership that was not drawn independently: no attack may turn it into a leak."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from made.simulated import ATTACKS, EXPENSIVE, drawn, evidence_of, simulated, with_membership
from tmi.attacks.registry import attack_named
from tmi.attacks.scoring import Part, score, score_part
from tmi.predictions.arrays import Predictions
from tmi.predictions.attack_input import AttackInput
from tmi.predictions.designs import Design, complementary_pairs, describe_design
from tmi.predictions.formats import read_saved
from tmi.predictions.views import View

DEPENDENT = ("balanced", "pairs", "balanced, one dropped", "pairs, one dropped")
COMPARING = [name for name in ATTACKS if name not in ("confidence", "label-probe")]
QUICK = [name for name in COMPARING if name not in EXPENSIVE and not name.startswith("tmi")]


def noise(membership: NDArray[np.bool_], seed: int = 0, augmentations: int = 2, classes: int = 4) -> AttackInput:
    """Answers that have nothing to do with the membership."""
    answers = simulated(*membership.shape, effect=0.0, seed=seed, augmentations=augmentations, classes=classes)
    return with_membership(answers, membership)


def auc(scores: NDArray[np.float64], membership: NDArray[np.bool_]) -> float:
    return float(roc_auc_score(membership[: len(scores)].ravel(), scores.ravel()))


# ------------------------------------------------------------------------------------------ the design


@pytest.mark.parametrize("design", DEPENDENT)
@pytest.mark.parametrize("models", [6, 8, 16, 64])
def test_dependent_designs_are_seen(design: str, models: int) -> None:
    membership = drawn(design, models, 60, np.random.default_rng(models))
    assert not Design.of(membership).is_independent
    unknown = np.zeros((1, 60), dtype=bool)
    assert not Design.of(np.concatenate([unknown, membership])).is_independent


def test_two_of_twelve_models_dropped_are_seen() -> None:
    assert not Design.of(drawn("balanced", 12, 100, np.random.default_rng(0))[:-2]).is_independent


@pytest.mark.parametrize(("models", "points"), [(3, 8), (8, 20), (64, 300), (8, 3000)])
def test_independent_designs_pass(models: int, points: int) -> None:
    random = np.random.default_rng(1)
    assert all(Design.of(drawn("independent", models, points, random)).is_independent for _ in range(200))


def test_a_model_of_one_half_and_one_of_all_points_are_no_design() -> None:
    assert Design.of(np.ones((4, 10), dtype=bool)).is_independent
    assert Design.of(np.eye(4, dtype=bool)[:, :1]).is_independent


def test_what_is_said_of_a_design() -> None:
    random = np.random.default_rng(2)
    balanced = describe_design(drawn("balanced", 8, 200, random))
    assert balanced["shadows"] == [3, 3]
    assert "every point is in exactly 4 of 8 models: " in balanced["said"]
    paired = drawn("pairs", 8, 200, random)
    assert complementary_pairs(paired) == [(0, 1), (2, 3), (4, 5), (6, 7)]
    assert "exactly 4 of 8 models, which are complementary pairs" in describe_design(paired)["said"]
    assert "is in 3 to 4 of 7 models" in describe_design(paired[:-1])["said"]
    independent = describe_design(drawn("independent", 8, 200, random))
    assert independent["shadows"] is None
    assert "drawn independently" in independent["said"]
    assert "by more than chance" in describe_design(np.tile(paired[:1], (5, 1)))["said"]


@pytest.mark.parametrize("design", DEPENDENT)
def test_shadows_are_equally_many_and_do_not_know_the_target(design: str) -> None:
    membership = drawn(design, 8, 200, np.random.default_rng(3))
    flipped = membership.copy()
    flipped[5] = ~flipped[5]
    found = Design.of(membership)
    shadows = found.shadows_of(5, membership, seed=0)
    assert shadows.apart[5].all()
    counts = [(side & ~shadows.apart).sum(axis=0) for side in (membership, ~membership)]
    sizes = 2 if "dropped" in design else 3
    assert all((count == sizes).all() for count in counts)
    np.testing.assert_array_equal(found.shadows_of(5, flipped, seed=0).ranks, shadows.ranks)
    assert (np.take_along_axis(membership, shadows.dealt, axis=0)[1:].sum(axis=0) == sizes).all()
    # Every shadow is left out somewhere, so that none counts for more than another.
    assert (shadows.apart.mean(axis=1) < 1).sum() == len(membership) - 1


def test_points_with_few_shadows_on_a_side_are_filled_from_the_other() -> None:
    membership = drawn("balanced", 8, 200, np.random.default_rng(4))
    membership[:, 7] = False
    found = Design.of(membership)
    assert not found.is_independent
    shadows = found.shadows_of(0, membership, seed=0)
    assert ((~shadows.apart).sum(axis=0) == 6).all()
    assert not membership[:, 7][~shadows.apart[:, 7]].any()


# ------------------------------------------------------------------------------------------ the attacks


@pytest.mark.parametrize("name", ["adapted-lira", "conditional", "gaussian", "lira-online", "rmia", "tmi"])
def test_parts_of_a_dependent_design_are_scored_as_the_whole(name: str) -> None:
    answers = noise(drawn("balanced", 8, 60, np.random.default_rng(5)))
    attack = attack_named(name)
    whole = score(attack, answers, range(3))
    np.testing.assert_array_equal(score_part(attack, answers, Part(range(1, 3), range(60))), whole[1:])
    if attack.point_by_point:
        pieces = [score_part(attack, answers, Part(range(3), chosen)) for chosen in (range(25), range(25, 60))]
        np.testing.assert_array_equal(np.concatenate(pieces, axis=1), whole)


def test_shadows_apart_are_treated_as_the_target_is() -> None:
    answers = simulated(models=9, points=30)
    apart = np.zeros((9, 30), dtype=bool)
    apart[[2, 6]] = True
    flipped = answers.membership.copy()
    flipped[[2, 4, 6]] ^= True
    wanted = np.ones((9, 30), dtype=bool)
    features = evidence_of(answers).of_targets([4], wanted, apart)
    np.testing.assert_array_equal(
        evidence_of(with_membership(answers, flipped)).of_targets([4], wanted, apart), features
    )
    # With the target alone in it, it is the leave-one-out of the independent design up to rounding.
    alone = np.zeros((9, 30), dtype=bool)
    alone[4] = True
    evidence = evidence_of(answers)
    whole = evidence.of_targets([4], wanted)
    np.testing.assert_allclose(evidence.of_targets([4], wanted, alone), whole, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", [*QUICK, "tmi"])
@pytest.mark.parametrize("design", ["balanced", "pairs", "balanced, one dropped"])
def test_a_dependent_design_shows_no_leak(name: str, design: str) -> None:
    """Eight models, where counting shadows tells most: `tmi` had AUC .65, `adapted-lira` .31."""
    membership = drawn(design, 8, 300, np.random.default_rng(0))
    scores = score(attack_named(name), noise(membership), range(4))
    # Four standard errors, and a third of the distance that `tmi` had.
    assert auc(scores, membership) == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("name", ["tmi-pointwise", "ridge-logistic"])
def test_a_classifier_per_point_does_not_count_the_shadows(name: str) -> None:
    """`tmi-pointwise` had AUC 0: the share of members among its rows is the opposite of the target's membership."""
    membership = drawn("balanced", 8, 60, np.random.default_rng(0))
    answers = noise(membership).seen_through(View.parse("label"))
    assert auc(score(attack_named(name), answers, range(4)), membership) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("name", [name for name in COMPARING if name != "tmi-mlp"])
@pytest.mark.parametrize("design", ["independent", "balanced"])
def test_answers_that_do_not_differ_rank_nothing(name: str, design: str) -> None:
    """What is left of equal answers is rounding, by which points must not be ranked."""
    membership = drawn(design, 16, 40, np.random.default_rng(6))
    one = 3 * np.random.default_rng(7).normal(size=(40, 2, 5)).astype(np.float32)
    predictions = Predictions([one] * 16)
    answers = AttackInput(predictions, membership, pretrained=predictions, pretraining_labels=np.arange(40) // 2 % 5)
    scores = score(attack_named(name), answers, range(2))
    if name == "rmia-offline" or (name == "tmi-pointwise" and design == "independent"):
        # How sure all models are of a point, and the share of its members, which say nothing about the target.
        return
    assert [len(np.unique(row)) for row in scores] == [1, 1]


def test_a_target_of_unknown_membership_before_balanced_shadows() -> None:
    membership = drawn("balanced", 8, 300, np.random.default_rng(8))
    answers = noise(membership)
    target = np.random.default_rng(9).normal(size=answers.predictions.shape[1:]).astype(np.float32)
    asked = answers.with_target(target)
    assert not asked.design.is_independent
    # As many as the shadows have, of whom each has three on its own side.
    assert asked.design.sizes.tolist() == [[3, 3]] * 9
    scores = score(attack_named("gaussian"), asked, range(1))[0]
    every = attack_named("gaussian").score(asked, range(1))[0]
    assert 0.5 < np.corrcoef(scores, every)[0, 1] < 1


@pytest.mark.parametrize("name", ["conditional", "gaussian", "tmi"])
def test_a_leak_is_found_in_a_dependent_design(name: str) -> None:
    for design in ("independent", "balanced"):
        random = np.random.default_rng(10)
        membership = drawn(design, 16, 120, random)
        direction = random.normal(size=(120, 1, 4))
        logits = random.normal(size=(16, 120, 2, 4)) + 1.2 * membership[..., None, None] * direction
        answers = AttackInput(Predictions(list(logits.astype(np.float32))), membership)
        assert auc(score(attack_named(name), answers, range(4)), membership) > 0.75


@pytest.mark.parametrize("tool", ["lira-pytorch", "tensorflow-privacy"])
@pytest.mark.parametrize("name", ["adapted-lira", "conditional", "lira-online", "tmi"])
def test_published_designs_with_shuffled_membership_show_no_leak(shared: Path, tool: str, name: str) -> None:
    """The models of a point are permuted, so that it stays in as many of them."""
    folder = shared / "peers" / tool
    if not folder.is_dir():
        pytest.skip(f"needs the files of another tool in {folder}")
    saved = read_saved(folder / "exp" / "cifar10")
    shuffled = np.random.default_rng(0).permuted(saved.membership, axis=0)
    answers = AttackInput(Predictions(saved.models), shuffled, labels=saved.labels)
    assert not answers.design.is_independent
    # 120 points: five standard errors.
    assert auc(score(attack_named(name), answers, range(4)), shuffled) == pytest.approx(0.5, abs=0.12)
