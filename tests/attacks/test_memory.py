"""Attacks that look at all points work on parts of them, and no array grows with the square of many classes."""

from __future__ import annotations

import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from made.simulated import drawn, simulated
from tmi.attacks.features.classes import MOST_CLASSES, likeliest_classes
from tmi.attacks.features.probe import held_probes, label_probes
from tmi.attacks.gaussian import _coordinates, _excess_distance
from tmi.attacks.registry import attack_named
from tmi.attacks.scoring import score
from tmi.errors import TmiError
from tmi.predictions.arrays import Predictions
from tmi.predictions.rows import HeldRows

# Peak resident memory that an attack adds to what was there, in MB, with so many bytes for the arrays of a window.
MEASURE = """
import sys
import numpy as np
from pathlib import Path
from tmi.attacks.features import windows
from tmi.attacks.registry import attack_named
from tmi.predictions.arrays import Predictions
from tmi.predictions.attack_input import AttackInput

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) >> 10

windows.ARRAY_BYTES = int(sys.argv[1])
models, points, augmentations, classes = map(int, sys.argv[2:6])
random = np.random.default_rng(0)

def answers(points, classes):
    x = random.standard_normal((models, points, augmentations, classes), dtype=np.float32).astype(np.float16)
    return AttackInput(Predictions(list(x), 64 << 20), random.random((models, points)) < 0.5)

attack = attack_named(sys.argv[6])
attack.score(answers(60, 4), [0])  # what is imported on the way is no part of it
large, before = answers(points, classes), peak()
assert np.isfinite(attack.score(large, [0])).all()
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("attack", "shape", "arrays", "most"),
    [
        # Of all points and classes there would be 4.8 MB in each of more than thirty arrays of float32.
        ("tmi", (20, 600, 1, 100), 40, 100),
        ("conditional", (20, 600, 4, 100), 60, 100),
        # 24 MB of float32 in each; a block as it is read has 32 MB of float16.
        ("tmi", (30, 100, 1, 2_000), 100, 150),
    ],
)
def test_peak(attack: str, shape: tuple[int, ...], arrays: int, most: int) -> None:
    command = [sys.executable, "-c", MEASURE, str(arrays * 1_000_000), *map(str, shape), attack]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert int(said) < most


@pytest.mark.parametrize("design", ["independent", "balanced"])
@pytest.mark.parametrize("attack", ["tmi", "conditional"])
def test_matrices_of_parts_of_the_points_change_no_bit(
    attack: str, design: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = simulated(points=40)
    answers = replace(answers, membership=drawn(design, 24, 40, np.random.default_rng(0)))
    whole = score(attack_named(attack), answers, [0, 3])
    monkeypatch.setattr("tmi.attacks.features.membership.MATRIX_ENTRIES", 7 * 24**2)
    np.testing.assert_array_equal(score(attack_named(attack), answers, [0, 3]), whole)


@pytest.mark.parametrize(
    "attack", ["lira-online", "lira-offline", "rmia", "rmia-offline", "label-probe", "conditional"]
)
def test_parts_of_points_and_models_change_nothing(attack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = simulated(points=40)
    whole = score(attack_named(attack), answers, [0, 3])
    monkeypatch.setattr("tmi.attacks.confidences.PART_ENTRIES", 7 * 24 * 3)
    monkeypatch.setattr("tmi.attacks.features.probe.READ_ENTRIES", 5 * 3 * 40 * 4)
    monkeypatch.setattr("tmi.attacks.features.shrinkage.SCATTER_ENTRIES", 7 * 4**2)
    np.testing.assert_allclose(score(attack_named(attack), answers, [0, 3]), whole, rtol=1e-6)


def test_some_models_are_probed_as_all_are() -> None:
    answers = simulated(points=40)
    some = np.concatenate([found for _, found in label_probes(answers, [5, 2])])
    np.testing.assert_array_equal(some, held_probes(answers).at(range(40))[[5, 2]])


@pytest.mark.parametrize("design", ["independent", "balanced"])
@pytest.mark.parametrize("attack", ["tmi", "label-probe-shadows"])
def test_odds_in_a_file_change_no_bit(attack: str, design: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does it what models say of labels that are classes of theirs, in parts of points."""
    answers = simulated(points=150)
    membership = drawn(design, 24, 150, np.random.default_rng(0))
    answers = replace(answers, membership=membership, labels=np.arange(150) % answers.predictions.shape[-1])
    whole = score(attack_named(attack), answers, [0, 3])
    monkeypatch.setattr("tmi.predictions.rows.LARGEST_HELD", 1000)
    monkeypatch.setattr("tmi.attacks.confidences.PART_ENTRIES", 7 * 24 * 3)
    monkeypatch.setattr("tmi.attacks.features.probe.READ_ENTRIES", 5 * 3 * 150 * 4)
    np.testing.assert_array_equal(score(attack_named(attack), replace(answers), [0, 3]), whole)


