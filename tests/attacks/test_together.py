"""Attacks on several finetunings of the same models: what leaks adds up, and where nothing does, nothing is found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from made.companions import finetunings, golden
from made.simulated import drawn
from tmi.attacks.checks import check_input
from tmi.attacks.registry import Attack, all_attacks, attack_named
from tmi.attacks.scoring import score
from tmi.errors import TmiError
from tmi.predictions.arrays import Predictions
from tmi.predictions.attack_input import AttackInput

TOGETHER = [name for name, attack in all_attacks().items() if attack.together]
TARGETS = range(4)


def auc(scores: NDArray[np.float64], membership: NDArray[np.bool_]) -> float:
    return float(roc_auc_score(membership[: len(scores)].ravel(), scores.ravel()))


def test_these_attacks_look_at_several() -> None:
    assert {"tmi", "tmi-unconditioned", "label-probe", "label-probe-shadows"} <= set(TOGETHER)
    assert not {"gaussian", "conditional", "adapted-lira"} & set(TOGETHER)


@pytest.mark.parametrize("labels", [False, True])
def test_two_finetunings_leak_more_than_either(shared: Path, labels: bool) -> None:
    parts = slice(0, 10), slice(10, 19)
    alone = [golden(shared, [part], labels=labels) for part in parts]
    both = golden(shared, parts, labels=labels)
    for name in ["tmi", *(["label-probe", "label-probe-shadows"] if labels else [])]:
        single = [auc(score(attack_named(name), answers, range(2)), answers.membership) for answers in alone]
        assert auc(score(attack_named(name), both, range(2)), both.membership) > max(single) + 0.01


def of_noise(name: str, design: str, draw: int, labelled: bool, models: int = 8, points: int = 200) -> float:
    membership = drawn(design, models, points, np.random.default_rng(draw))
    labels = np.random.default_rng(draw + 1).integers(0, 6, points) if labelled else None
    answers = finetunings(membership, seed=draw, labels=labels)
    assert answers.design.is_independent == (design == "independent")
    return auc(score(attack_named(name), answers, TARGETS), membership)


@pytest.mark.parametrize("design", ["independent", "balanced"])
def test_a_coin_flip_stays_one(design: str) -> None:
    for name, labelled in (("tmi", False), ("tmi", True), ("label-probe", True), ("label-probe-shadows", True)):
        # Four standard errors.
        assert of_noise(name, design, 0, labelled) == pytest.approx(0.5, abs=0.075), name


@pytest.mark.slow
@pytest.mark.parametrize("models", [8, 16])
@pytest.mark.parametrize("design", ["independent", "balanced", "pairs", "balanced, one dropped"])
@pytest.mark.parametrize("name", TOGETHER)
def test_no_design_makes_a_leak_of_nothing(name: str, design: str, models: int) -> None:
    found = [of_noise(name, design, 10 * draw, labelled=True, models=models, points=150) for draw in range(10)]
    error = np.std(found, ddof=1) / np.sqrt(len(found))
    print(f"\n{name}, {design}, {models} models: {np.mean(found):.3f} ± {error:.3f}")
    assert np.mean(found) == pytest.approx(0.5, abs=max(0.02, 3 * error))


@pytest.mark.parametrize("design", ["independent", "balanced"])
def test_what_leaks_adds_up_in_every_design(design: str) -> None:
    membership = drawn(design, 16, 120, np.random.default_rng(2))
    answers = finetunings(membership, effect=0.7)
    first, third = (auc(score(attack_named("tmi"), answers.together(k), TARGETS), membership) for k in (1, 3))
    assert first + 0.02 < third


@pytest.mark.parametrize("name", ["tmi", "label-probe-shadows"])
@pytest.mark.parametrize("design", ["independent", "balanced"])
def test_the_targets_own_membership_is_not_looked_at(design: str, name: str) -> None:
    membership = drawn(design, 8, 40, np.random.default_rng(3))
    flipped = membership.copy()
    flipped[2] = ~flipped[2]
    answers = finetunings(membership, effect=1.0, labels=np.arange(40) % 4)
    others = tuple(replace(each, membership=flipped) for each in answers.companions)
    # The design is that of all models as they were drawn.
    changed = replace(answers, membership=flipped, companions=others, of_all_points=answers.design)
    attack = attack_named(name)
    np.testing.assert_allclose(score(attack, answers, [2]), score(attack, changed, [2]), rtol=1e-9, atol=1e-9)


class SumOfFirstClass(Attack):
    """An attack that knows nothing of designs: the first class's logit, added up over finetunings, in its direction."""

    name, summary, together, point_by_point = "sum-of-first-class", "for a test", True, True

    def score(self, answers: AttackInput, targets: object) -> NDArray[np.float64]:
        seen = (answers, *answers.companions)
        logits = sum(each.predictions.block(slice(None))[..., 0].mean(axis=2) for each in seen)
        members = answers.membership
        means = [np.where(side, logits, 0)[1:].sum(axis=0) for side in (members, ~members)]
        return np.asarray((logits[0] * np.sign(means[0] - means[1]))[None], dtype=np.float64)


