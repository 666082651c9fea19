"""Attacks on one given model: what the answers add to the points alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tmi.attacks.known import FOLDS, _folds, answer_features, coarse
from tmi.attacks.registry import attack_named
from tmi.config import load_config
from tmi.errors import TmiError
from tmi.metrics.bootstrap import Bootstrap
from tmi.metrics.differences import compare
from tmi.predictions.arrays import Predictions
from tmi.predictions.attack_input import AttackInput
from tmi.runs.adversaries import with_attacks

POINTS, MODELS, QUERIES, CLASSES = 400, 4, 3, 5
ATTACKS = ("known-points", "inputs-alone", "inputs-and-answers")


def answers(seed: int, leak: float = 0.0, topic: float = 0.0, images: bool = False) -> AttackInput:
    """Made-up answers: members' answers are ``leak`` surer, and their texts have a word of their own more often."""
    random = np.random.default_rng(seed)
    members = random.permutation(POINTS) < POINTS // 2
    logits = random.normal(size=(MODELS, POINTS, QUERIES, CLASSES)) + 2 * random.normal(size=(POINTS, 1, CLASSES))
    logits[:, members, :, 0] += leak
    words = np.array(["red", "green", "blue", "old", "new", "big"])
    shares = np.where(members[:, None], 1.0 + topic * (np.arange(6) == 0), 1.0)
    texts = [" ".join(random.choice(words, 12, p=share / share.sum())) for share in shares]
    inputs = random.random((POINTS, 3, 9, 9)).astype(np.float32) if images else np.array(texts, dtype=object)
    if images:
        inputs[members, 0] += 0.05 * topic
    membership = np.tile(members, (MODELS, 1))
    return AttackInput(Predictions(list(logits.astype(np.float32))), membership, None, seed, inputs=inputs)


def auc(name: str, made_up: AttackInput) -> float:
    return float(roc_auc_score(made_up.membership[0], attack_named(name).score(made_up, [0])[0]))


@pytest.mark.parametrize("name", ATTACKS)
def test_coin_flip_membership_gives_one_half(name: str) -> None:
    aucs = [auc(name, answers(seed)) for seed in range(6)]
    # The standard error of one is 0.029; learning on other folds makes no systematic difference.
    assert abs(np.mean(aucs) - 0.5) < 4 * 0.029 / np.sqrt(6)


def test_a_leak_is_found_in_the_answers_and_not_in_the_points() -> None:
    made_up = answers(0, leak=4.0)
    assert auc("known-points", made_up) > 0.75
    assert auc("inputs-alone", made_up) < 0.6
    assert auc("inputs-and-answers", made_up) > 0.75


@pytest.mark.parametrize("images", [False, True])
def test_a_difference_of_the_points_is_not_taken_for_a_leak(images: bool) -> None:
    made_up = answers(0, topic=4.0, images=images)
    alone = auc("inputs-alone", made_up)
    assert alone > 0.75
    assert auc("known-points", made_up) < 0.6
    assert auc("inputs-and-answers", made_up) < alone + 0.02


def test_both_add_up() -> None:
    made_up = answers(1, leak=3.0, topic=0.7)
    parts = [auc(name, made_up) for name in ("known-points", "inputs-alone")]
    assert auc("inputs-and-answers", made_up) > max(parts) + 0.01


def test_no_point_is_scored_by_what_it_taught() -> None:
    members = answers(2).membership[0]
    folds = list(_folds(members, seed=2))
    assert len(folds) == FOLDS
    assert sorted(np.concatenate([test for _, test in folds]).tolist()) == list(range(POINTS))
    for train, test in folds:
        assert not set(train.tolist()) & set(test.tolist())
        assert len(train) + len(test) == POINTS
        assert members[test].mean() == 0.5


def test_features_are_of_their_point_alone() -> None:
    made_up = answers(3)
    whole = answer_features(made_up)
    np.testing.assert_array_equal(whole[50:60], answer_features(made_up.at(slice(50, 60))))
    assert whole.shape == (POINTS, 3 * CLASSES + 1)


