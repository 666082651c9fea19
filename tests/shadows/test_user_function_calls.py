"""What is asked of the user's functions and of what they return."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from made.user_functions import DOCUMENT, configured, forget
from tmi.config import RecipeConfig
from tmi.errors import TmiError
from tmi.runs.adversaries import with_attacks
from tmi.shadows.makers.user_functions import call_query, call_training, check_functions, require_unedited


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"model": {"hidden": [3]}}, "model is configured, but recipe trains and reads: leave the table out"),
        (
            {"finetune": {"learning_rate": 1.0, "epochs": 2, "batch_size": 3}},
            "finetune is configured, but recipe trains",
        ),
        ({"variants": {"a": {"finetune": {"epochs": 3}}}}, "variants are other finetunings by the tool"),
        ({"recipe": {"pretrain": "a.b", "finetune": "a.b"}}, r"the key 'recipe\.query' is missing"),
        ({"recipe": DOCUMENT["recipe"] | {"quary": "a.b"}}, r"unknown key 'recipe\.quary' \(did you mean 'query'"),
        ({"recipe": DOCUMENT["recipe"] | {"query": "query"}}, r"the key 'recipe\.query' is 'query'"),
        ({"recipe": DOCUMENT["recipe"] | {"settings": {"seed": 3}}}, "expected no 'seed', which is an argument"),
        ({"recipe": DOCUMENT["recipe"] | {"settings": {"a": float("nan")}}}, "expected strings, finite numbers"),
        (
            {"recipe": {key: value for key, value in DOCUMENT["recipe"].items() if key != "query_pretrained"}},
            r"attack\.names has 'direct', which needs .* with recipe\.query_pretrained",
        ),
    ],
)
def test_configurations_that_do_not_fit_are_named(tables: dict[str, Any], message: str) -> None:
    with pytest.raises(TmiError, match=message):
        with_attacks(configured(**tables))


BAD = """
import numpy as np
import random
import sys
import torch

def train(**known): return None
def train_on(inputs, labels, seed, directory): return None
def bare(x): return None
def number(**known): return 3
def tensors(**known): return {"a": np.ones(2)}
def infinite(**known): return {"loss": float("inf")}
def percent(**known): return {"train_accuracy": 97.0}
def leaving(**known): sys.exit(3)
def drawing(**known): return {"drawn": [random.random(), np.random.rand(), torch.rand(1).item()]}
def settings(path, where, **known): return {"path": path, "where": where, "loss": torch.tensor(1.5)}

def vector(inputs, **known): return np.zeros(len(inputs))
def short(inputs, **known): return np.zeros((len(inputs) - 1, 3))
def wide(inputs, **known): return np.zeros((len(inputs), 4))
def nothing(**known): return None
def whole(inputs, **known): return np.zeros((len(inputs), 3), dtype=int)
def not_finite(inputs, **known):
    answers = np.zeros((len(inputs), 3)); answers[1, 2] = 1e300; answers[2, 0] = np.nan; return answers
def probabilities(inputs, **known): return np.full((len(inputs), 3), 1 / 3)
def tensor(inputs, **known): return torch.ones(len(inputs), 3, dtype=torch.bfloat16, requires_grad=True)
def changing(inputs, **known):
    inputs += 1; return np.stack([inputs.sum(axis=(1, 2)), inputs[:, 0, 0], 0 * inputs[:, 0, 0]], axis=1)
