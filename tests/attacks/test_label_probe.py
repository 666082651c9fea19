"""The pretraining label as a signal: alone, against shadows, and within `tmi`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from made.simulated import drawn
from tmi.attacks.features.probe import held_probes
from tmi.attacks.registry import attack_named
from tmi.attacks.scoring import score
from tmi.errors import TmiError
from tmi.predictions.arrays import Predictions
from tmi.predictions.attack_input import AttackInput, Reference

POINTS, CLASSES, LABELS = 120, 4, 6


def pulled(models: int = 8, pull: float = 1.0, seed: int = 0, design: str = "independent") -> AttackInput:
    """Models that answer about members as about their class: each with a place of its own for every class."""
    random = np.random.default_rng(seed)
    labels = np.arange(POINTS) % LABELS
    membership = drawn(design, models, POINTS, random)
    places = 3 * random.normal(size=(models, LABELS, CLASSES))[:, labels]
    own = 3 * random.normal(size=(models, POINTS, CLASSES))
    share = np.where(membership, 0.5 + 0.4 * pull, 0.5)[..., None]
    logits = (share * places + (1 - share) * own)[:, :, None] + 0.1 * random.normal(size=(models, POINTS, 3, CLASSES))
    return AttackInput(Predictions(list(logits.astype(np.float32))), membership, pretraining_labels=labels)


def auc(answers: AttackInput, name: str, targets: int = 4) -> float:
    scores = score(attack_named(name), answers, range(targets))
    return float(np.mean([roc_auc_score(answers.membership[t], scores[t]) for t in range(targets)]))


def test_the_label_tells_without_shadow_models() -> None:
    answers = pulled()
    assert auc(answers, "label-probe") > 0.7
    # Nothing else that does without shadow models sees it.
    assert auc(answers, "confidence") < 0.65
    # It is the target's own answers that count.
    alone = attack_named("label-probe").score(answers.restricted([3, 1, 2]), [0])
    np.testing.assert_array_equal(alone[0], attack_named("label-probe").score(answers, [3])[0])


@pytest.mark.parametrize(("name", "without"), [("label-probe-shadows", "gaussian"), ("tmi", "tmi-without-labels")])
def test_the_label_adds_to_what_shadow_models_tell(name: str, without: str) -> None:
    answers = pulled(models=16)
    assert auc(answers, name) > auc(answers, without) + 0.05


@pytest.mark.parametrize("design", ["independent", "balanced", "pairs"])
@pytest.mark.parametrize("name", ["label-probe", "label-probe-shadows", "tmi"])
def test_labels_make_no_leak_of_nothing(name: str, design: str) -> None:
    found = [auc(pulled(8, pull=0.0, seed=seed, design=design), name) for seed in range(3)]
    assert np.mean(found) == pytest.approx(0.5, abs=0.05)


def test_reference_points_teach() -> None:
    """A probe that is taught by few points learns with more, and only the challenge points are scored."""
    whole = pulled(pull=1.0)
    challenged = whole.at(slice(0, 24))
    labels = whole.pretraining_labels
    assert labels is not None
    reference = Reference(whole.predictions.at(slice(24, None)), whole.membership[:, 24:], labels[24:])
    taught = replace(challenged, reference=reference)
    scores = attack_named("label-probe").score(taught, [0, 1])
    np.testing.assert_array_equal(scores, attack_named("label-probe").score(whole, [0, 1])[:, :24])
    assert auc(taught, "label-probe", 8) > auc(challenged, "label-probe", 8) + 0.05
    with pytest.raises(TmiError, match="have pretraining labels and the reference points have none"):
        replace(challenged, reference=replace(reference, pretraining_labels=None))


def test_a_point_alone_with_its_label_is_neutral() -> None:
    answers = pulled()
    labels = np.array(answers.pretraining_labels)
    labels[5] = 99
    alone = replace(answers, pretraining_labels=labels)
    assert (held_probes(alone).at(range(5, 6)) == 0).all()
    assert (attack_named("label-probe-shadows").score(alone, [0, 1])[:, 5] == 0).all()
    assert np.isfinite(attack_named("tmi").score(alone, [0])).all()


def test_finetunings_side_by_side_tell_more() -> None:
    """Two finetunings that show two sides of the same classes."""
    answers = pulled(models=16)
    first, second = (
        replace(answers, predictions=Predictions(list(answers.predictions.block(slice(None))[..., side])))
        for side in (slice(0, 2), slice(2, 4))
    )
    together = replace(first, companions=(second,))
    for name in ("label-probe", "label-probe-shadows", "tmi"):
        assert auc(together, name, 8) > max(auc(first, name, 8), auc(second, name, 8))


def test_golden_text(shared: Path) -> None:
    """What was measured on real shadow models, a little below."""
    folder = shared / "golden" / "text"
    answers = AttackInput(
        Predictions(list(np.load(folder / "predictions.npy"))),
        np.load(folder / "membership.npy"),
        pretraining_labels=np.load(folder / "labels.npy").astype(np.int64),
    )
    assert auc(answers, "label-probe", 16) > 0.90
    assert auc(answers, "label-probe-shadows", 16) > 0.97
    assert auc(answers.restricted(range(9)), "tmi", 2) > 0.96


def test_labels_of_both_kinds_are_used() -> None:
    """Those that are classes of the answers are no labels of pretraining, and take the place of none."""
    answers = pulled(models=12)
    both = replace(answers, labels=np.random.default_rng(0).integers(CLASSES, size=POINTS))
    assert auc(both, "tmi") > auc(replace(both, pretraining_labels=None), "tmi") + 0.05