def test_coarse_images_are_means_of_squares() -> None:
    image = np.arange(256.0).reshape(1, 16, 16)
    squares = coarse(image).reshape(8, 8)
    assert squares[0, 0] == image[0, :2, :2].mean()
    assert squares[7, 3] == image[0, 14:, 6:8].mean()
    assert coarse(np.ones((4, 3, 5, 6))).shape == (4, 3 * 5 * 6)


def test_what_does_not_fit_is_named() -> None:
    made_up = answers(4)
    shadows = made_up.membership.copy()
    shadows[1] = ~shadows[1]
    with pytest.raises(TmiError, match="have different members"):
        attack_named("known-points").score(AttackInput(made_up.predictions, shadows, None), [0])
    with pytest.raises(TmiError, match="needs the points themselves"):
        attack_named("inputs-alone").score(AttackInput(made_up.predictions, made_up.membership, None), [0])
    with pytest.raises(TmiError, match="expected at least 10 of each"):
        attack_named("known-points").score(made_up.at(slice(0, 12)), [0])


def test_the_label_probe_takes_all_finetunings_together() -> None:
    made_up = answers(5)
    random, labels = np.random.default_rng(5), np.arange(POINTS) % 8
    # Members answer more like others of their label.
    places = random.normal(size=(8, 1, CLASSES))[labels] * (0.5 + made_up.membership[0])[:, None, None]
    block = (places + random.normal(size=(MODELS, POINTS, QUERIES, CLASSES))).astype(np.float32)
    given, one = (
        replace(made_up, predictions=Predictions(list(models)), membership=made_up.membership[:number])
        for models, number in ((block, MODELS), (np.stack([block[0]] * 3), 3))
    )
    labelled, alone = (replace(each, pretraining_labels=labels) for each in (given, one))
    scores = attack_named("label-probe").score(labelled, range(2))
    np.testing.assert_array_equal(scores[0], scores[1])
    found = [
        roc_auc_score(made_up.membership[0], attack_named("label-probe").score(x, [0])[0]) for x in (labelled, alone)
    ]
    assert found[0] > found[1] + 0.02 > 0.6


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"pool.non_members": "sklearn:digits"}, "needs model.checkpoint"),
        ({"attack.names": ["known-points"]}, "'known-points', which needs known members"),
    ],
)
def test_the_configuration_says_what_belongs_together(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(TmiError, match=sentence):
        with_attacks(load_config("digits", changes))


def unseen(random: np.random.Generator, inputs: np.ndarray) -> list[np.ndarray]:
    """Finetunings of a model that has seen none of the points: random features under random heads."""
    hidden = np.tanh(inputs @ random.normal(size=(20, 24)) / 20**0.5)
    heads = [3 * random.normal(size=(24, 6)) / 24**0.5 for _ in range(3)]
    return [(hidden @ head)[:, None].astype(np.float32) for head in heads]


@pytest.mark.slow
def test_only_a_contrast_tells_memory_from_a_difference_of_the_points() -> None:
    """Members differ in scale by 1.15, and no model has seen any of them: answers add to the points, but not to one
    another."""
    to_points, to_contrast = [], []
    for seed in range(24):
        random = np.random.default_rng([5, seed])
        members = random.permutation(POINTS) < POINTS // 2
        inputs = random.normal(size=(POINTS, 20)) * np.where(members, 1.15, 1)[:, None]
        model, contrast = (
            AttackInput(Predictions(unseen(random, inputs)), np.tile(members, (3, 1)), seed=seed, inputs=inputs)
            for _ in range(2)
        )
        both, other = (attack_named("inputs-and-answers").score(answers, [0]) for answers in (model, contrast))
        alone = attack_named("inputs-alone").score(model, [0])
        for found, against in ((to_points, alone), (to_contrast, other)):
            found.append(compare(both, against, members[None], [0.1], Bootstrap(300)).auc.low > 0)
    print(f"\nmore than the points: {np.mean(to_points)}, more than the contrast: {np.mean(to_contrast)}")
    assert np.mean(to_points) > 0.15
    assert np.mean(to_contrast) <= 0.1
