"""Attacks that ask the pretrained model itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.metrics import roc_auc_score

from made.labelled import TARGET, made_up, unlabelled
from made.simulated import drawn
from tmi.attacks.direct import LIKELIEST, _with_few_classes
from tmi.attacks.features.classes import MOST_CLASSES
from tmi.attacks.features.windows import _all_odds
from tmi.attacks.registry import attack_named
from tmi.attacks.scoring import score
from tmi.predictions.arrays import Predictions
from tmi.predictions.attack_input import AttackInput
from tmi.predictions.views import View

DIRECT = ["direct", "direct-lira"]
MANY = MOST_CLASSES + 10


def pretrained(
    membership: NDArray[np.bool_], classes: int = 6, effect: float = 0.0, seed: int = 0, labels: bool = True
) -> AttackInput:
    """Pretrained models that tell labels apart, and are surer of them at members; finetuned models that say nothing."""
    random = np.random.default_rng(seed)
    models, points = membership.shape
    of_points = random.integers(classes, size=points)
    logits = random.normal(size=(points, 1, classes)) + random.normal(size=(models, points, 2, classes))
    logits += (4 + effect * membership[..., None, None]) * np.eye(classes)[of_points][:, None]
    finetuned = random.normal(size=(models, points, 2, 4))
    both = [Predictions(list(each.astype(np.float32))) for each in (finetuned, logits)]
    return AttackInput(both[0], membership, both[1], seed, pretraining_labels=of_points if labels else None)


def auc(answers: AttackInput, name: str, targets: int = 4) -> float:
    scores = score(attack_named(name), answers, range(targets))
    return float(roc_auc_score(answers.membership[:targets].ravel(), scores.ravel()))


@pytest.mark.parametrize(("design", "classes"), [("independent", MANY), ("balanced", 6), ("pairs, one dropped", 6)])
@pytest.mark.parametrize("name", DIRECT)
def test_a_leak_is_found_and_noise_is_none(name: str, design: str, classes: int) -> None:
    membership = drawn(design, 12, 200, np.random.default_rng(0))
    assert auc(pretrained(membership, classes, effect=2.0), name, 2) > 0.8
    # Four standard errors.
    assert auc(pretrained(membership, classes), name, 2) == pytest.approx(0.5, abs=0.12)


@pytest.mark.parametrize(("name", "least"), [("direct", 0.8), ("direct-lira", 0.6)])
def test_a_leak_is_found_without_labels(name: str, least: float) -> None:
    membership = drawn("independent", 12, 150, np.random.default_rng(1))
    assert auc(pretrained(membership, MANY, effect=1.5, labels=False), name) > least


@pytest.mark.parametrize("other", ["out of range", "negative", "shuffled", "unnamed classes"])
def test_labels_that_are_no_classes_of_the_answers_are_not_looked_at(other: str) -> None:
    """They may be any integers, and a view may hide what classes are called."""
    answers = pretrained(drawn("independent", 10, 80, np.random.default_rng(2)), effect=2.0)
    labels = answers.pretraining_labels
    assert labels is not None
    if other == "unnamed classes":
        answers = answers.seen_through(View.parse("top-3-unnamed"))
    else:
        moved = {"out of range": labels + 1, "negative": labels - 1, "shuffled": labels[::-1].copy()}
        answers = replace(answers, pretraining_labels=moved[other])
    bare = replace(answers, pretraining_labels=None)
    lira = attack_named("direct-lira")
    np.testing.assert_array_equal(lira.score(answers, [0, 1]), lira.score(bare, [0, 1]))


def test_direct_lira_is_lira_on_the_pretrained_answers_and_their_labels() -> None:
    answers = made_up(effect=3.0)
    labels = answers.labels
    asked = AttackInput(made_up(seed=1).predictions, answers.membership, answers.predictions, pretraining_labels=labels)
    expected = attack_named("lira-online", {"variance": "per-point-in-out"}).score(answers, [TARGET])
    np.testing.assert_array_equal(attack_named("direct-lira").score(asked, [TARGET]), expected)


@pytest.mark.parametrize("labels", [True, False])
def test_few_classes_have_the_probabilities_of_all(labels: bool) -> None:
    answers = pretrained(drawn("independent", 5, 30, np.random.default_rng(3)), MANY, labels=labels)
    assert answers.pretrained is not None
    few = softmax(_with_few_classes(answers).predictions.block(slice(None)).astype(np.float64), axis=-1)
    every = softmax(answers.pretrained.block(slice(None)).astype(np.float64), axis=-1)
    assert few.shape[-1] == LIKELIEST + 2
    np.testing.assert_allclose(few.sum(axis=-1), 1, rtol=1e-5)
    if answers.pretraining_labels is not None:
        own = np.take_along_axis(every, answers.pretraining_labels[None, :, None, None], axis=-1)
        np.testing.assert_allclose(few[..., :1], own, rtol=1e-4)
    # Two of the model's own confidence, or none: a probe would take the first of each point for one and the same class.
    assert [held.shape[-1] for held in _all_odds(_with_few_classes(answers))] == [2] * labels
    # The others are in the order of how likely all models together hold them.
    assert (np.diff(np.log(few[..., labels:-1]).mean(axis=(0, 2)), axis=-1) < 0).all()
    few_of_answers = pretrained(drawn("independent", 5, 30, np.random.default_rng(3)), MOST_CLASSES)
    assert _with_few_classes(few_of_answers).predictions is few_of_answers.pretrained


def test_own_confidence_in_a_label_is_evidence_for_tmi() -> None:
    """Of answers whose classes the points belong to, whichever model gives them."""
    answers = made_up(models=12, points=150, effect=1.5, classes=10)
    assert auc(answers, "tmi") > auc(unlabelled(answers), "tmi") + 0.02
    assert auc(answers, "tmi-without-labels") == auc(unlabelled(answers), "tmi-without-labels")


@pytest.mark.slow
@pytest.mark.parametrize(("data", "least"), [("digits", (0.83, 0.81)), ("text", (0.999, 0.998))])
def test_direct_access_on_real_answers(data: str, least: tuple[float, float], shared: Path) -> None:
    """A discriminant on all classes, as `direct` was, has .774 and .998, `tmi` on finetuned models .72 and .995."""
    folder = shared / "golden" / data
    if not folder.is_dir():
        pytest.skip(f"needs the frozen predictions in {folder}")
    logits, own = (Predictions(list(np.load(folder / f"{name}predictions.npy"))) for name in ("", "pretrained_"))
    labels = np.load(folder / "labels.npy").astype(np.int64)
    answers = AttackInput(logits, np.load(folder / "membership.npy"), own, pretraining_labels=labels)
    found = [auc(answers, name, 12) for name in (*DIRECT, "tmi")]
    assert found[0] > max(*found[1:], least[0])
    assert found[1] > least[1]