def test_label_probes_against_shadows_at_parts_of_the_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is summed up over all points is summed up in another order."""
    answers = simulated(points=150)
    whole = score(attack_named("label-probe-shadows"), answers, [0, 3])
    monkeypatch.setattr("tmi.attacks.label_probe.PART_ENTRIES", 7 * 24)
    np.testing.assert_allclose(score(attack_named("label-probe-shadows"), answers, [0, 3]), whole, rtol=1e-9)


def test_no_room_for_a_file_of_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tmi.predictions.rows.LARGEST_HELD", 1000)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with pytest.raises(TmiError, match=r"none: 80,000 bytes cannot be held there: No such file .*folder in TMPDIR"):
        HeldRows((100, 50, 2))


def test_a_file_of_numbers_that_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system writes a part of what is too long, and says so in the number of bytes alone."""
    monkeypatch.setattr("tmi.predictions.rows.LARGEST_HELD", 1000)
    held, limits = HeldRows((1, 5000, 2)), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(TmiError, match="80,000 bytes cannot be held there"):
            held.put(range(1), range(5000), np.ones((1, 5000, 2)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_gaussian_offline_with_many_classes_is_the_same() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(6, 12, 400)) + 5 * random.normal(size=(6, 1, 400))
    outside = random.random((6, 11)) < 0.6
    coordinates = _coordinates(x)
    assert coordinates.shape == (6, 12, 12)
    whole, found = (_excess_distance(each[:, 3], np.delete(each, 3, axis=1), outside, 400) for each in (x, coordinates))
    np.testing.assert_allclose(found, whole, rtol=1e-9)
    membership = np.insert(~outside.T, 3, values=True, axis=0)
    answers = replace(
        simulated(12, 6, classes=2),
        predictions=Predictions(list(x[:, :, None].transpose(1, 0, 2, 3).astype(np.float32))),
    )
    answers = replace(answers, membership=membership, pretrained=None)
    many = attack_named("gaussian-offline").score(answers, [3])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tmi.attacks.gaussian.FEW_CLASSES", 400)
        np.testing.assert_allclose(many, attack_named("gaussian-offline").score(answers, [3]), rtol=1e-6)


def test_the_likeliest_classes_and_the_rest() -> None:
    predictions = simulated(5, 7, classes=30).predictions
    few = np.exp(likeliest_classes(predictions, 6).block(slice(None)).astype(np.float64))
    logits = predictions.block(slice(None)).astype(np.float64)
    p = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(few.sum(axis=-1), 1, rtol=1e-5)
    for point in range(7):
        order = np.argsort(-np.log(p[:, point]).mean(axis=(0, 1)))[:6]
        np.testing.assert_allclose(few[:, point, :, :-1], p[:, point][..., order], rtol=1e-4)


def test_tmi_sees_members_among_few_of_many_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = replace(simulated(points=120, classes=MOST_CLASSES + 40, effect=1.5), pretraining_labels=None)
    monkeypatch.setattr("tmi.attacks.features.windows.ARRAY_BYTES", 1)
    scores = attack_named("tmi").score(answers, [0, 1])
    assert roc_auc_score(answers.membership[[0, 1]].ravel(), scores.ravel()) > 0.7
