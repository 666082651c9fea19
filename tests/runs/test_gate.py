"""Input that is wrong is refused on every way in, unless it is forced; what may be wrong is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from made.commands import refused
from made.commands import tmi as command
from tmi.attacks.estimator import MembershipAttack
from tmi.errors import TmiError
from tmi.runs.in_memory import audit

Arrays = tuple[NDArray[Any], NDArray[Any]]


@pytest.fixture(scope="module")
def good() -> Arrays:
    """Models that agree about most points, are surer about members, and leak."""
    random = np.random.default_rng(0)
    membership = random.random((17, 120)) < 0.5
    centre = 3 * np.eye(4)[random.integers(0, 4, 120)][:, None]
    logits = centre * (1 + 0.6 * membership[..., None, None]) + random.normal(size=(17, 120, 2, 4))
    return logits.astype(np.float32), membership


def probabilities(logits: NDArray[Any]) -> NDArray[Any]:
    exponentials = np.exp(logits)
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def with_nan(logits: NDArray[Any]) -> NDArray[Any]:
    broken = logits.copy()
    broken[3, 7, 1, 2] = np.nan
    return broken


WRONG: dict[str, tuple[Callable[[NDArray[Any], NDArray[Any]], Arrays], str]] = {
    "probabilities": (lambda p, m: (probabilities(p), m), "probabilities, expected logits"),
    "shifted models": (lambda p, m: (p, np.roll(m, 1, axis=0)), "numpy.roll(membership, -1, axis=0)"),
    "shifted points": (lambda p, m: (p, np.roll(m, -1, axis=1)), "numpy.roll(membership, 1, axis=1)"),
    "reversed": (lambda p, m: (p, ~m), "it is reversed"),
    "copies": (lambda p, m: (p[[0, *range(16)]], m), "exactly the answers of another one"),
}
STRANGE: dict[str, tuple[Callable[[NDArray[Any]], NDArray[Any]], str]] = {
    "another order": (lambda target: np.roll(target, 1, axis=0), "another order"),
    "probabilities": (probabilities, "those of the shadow models are logits"),
}


def attacked(folder: Path, logits: NDArray[Any], membership: NDArray[Any], *options: str | Path) -> tuple[Any, ...]:
    np.save(folder / "P.npy", logits)
    np.save(folder / "M.npy", membership)
    files = ("--predictions", folder / "P.npy", "--membership", folder / "M.npy", "--out", folder / "out")
    return ("attack", *files, "--attack", "gaussian", "--workers", "1", "--set", "evaluation.resamples=100", *options)


@pytest.mark.parametrize("mistake", WRONG)
def test_what_is_wrong_is_refused_on_every_way_in(good: Arrays, tmp_path: Path, mistake: str) -> None:
    change, sentence = WRONG[mistake]
    logits, membership = change(*good)
    with pytest.raises(TmiError) as from_python:
        audit(logits, membership, attacks=["gaussian"], resamples=100)
    with pytest.raises(TmiError) as from_estimator:
        MembershipAttack("gaussian").fit(logits, membership)
    said = refused(*attacked(tmp_path, logits, membership))
    assert not (tmp_path / "out").exists()
    assert len(said.strip().splitlines()) == 1
    for words in (str(from_python.value), str(from_estimator.value), said):
        assert sentence in words
        assert "--force" in words


@pytest.mark.parametrize("mistake", WRONG)
def test_what_is_wrong_can_be_forced_and_heads_the_results(good: Arrays, tmp_path: Path, mistake: str) -> None:
    change, sentence = WRONG[mistake]
    logits, membership = change(*good)
    forced = audit(logits, membership, attacks=["gaussian"], resamples=100, force=True)
    assert any(note["level"] == "refused" and sentence in note["text"] for note in forced.results["notes"])
    estimator = MembershipAttack("gaussian", force=True).fit(logits, membership)
    assert any(finding.severity == "error" and sentence in finding.message for finding in estimator.findings_)
    assert f"✗ {forced.found.notes[-1].text.partition(':')[0]}" in command(
        *attacked(tmp_path, logits, membership, "--force")
    )
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["notes"] == forced.results["notes"]


def test_nan_is_one_sentence_even_if_forced(good: Arrays, tmp_path: Path) -> None:
    logits, membership = with_nan(good[0]), good[1]
    for options in ((), ("--force",)):
        assert "NaN" in refused(*attacked(tmp_path, logits, membership, *options))
    with pytest.raises(TmiError, match="model 3: holds NaN"):
        audit(logits, membership, force=True)
    with pytest.raises(TmiError, match="model 3: holds NaN"):
        MembershipAttack(force=True).fit(logits, membership)


@pytest.mark.parametrize("stranger", STRANGE)
def test_a_target_that_does_not_belong_is_refused_on_every_way_in(good: Arrays, tmp_path: Path, stranger: str) -> None:
    change, sentence = STRANGE[stranger]
    logits, membership = good
    target = change(logits[0])
    with pytest.raises(TmiError, match=sentence):
        audit(logits[1:], membership[1:], target, attacks=["gaussian"], resamples=100)
    with pytest.raises(TmiError, match=sentence):
        MembershipAttack("gaussian").fit(logits[1:], membership[1:]).predict(target)
    np.save(tmp_path / "T.npy", target)
    arguments = attacked(tmp_path, logits[1:], membership[1:], "--target", tmp_path / "T.npy")
    assert sentence in refused(*arguments)
    arrays = (tmp_path / "P.npy", tmp_path / "M.npy", "--target", tmp_path / "T.npy")
    assert sentence in " ".join(command("check", *arrays, code=2).split())
    command(*arguments, "--force")
    note = json.loads((tmp_path / "out" / "results.json").read_text())["notes"][0]
    assert note["level"] == "refused"
    assert sentence in note["text"]
    forced = MembershipAttack("gaussian", force=True).fit(logits[1:], membership[1:])
    assert forced.score_samples(target).shape == (120,)


def test_what_is_right_passes_in_silence(good: Arrays, tmp_path: Path) -> None:
    logits, membership = good
    assert audit(logits[1:], membership[1:], logits[0], attacks=["gaussian"], resamples=100).found.notes == []
    np.save(tmp_path / "T.npy", logits[0])
    printed = command(*attacked(tmp_path, logits[1:], membership[1:], "--target", tmp_path / "T.npy"))
    assert "!" not in printed.replace("!=", "")
    assert "✗" not in printed


def test_warnings_are_shown_and_head_the_results(good: Arrays, tmp_path: Path) -> None:
    logits, membership = good[0][:9], good[1][:9]
    printed = command(*attacked(tmp_path, logits, membership))
    assert "! models: 9 models: too few shadows" in printed
    (note,) = json.loads((tmp_path / "out" / "results.json").read_text())["notes"]
    assert note == {
        "level": "warning",
        "text": "models: 9 models: too few shadows for most attacks and for narrow intervals",
    }
