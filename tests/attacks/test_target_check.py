"""Targets that belong to their shadow models, and others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tmi.attacks.checks import Finding, check_target
from tmi.predictions.attack_input import AttackInput
from tmi.predictions.intake import taken_in

POINTS = 300
RANDOM = np.random.default_rng(5)
MIXED = RANDOM.permutation(POINTS)
HALF = np.concatenate([RANDOM.permutation(150), np.arange(150, POINTS)])


def golden(shared: Path, task: str) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    folder = shared / "golden" / task
    return np.load(folder / "predictions.npy"), np.load(folder / "membership.npy")


def without(logits: NDArray[Any], membership: NDArray[np.bool_], target: int, shadows: int) -> AttackInput:
    others = [model for model in range(len(logits)) if model != target][:shadows]
    return taken_in(list(logits[others]), membership[others])


def severity(found: list[Finding]) -> str:
    (finding,) = found
    return finding.severity


def probabilities(logits: NDArray[Any]) -> NDArray[Any]:
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return (exponentials / exponentials.sum(axis=-1, keepdims=True)).astype(np.float32)


STRANGERS: dict[str, tuple[Callable[[NDArray[Any]], NDArray[Any]], str]] = {
    "points shifted": (lambda t: np.roll(t, 1, axis=0), "another order"),
    "points mixed": (lambda t: t[MIXED], "another order"),
    "half of the points mixed": (lambda t: t[HALF], "another order"),
    "points backwards": (lambda t: t[::-1], "another order"),
    "classes shifted": (lambda t: np.roll(t, 1, axis=2), "another order"),
    "negated": (lambda t: -t, "another order"),
    "noise": (lambda t: RANDOM.normal(size=t.shape).astype(t.dtype), "another order"),
    "probabilities": (probabilities, "probabilities"),
    "probabilities, rounded": (lambda t: probabilities(t).astype(np.float16), "probabilities"),
    "scaled up": (lambda t: 4 * t, "spread"),
    "scaled down": (lambda t: t / 4, "spread"),
}


@pytest.mark.parametrize("shadows", [4, 16, 64])
@pytest.mark.parametrize("stranger", STRANGERS)
@pytest.mark.parametrize("task", ["digits", "text"])
def test_strangers_are_refused(shared: Path, task: str, stranger: str, shadows: int) -> None:
    logits, membership = golden(shared, task)
    change, said = STRANGERS[stranger]
    found = check_target(without(logits, membership, 0, shadows), change(logits[0]))
    assert severity(found) == "error"
    assert said in found[0].message


@pytest.mark.parametrize("task", ["digits", "text"])
def test_models_of_the_same_kind_belong(shared: Path, task: str) -> None:
    logits, membership = golden(shared, task)
    for target, shadows in ((0, 64), (1, 16), (2, 8), (3, 4)):
        assert severity(check_target(without(logits, membership, target, shadows), logits[target])) == "ok"


@pytest.mark.slow
@pytest.mark.parametrize("shadows", [4, 8, 16, 64])
@pytest.mark.parametrize("task", ["digits", "text"])
def test_every_model_of_the_same_kind_belongs(shared: Path, task: str, shadows: int) -> None:
    logits, membership = golden(shared, task)
    found = [severity(check_target(without(logits, membership, each, shadows), logits[each])) for each in range(65)]
    assert "error" not in found
    # With few shadows their spread says little about that of models.
    assert found.count("warning") <= (6 if shadows == 4 else 0)


def test_log_probabilities_belong_to_logits(shared: Path) -> None:
    logits, membership = golden(shared, "text")
    assert severity(check_target(without(logits, membership, 0, 32), np.log(probabilities(logits[0])))) == "ok"


def test_shadows_that_have_nothing_in_common_say_nothing() -> None:
    random = np.random.default_rng(0)
    noise = random.normal(size=(9, 100, 1, 4)).astype(np.float32)
    shadows = taken_in(noise[1:], random.random((8, 100)) < 0.5)
    found = check_target(shadows, noise[0])
    assert severity(found) == "ok"
    assert "is not known" in found[0].message
