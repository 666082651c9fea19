from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from made.simulated import simulated
from tmi.attacks.checks import Finding, check_arrays
from tmi.attacks.checks.alignment import CERTAIN_LEAD, find_order
from tmi.attacks.checks.answers import CERTAIN
from tmi.attacks.checks.membership import members_surer
from tmi.errors import TmiError

MODELS, POINTS, AUGMENTATIONS, CLASSES = 20, 120, 2, 6


class Good:
    """Logits of models that leak, as they should be; what is given replaces a part."""

    def __init__(self) -> None:
        random = np.random.default_rng(3)
        self.membership: NDArray[Any] = random.random((MODELS, POINTS)).argsort(axis=1) < POINTS // 2
        self.labels: NDArray[Any] = random.integers(0, CLASSES, POINTS)
        base = random.normal(size=(MODELS, POINTS, 1, CLASSES))
        self.logits = base + 0.2 * random.normal(size=(MODELS, POINTS, AUGMENTATIONS, CLASSES))
        self.logits += (1 + 2 * self.membership)[..., None, None] * np.eye(CLASSES)[self.labels][:, None]
        self.logits = self.logits.astype(np.float32)


def findings(
    logits: NDArray[Any], membership: NDArray[Any], labels: NDArray[Any] | None = None, **options: Any
) -> list[Finding]:
    return check_arrays(list(logits), membership, labels, **options)


def problem(found: list[Finding], subject: str, severity: str) -> str:
    """What is said about a subject; fails if nothing of that severity is."""
    return " ".join(finding.message for finding in found if (finding.subject, finding.severity) == (subject, severity))


@pytest.fixture
def good() -> Good:
    return Good()


def test_good_arrays_are_silent(good: Good) -> None:
    assert {finding.severity for finding in findings(good.logits, good.membership, good.labels)} == {"ok"}
    assert {finding.severity for finding in findings(good.logits, good.membership)} == {"ok"}


@pytest.mark.parametrize("task", ["digits", "text"])
@pytest.mark.parametrize("models", [16, 65])
def test_real_predictions_are_silent(shared: Path, task: str, models: int) -> None:
    predictions, membership = golden(shared, task, models)
    found = check_arrays(predictions, membership)
    assert not [finding for finding in found if finding.severity == "error"]
    assert not problem(found, "signal", "warning")
    assert "it is reversed" in problem(check_arrays(predictions, ~membership), "membership", "error")


def golden(shared: Path, task: str, models: int = 65) -> tuple[list[NDArray[Any]], NDArray[np.bool_]]:
    folder = shared / "golden" / task
    predictions = np.load(folder / "predictions.npy", mmap_mode="r")[:models]
    return list(predictions), np.load(folder / "membership.npy")[:models]


ORDERS = {
    "models up": (lambda m: np.roll(m, -1, axis=0), "numpy.roll(membership, 1, axis=0)"),
    "models down": (lambda m: np.roll(m, 3, axis=0), "numpy.roll(membership, -3, axis=0)"),
    "models backwards": (lambda m: m[::-1], "membership[::-1]"),
    "models by name": (lambda m: m[sorted(range(len(m)), key=str)], "membership[numpy.argsort"),
    "points": (lambda m: np.roll(m, 1, axis=1), "numpy.roll(membership, -1, axis=1)"),
    "points backwards": (lambda m: m[:, ::-1], "membership[:, ::-1]"),
    "reshaped": (lambda m: m.T.reshape(m.shape), "membership.reshape(points, models).T"),
}


@pytest.mark.parametrize("task", ["digits", "text"])
@pytest.mark.parametrize("order", ORDERS)
def test_an_order_that_does_not_fit_is_an_error(shared: Path, task: str, order: str) -> None:
    predictions, membership = golden(shared, task, 32)
    disorder, remedy = ORDERS[order]
    said = problem(check_arrays(predictions, disorder(membership)), "membership", "error")
    assert "does not fit the predictions as it lies" in said
    assert remedy in said


def test_reversed_and_shifted_is_an_error_too(shared: Path) -> None:
    predictions, membership = golden(shared, "text", 32)
    said = problem(check_arrays(predictions, ~np.roll(membership, 1, axis=0)), "membership", "error")
    assert "numpy.roll(membership, -1, axis=0)" in said


@pytest.mark.parametrize("design", ["independent", "balanced"])
@pytest.mark.parametrize("task", ["digits", "text"])
def test_membership_that_says_nothing_is_no_error(shared: Path, task: str, design: str) -> None:
    random = np.random.default_rng(0)
    for models in (8, 16, 32):
        predictions, membership = golden(shared, task, models)
        axis = 0 if design == "balanced" else 1
        drawn = random.random(membership.shape).argsort(axis=axis) < membership.shape[axis] // 2
        found = check_arrays(predictions, drawn)
        assert not [finding for finding in found if finding.severity == "error"]


