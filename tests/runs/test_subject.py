"""Subjects: what they write and what of them goes to worker processes."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tmi
from tmi.attacks.direct import Direct
from tmi.predictions.views import LOGITS, View
from tmi.runs import pipeline
from tmi.runs.adversaries import main_adversary
from tmi.runs.saved import SavedPredictions, audit_of
from tmi.system.files import content_key
from tmi.system.memory import DEFAULT_MEMORY


@pytest.fixture
def audit(tmp_path: Path) -> SavedPredictions:
    random = np.random.default_rng(0)
    np.save(tmp_path / "P.npy", random.normal(size=(6, 30, 2, 3)).astype(np.float32))
    np.save(tmp_path / "M.npy", random.random((6, 30)) < 0.5)
    np.save(tmp_path / "T.npy", random.normal(size=(30, 2, 3)).astype(np.float32))
    files = {"predictions": "P.npy", "membership": "M.npy", "target": "T.npy"}
    return audit_of({role: str(tmp_path / name) for role, name in files.items()}, {}, tmp_path / "out")


def test_all_that_a_run_writes_is_known_and_cleared(tiny: Any, tmp_path: Path) -> None:
    config = tiny(
        attack__names=["gaussian"],
        attack__views=["logits", "label"],
        attack__shadows=[3],
        variants={"deep": {"finetune": {"transfer": "full"}}},
        evaluation__resamples=100,
    )
    tmi.run_attack(config, tmp_path / "run")
    subject = pipeline.subject_of(config, tmp_path / "run")
    for each in (subject, *subject.variants):
        assert all(each.directory.is_current(path, key) for path, key in each.files().items())
    assert subject.stages() == ["membership", "pretrain", "finetune", "query", "score"]
    assert subject.variants[0].stages() == ["finetune", "query", "score"]
    (tmp_path / "run" / "mine.txt").write_text("precious")
    subject.directory.clear()
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [".lock", ".tmi-run", "mine.txt"]


def test_a_changed_attack_has_its_scores_made_anew_and_no_other(tiny: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """A run directory from when `direct` was the discriminant that it no longer is."""
    config = tiny(attack__names=["gaussian", "direct"], evaluation__resamples=100)
    monkeypatch.setattr(Direct, "version", 1)
    tmi.run_attack(config, tmp_path / "run")
    subject = pipeline.subject_of(config, tmp_path / "run")
    stored = subject.directory.scores("direct")
    # Keys of before there were versions are those of the first.
    key = content_key(subject.answers_key, "direct", "logits", None)
    subject.directory.save_array(stored, np.zeros_like(np.load(stored)), key)
    assert subject.directory.is_current(stored, subject.score_key("direct", main_adversary(config)))
    others = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*.npy") if path != stored}
    monkeypatch.undo()
    tmi.run_attack(config, tmp_path / "run")
    assert np.load(stored).any()
    assert {path: path.stat().st_mtime_ns for path in others} == others


def test_a_process_keeps_the_subject_that_it_was_sent(audit: SavedPredictions) -> None:
    audit.answers(DEFAULT_MEMORY, LOGITS)
    sent = pickle.dumps(audit)
    assert len(sent) < 10_000
    received = pickle.loads(sent)
    assert received is not audit
    assert received == audit
    seen = received.answers(DEFAULT_MEMORY, LOGITS)
    assert pickle.loads(pickle.dumps(audit)).answers(DEFAULT_MEMORY, LOGITS) is seen
    assert received.answers(DEFAULT_MEMORY, View.parse("label")) is not seen
    assert received.answers(DEFAULT_MEMORY, LOGITS, with_target=True).predictions.shape == (7, 30, 2, 3)


def test_a_changed_configuration_is_another_subject(audit: SavedPredictions) -> None:
    first = pickle.loads(pickle.dumps(audit))
    other = SavedPredictions(audit.config.model_copy(update={"seed": 9}), audit.directory)
    assert pickle.loads(pickle.dumps(other)) is not first