"""


@pytest.fixture
def bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., RecipeConfig]:
    (tmp_path / "own_functions.py").write_text(BAD)
    monkeypatch.chdir(tmp_path)
    forget(monkeypatch, "own_functions")

    def make(settings: dict[str, Any] | None = None, **functions: str) -> RecipeConfig:
        names = {"pretrain": "train", "finetune": "train", "query": "train"} | functions
        return RecipeConfig(**{key: f"own_functions.{name}" for key, name in names.items()}, settings=settings or {})

    return make


@pytest.mark.parametrize(
    ("functions", "message"),
    [
        ({"finetune": "absent"}, r"recipe\.finetune 'own_functions\.absent': the module .* has no function 'absent'"),
        (
            {"pretrain": "train_on"},
            r"takes \(inputs, labels, seed, directory\), expected .*, device: got an unexpected",
        ),
        ({"query": "bare"}, r"recipe\.query 'own_functions\.bare': takes \(x\), expected the keyword arguments inputs"),
        ({"query_pretrained": "bare"}, r"recipe\.query_pretrained 'own_functions\.bare'"),
    ],
)
def test_functions_are_checked_before_anything_is_trained(
    bad: Callable[..., RecipeConfig], functions: dict[str, str], message: str
) -> None:
    check_functions(bad())
    with pytest.raises(TmiError, match=message):
        check_functions(bad(**functions))


def drawn_so_far() -> tuple[Any, ...]:
    """The states of the random numbers that anyone may draw from."""
    legacy: Any = np.random.get_state()  # noqa: NPY002
    return random.getstate(), legacy[1].tolist(), torch.get_rng_state().tolist()


def trained_by(recipe: RecipeConfig) -> dict[str, Any]:
    known = {"inputs": None, "labels": None, "directory": Path(), "device": "cpu"}
    return call_training(recipe, "pretrain", 7, 2**40 + 5, **known)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("number", "model 7: the function returned a int, expected None or a dictionary"),
        ("tensors", "the function returned values that are not plain"),
        ("infinite", "the function returned values that are not plain: Out of range float"),
        ("percent", r"the function returned train_accuracy 97\.0, expected a number from 0 to 1"),
        ("leaving", "the function ended Python: SystemExit: 3"),
    ],
)
def test_what_training_returns_is_checked(bad: Callable[..., RecipeConfig], function: str, message: str) -> None:
    with pytest.raises(TmiError, match=message):
        trained_by(bad(pretrain=function))


def test_nobody_else_s_random_numbers_change(bad: Callable[..., RecipeConfig]) -> None:
    recipe = bad(pretrain="drawing")
    trained_by(recipe)
    before = drawn_so_far()
    facts = [trained_by(recipe) for _ in range(2)]
    assert facts[0] == facts[1]
    assert before == drawn_so_far()


def test_settings_may_have_any_name(bad: Callable[..., RecipeConfig]) -> None:
    facts = trained_by(bad({"path": 1, "where": [2]}, pretrain="settings"))
    assert facts == {"returned": {"path": 1, "where": [2], "loss": 1.5}}


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("vector", r"recipe\.query 'own_functions\.vector', model 2: .* shape \(5,\), expected \(5, 3\)"),
        ("short", r"shape \(4, 3\), expected \(5, 3\)"),
        ("wide", r"shape \(5, 4\), expected \(5, 3\)"),
        ("nothing", r"shape \(\), expected \(5, 3\)"),
        ("whole", "numbers of type int64, expected floats"),
        ("not_finite", "2 of 5 answers are not finite"),
        ("probabilities", r"returned probabilities \(every row sums to 1\), expected logits"),
    ],
)
def test_answers_are_checked(bad: Callable[..., RecipeConfig], function: str, message: str) -> None:
    with pytest.raises(TmiError, match=message):
        call_query(bad(query=function), "query", 2, np.zeros((5, 4, 4)), 3, Path(), "cpu")


def test_answers_come_in_batches_of_copies(bad: Callable[..., RecipeConfig]) -> None:
    inputs = np.random.default_rng(0).random((2300, 2, 2))
    before = inputs.copy()
    answers = call_query(bad(query="changing"), "query", 0, inputs, None, Path(), "cpu")
    assert np.array_equal(inputs, before)
    assert np.allclose(answers[:, 0], before.sum(axis=(1, 2)) + 4)
    assert (call_query(bad(query="tensor"), "query", 0, inputs, 3, Path(), "cpu") == 1).all()


def test_a_module_without_a_file_is_refused() -> None:
    recipe = RecipeConfig(pretrain="time.sleep", finetune="time.sleep", query="time.sleep")
    with pytest.raises(TmiError, match="the module 'time' has no file"):
        require_unedited(recipe)