@pytest.mark.parametrize("effect", [0.3, 0.6, 1.0])
def test_weak_leaks_are_no_error(effect: float) -> None:
    answers = simulated(models=16, points=200, effect=effect)
    found = check_arrays(list(answers.predictions.rows(np.arange(200))), answers.membership)
    assert not [finding for finding in found if finding.severity == "error"]


@pytest.mark.slow
@pytest.mark.parametrize("task", ["digits", "text"])
def test_redrawn_membership_is_hardly_ever_an_error(shared: Path, task: str) -> None:
    """Of 300 redrawn memberships none is taken for one in another order, nor for a reversed one."""
    random = np.random.default_rng(1)
    for models in (8, 16, 32):
        predictions, membership = golden(shared, task, models)
        logits = np.stack([np.asarray(model, dtype=np.float32) for model in predictions])
        leads = []
        for _ in range(50):
            drawn = random.random(membership.shape) < 0.5
            leads.append(find_order(logits, drawn, np.arange(300)).lead)
            assert max(members_surer(logits, drawn, None)) > -CERTAIN
        assert max(leads) < CERTAIN_LEAD - 1


def test_shapes(good: Good) -> None:
    assert "has been transposed" in problem(findings(good.logits, good.membership.T), "read as", "ok")
    for logits, membership, sentence in (
        (np.moveaxis(good.logits, 1, 3), good.membership, "in axis 2"),
        (good.logits, good.membership[:, 1:], r"expected membership \(20, 120\)"),
        (good.logits[:2], good.membership[:2], "expected at least 3"),
        (good.logits, good.membership * 0.7, "other values than 0 and 1"),
    ):
        with pytest.raises(TmiError, match=sentence):
            findings(logits, membership)
    with pytest.raises(TmiError, match="model 19"):
        check_arrays([*good.logits[:-1], good.logits[-1, 1:]], good.membership)
    assert "too few shadows" in problem(findings(good.logits[:8], good.membership[:8]), "models", "warning")
    few = findings(good.logits[:, :10], good.membership[:, :10])
    assert "more models (20) than points (10)" in problem(few, "predictions", "warning")


def test_membership_values(good: Good) -> None:
    as_floats = findings(good.logits, good.membership.astype(np.float64), good.labels)
    assert "read as false and true" in problem(as_floats, "read as", "ok")
    assert problem(as_floats, "signal", "ok")


