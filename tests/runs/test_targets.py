"""A run whose configuration names a target of unknown membership: queried, scored, reported, and gone on with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import tmi
from tmi.cli import tmi as cli
from tmi.config import Config, load_config
from tmi.errors import TmiError

# A target that answers from what it is asked: a linear function of the pixels, and a count of its calls. It has nothing
# in common with the models of a run.
FUNCTION = """
from pathlib import Path
import numpy as np

def answer(inputs):
    with Path("calls.txt").open("a") as file:
        file.write("x" * len(inputs))
    inputs = np.asarray(inputs, dtype=np.float64).reshape(len(inputs), -1)
    return inputs @ np.random.default_rng(0).normal(size=(inputs.shape[1], 5)) / 8
"""


@pytest.fixture
def with_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "victim.py").write_text(FUNCTION)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def configured(tiny: Any, **changes: Any) -> Config:
    target = {"kind": "python", "function": "victim.answer", "meaning": "logits", "name": "the <b>victim</b>"}
    return tiny(target=target, attack__names=["gaussian", "confidence", "direct"], **changes)


def test_a_run_attacks_its_target(with_target: Path, tiny: Any) -> None:
    results = tmi.run_attack(configured(tiny), with_target / "run", force=True)
    found = results["target"]
    assert found["name"] == "the <b>victim</b>"
    assert set(found["attacks"]) == {"gaussian", "confidence"}
    assert found["points"] == 40
    predictions = np.load(with_target / "run" / "target" / "predictions.npy")
    assert predictions.shape == (40, 3, 5)
    assert len(Path("calls.txt").read_text()) == 120
    page = (with_target / "run" / "report.html").read_text()
    assert "the &lt;b&gt;victim&lt;/b&gt;" in page
    assert "<b>victim" not in page
    assert json.loads((with_target / "run" / "results.json").read_text())["target"] == json.loads(json.dumps(found))


def test_nothing_is_asked_twice(with_target: Path, tiny: Any) -> None:
    first = tmi.run_attack(configured(tiny), with_target / "run", force=True)
    (with_target / "run" / "target" / "predictions.npy").unlink()
    again = tmi.run_attack(configured(tiny), with_target / "run", force=True)
    assert again["target"] == first["target"]
    assert len(Path("calls.txt").read_text()) == 120


def test_a_target_unlike_the_models_is_refused_before_it_is_attacked(with_target: Path, tiny: Any) -> None:
    with pytest.raises(TmiError, match=r"target: its .*force=True"):
        tmi.run_attack(configured(tiny), with_target / "run")
    assert (with_target / "run" / "target" / "predictions.npy").exists()
    assert not (with_target / "run" / "scores").exists()
    refusal = CliRunner().invoke(cli, ["score", str(with_target / "run")])
    assert isinstance(refusal.exception, TmiError)
    assert CliRunner().invoke(cli, ["score", str(with_target / "run"), "--force"]).exit_code == 0
    assert CliRunner().invoke(cli, ["report", str(with_target / "run")]).exit_code == 0
    (note,) = json.loads((with_target / "run" / "results.json").read_text())["notes"]
    assert note["level"] == "refused"
    assert note["text"] in (with_target / "run" / "report.md").read_text()
    assert len(Path("calls.txt").read_text()) == 120


def test_reference_points_are_asked_about_as_well(with_target: Path, tiny: Any) -> None:
    config = configured(tiny, query__reference_points=10, pool__challenge_points=20)
    results = tmi.run_attack(config, with_target / "run", force=True)
    assert np.load(with_target / "run" / "target" / "reference_predictions.npy").shape == (10, 3, 5)
    assert results["target"]["points"] == 20


def test_the_target_is_not_among_its_shadows(with_target: Path, tiny: Any) -> None:
    without = tiny(attack__names=["gaussian", "confidence", "direct"])
    plain = tmi.run_attack(without, with_target / "plain")
    results = tmi.run_attack(configured(tiny), with_target / "run", force=True)
    assert results["attacks"]["gaussian"]["auc"] == plain["attacks"]["gaussian"]["auc"]
    assert "target" not in plain


def test_a_target_can_be_added_to_a_finished_run(with_target: Path, tiny: Any) -> None:
    without = tiny(attack__names=["gaussian", "confidence", "direct"])
    tmi.run_attack(without, with_target / "run")
    weights = with_target / "run" / "finetuned" / "000.safetensors"
    written = weights.stat().st_mtime_ns
    assert "target" in tmi.run_attack(configured(tiny), with_target / "run", force=True)
    assert weights.stat().st_mtime_ns == written


def test_a_target_that_fails_loses_nothing(with_target: Path, tiny: Any) -> None:
    # It is asked about one point before anything is trained.
    (with_target / "closed.py").write_text(
        "asked = []\n"
        "def answer(inputs):\n"
        "    asked.extend(inputs)\n"
        "    if len(asked) > 1:\n"
        "        raise ValueError('closed on Mondays')\n"
        "    return [[0.0, 1.0, 2.0, 3.0, 4.0]]\n"
    )
    target = {"kind": "python", "function": "closed.answer", "meaning": "logits"}
    with pytest.raises(TmiError, match="closed on Mondays"):
        tmi.run_attack(tiny(target=target, attack__names=["gaussian"]), with_target / "run")
    assert (with_target / "run" / "predictions" / "005.npy").exists()


def test_a_target_with_a_given_model_is_refused(with_target: Path) -> None:
    given = {"pool.non_members": "npz:x.npz", "model.checkpoint": "x", "model.kind": "transformers"}
    target = {"kind": "predictions", "path": "t.npy", "meaning": "logits"}
    path = with_target / "given.toml"
    path.write_text(CliRunner().invoke(cli, ["presets", "show", "digits"]).output)
    with pytest.raises(TmiError, match="target needs shadow models"):
        load_config(str(path), given | {"target": target})