def test_matched_shadows_are_the_same_models_in_all_finetunings() -> None:
    membership = drawn("balanced", 8, 30, np.random.default_rng(4))
    answers = finetunings(membership, effect=1.0)
    found = score(SumOfFirstClass(), answers, [1])[0]
    dealt = answers.design.shadows_of(1, membership, answers.seed).dealt
    logits = sum(e.predictions.block(slice(None))[..., 0].mean(axis=2) for e in (answers, *answers.companions))
    chosen = np.take_along_axis(logits, dealt, axis=0)
    sides = np.take_along_axis(membership, dealt, axis=0)
    means = [np.where(side, chosen, 0)[1:].sum(axis=0) for side in (sides, ~sides)]
    np.testing.assert_allclose(found, chosen[0] * np.sign(means[0] - means[1]), rtol=1e-6)


def test_a_target_of_unknown_membership_is_seen_in_as_many_finetunings_as_it_was_asked() -> None:
    answers = finetunings(drawn("independent", 8, 40, np.random.default_rng(5)))
    targets = [np.zeros(each.predictions.shape[1:], np.float32) for each in (answers, *answers.companions)]
    assert answers.with_target(targets[0]).companions == ()
    both = answers.with_target(targets[0], companions=targets[1:2])
    assert [each.predictions.shape for each in both.companions] == [(9, 40, 2, 3)]
    all_three = answers.with_target(targets[0], companions=targets[1:])
    assert np.isfinite(score(attack_named("tmi"), all_three, range(1))).all()


def test_the_labels_of_the_points_are_those_of_all_finetunings() -> None:
    answers = finetunings(drawn("independent", 8, 60, np.random.default_rng(8)), effect=1.0, labels=np.arange(60) % 4)
    bare = replace(answers, companions=tuple(replace(each, pretraining_labels=None) for each in answers.companions))
    for name in ("tmi", "label-probe"):
        np.testing.assert_array_equal(*(score(attack_named(name), each, [0]) for each in (answers, bare)))


def test_finetunings_of_other_models_are_refused() -> None:
    answers = finetunings(drawn("independent", 8, 40, np.random.default_rng(6)))
    fewer, other = answers.restricted(range(7)), replace(answers, membership=~answers.membership, companions=())
    with pytest.raises(TmiError, match="finetuning 2 has 7 models at 40 points, expected 8 at 40 as the first"):
        replace(answers, companions=(replace(fewer, companions=()),))
    with pytest.raises(TmiError, match="finetuning 3 differs from the first in its membership"):
        replace(answers, companions=(answers.companions[0], other))
    asked = replace(other, membership=answers.membership, reference=None)
    assert replace(answers, companions=(asked,)).companions == (asked,)


def test_every_finetuning_is_checked() -> None:
    answers = finetunings(drawn("independent", 8, 40, np.random.default_rng(7)), effect=1.0)
    own = answers.companions[0].predictions.block(slice(None))
    exponentials = np.exp(own)
    probabilities = Predictions(list(exponentials / exponentials.sum(axis=-1, keepdims=True)))
    wrong = replace(answers.companions[0], predictions=probabilities)
    said = {(each.severity, each.subject): each.message for each in check_input(replace(answers, companions=(wrong,)))}
    assert "probabilities" in said["error", "finetuning 2: predictions"]
    # What is true of the models is said once.
    assert ("warning", "models") in said
    assert ("warning", "finetuning 2: models") not in said