def test_membership_design(good: Good) -> None:
    def said(membership: NDArray[Any], severity: str = "warning") -> str:
        return problem(findings(good.logits, membership), "membership", severity)

    half = good.membership[: MODELS // 2]
    assert "complementary pairs" in said(np.concatenate([half, ~half]), "ok")
    some = good.membership.copy()
    some[7] = ~some[2]
    assert "1 pair of models that are complements" in said(some)
    ranks = np.random.default_rng(0).random((MODELS, POINTS)).argsort(axis=0)
    assert "exactly 10 of 20 models" in said(ranks < MODELS // 2, "ok")
    assert "compared with 9 IN and 9 OUT shadows" in said(ranks < MODELS // 2, "ok")
    assert "compared with 1 IN and 17 OUT shadows" in said(ranks < 2)
    assert "equal to another" in said(np.concatenate([half, half]))
    constant = good.membership.copy()
    constant[:, 3] = True
    assert "1 point in all models or in none" in said(constant)
    constant[4] = True
    assert "1 model with all points or none, the first being model 4" in said(constant)
    assert "10.0% of the entries" in said(ranks < 2)
    assert "nothing to tell apart" in said(np.zeros_like(good.membership), "error")


def test_values(good: Good) -> None:
    broken = good.logits.copy()
    broken[5:7, 7, 1, 2] = np.inf
    assert "in 2 models, the first being model 5" in problem(findings(broken, good.membership), "values", "error")
    exponentials = np.exp(good.logits)
    p = exponentials / exponentials.sum(axis=3, keepdims=True)
    for probabilities in (p, p.astype(np.float16)):
        found = findings(probabilities, good.membership)
        assert "probabilities, expected logits" in problem(found, "predictions", "error")
    logs = findings(np.log(p), good.membership)
    assert "log-probabilities" in problem(logs, "predictions", "ok")
    assert {finding.severity for finding in logs} == {"ok"}


def test_axes_of_answers(good: Good) -> None:
    swapped = findings(good.logits.swapaxes(2, 3), good.membership)
    assert "are the two swapped?" in problem(swapped, "predictions", "warning")
    exponentials = np.exp(good.logits)
    p = (exponentials / exponentials.sum(axis=3, keepdims=True)).swapaxes(2, 3)
    assert "over the axis of augmentations" in problem(findings(p, good.membership), "predictions", "error")
    same = np.repeat(good.logits[:, :, :1], 3, axis=2)
    assert "identical" in problem(findings(same, good.membership), "augmentations", "warning")


def test_copies(good: Good) -> None:
    copied = good.logits.copy()
    copied[9] = copied[2]
    assert "for instance 9 as 2" in problem(findings(copied, good.membership), "models", "error")
    stuck = good.logits.copy()
    stuck[:, :5] = stuck[:1, :5]
    assert "5 points of 120" in problem(findings(stuck, good.membership), "points", "warning")
    stuck = good.logits.copy()
    stuck[8] = stuck[8, :1]
    assert "first being model 8" in problem(findings(stuck, good.membership), "models", "error")


def test_labels(good: Good) -> None:
    def said(labels: NDArray[Any], severity: str) -> str:
        return problem(findings(good.logits, good.membership, labels), "labels", severity)

    assert "agree" in said(good.labels, "ok")
    with pytest.raises(TmiError, match="between 1 and 6, expected 0 to 5"):
        said(good.labels + 1, "error")
    assert "points out of order" in said(np.random.default_rng(0).permutation(good.labels), "warning")
    assert "all 0" in said(np.zeros(POINTS, dtype=np.int64), "ok")


def test_pretraining_labels(good: Good) -> None:
    def said(labels: NDArray[Any], severity: str) -> str:
        found = findings(good.logits, good.membership, pretraining_labels=labels)
        return problem(found, "pretraining labels", severity)

    names = 10**12 * good.labels - 7
    assert "6 different, each of 15 to 26 points, answered alike" in said(names, "ok")
    assert not said(names, "warning")
    for disorder in (np.random.default_rng(0).permutation(names), np.roll(names, 1)):
        assert "points out of order" in said(disorder, "warning")
    names[:3] = [1, 2, 3]
    assert "3 points of 120 with a label that no other point has" in said(names, "warning")
    assert "9 different" in said(names, "ok")


@pytest.mark.parametrize("task", ["digits", "text"])
def test_real_pretraining_labels_fit_in_their_order_alone(shared: Path, task: str) -> None:
    predictions, membership = golden(shared, task, 16)
    labels = np.load(shared / "golden" / task / "labels.npy")
    for order, severity in ((labels, "ok"), (np.roll(labels, 1), "warning")):
        found = check_arrays(predictions, membership, pretraining_labels=order)
        assert [finding.severity for finding in found if finding.subject == "pretraining labels"] == [severity]


def test_signal(good: Good) -> None:
    def said(membership: NDArray[Any], severity: str, logits: NDArray[Any] = good.logits) -> str:
        return problem(findings(logits, membership, good.labels), "signal", severity)

    shuffled = np.random.default_rng(0).permutation(good.membership)
    assert "no better than a coin flip" in said(shuffled, "warning")
    noise = np.random.default_rng(1).normal(size=good.logits.shape).astype(np.float32)
    assert "no better than a coin flip" in said(good.membership, "warning", noise)


def test_a_balanced_design_without_a_leak_is_no_better_than_a_coin_flip() -> None:
    random = np.random.default_rng(0)
    membership = random.random((8, 2000)).argsort(axis=0) < 4
    noise = random.normal(size=(8, 2000, 1, 3)).astype(np.float32)
    found = findings(noise, membership)
    assert "no better than a coin flip" in problem(found, "signal", "warning")
    assert "exactly 4 of 8 models" in problem(found, "membership", "ok")


def test_large_arrays_are_sampled(tmp_path: Path, good: Good) -> None:
    np.save(tmp_path / "p.npy", good.logits)
    mapped = np.load(tmp_path / "p.npy", mmap_mode="r")
    found = check_arrays(list(mapped), good.membership, good.labels, sample_bytes=good.logits.nbytes // 2)
    assert "at 60 sampled points" in problem(found, "values", "ok")
    assert {finding.severity for finding in found} == {"ok"}


def test_few_points_of_noise_are_in_order() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(size=(9, 40, 1, 4)).astype(np.float32)
    found = find_order(logits, random.random((9, 40)) < 0.5, np.arange(40))
    assert found.lead > CERTAIN_LEAD  # enough where there are more points
    assert found.remedy == ""
