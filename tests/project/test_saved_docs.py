"""What the documentation says about saved predictions is typed and run, on predictions made here."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import log_expit
from sklearn.ensemble import RandomForestClassifier

from made.commands import typed
from made.written import written
from tmi.predictions.formats import read_saved
from tmi.predictions.tokens import tokens_there

ROOT = Path(__file__).parents[2]


def blocks(page: str, kind: str, beginning: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.findall(rf"^```{kind}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [code for code in found if beginning in code]


def simulated() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    membership = random.random((10, 40)) < 0.5
    direction = random.normal(size=(40, 1, 4))
    logits = random.normal(size=(10, 40, 2, 4)) + membership[:, :, None, None] * direction
    return logits.astype(np.float32), membership


@pytest.mark.slow
def test_the_commands_of_the_guide(tmp_path: Path) -> None:
    """All that the guides to saved predictions and to targets say is typed, but for the configurations."""
    logits, membership = simulated()
    for name, array in {
        "predictions": logits[1:],
        "sentiment": logits[1:],
        "topics": logits[1:, :, :, :3],
        "membership": membership[1:],
        "pretraining_labels": np.arange(40) % 4,
        "P": logits[1:],
        "M": membership[1:],
        "T": logits[0],
        "L": np.arange(40) % 4,
        "N": np.arange(40) < 20,
    }.items():
        np.save(tmp_path / f"{name}.npy", array)
    answers = written(models=9, points=40)
    mine = tmp_path / "runs" / "mine"
    (mine / "predictions").mkdir(parents=True)
    np.save(mine / "membership.npy", answers.membership)
    models = answers.predictions.records(slice(None))
    for number, model in enumerate(models):
        np.save(mine / "predictions" / f"{number:03d}.npy", model)
    log_p = log_expit(models["log_odds"].astype(np.float32))
    np.save(tmp_path / "logprobs.npy", np.where(tokens_there(models), log_p, np.float32(np.nan)))
    texts = [] if answers.inputs is None else answers.inputs.tolist()
    (tmp_path / "texts.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
    code = [*blocks("docs/saved-predictions.md", "sh", "tmi"), *blocks("docs/unknown-target.md", "sh", "tmi")]
    assert len(code) == 6
    # The second audit of the same predictions would be refused where the first one lies.
    numbers = iter(range(100))
    commands = re.sub(
        r"^tmi attack", lambda _: f"tmi attack --out runs/{next(numbers)}", "\n".join(code), flags=re.MULTILINE
    )
    assert "are called members" in typed(commands, tmp_path)
    assert len(list(tmp_path.glob("runs/*/report.html"))) == next(numbers)


def test_the_python_of_the_guide(tmp_path: Path) -> None:
    logits, membership = simulated()
    for model, (answers, members) in enumerate(zip(logits, membership, strict=True)):
        folder = tmp_path / "exp" / "cifar10" / str(model)
        folder.mkdir(parents=True)
        np.save(folder / "logits.npy", answers)
        np.save(folder / "keep.npy", members)
    (code,) = blocks("docs/saved-predictions.md", "python", "check_arrays")
    assert "AUC" in typed(code + "\nprint(audit.verdict)", tmp_path, "python")


class SacroModel:
    """What SACRO-ML pickles: a classifier that tells its classes."""

    def __init__(self, forest: RandomForestClassifier) -> None:
        self.forest = forest

    def get_classes(self) -> np.ndarray:
        return self.forest.classes_

    def predict_proba(self, rows: np.ndarray) -> np.ndarray:
        return self.forest.predict_proba(rows)


def test_the_export_from_sacro_ml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    rows, labels = random.normal(size=(40, 3)), np.arange(40) % 3
    # One half has two classes alone.
    halves = [random.permutation(40)[:20] for _ in range(4)] + [np.flatnonzero(labels != 1)[:20]]
    models = [SacroModel(RandomForestClassifier(5, random_state=0).fit(rows[half], labels[half])) for half in halves]
    for number, (model, half) in enumerate(zip(models, halves, strict=True)):
        folder = tmp_path / "outputs" / "shadow_models" / str(number)
        folder.mkdir(parents=True)
        for name, value in (("model", model), ("indices_train", half)):
            (folder / f"{name}.pkl").write_bytes(pickle.dumps(value))
    (code,) = blocks("docs/saved-predictions.md", "python", "sacro")
    monkeypatch.chdir(tmp_path)
    given = {"X_train": rows[:20], "X_test": rows[20:], "y_train": labels[:20], "y_test": labels[20:]}
    exec(code, given | {"target": SimpleNamespace(model=models[0])})
    found = read_saved(tmp_path / "sacro.npz")
    expected = [np.zeros((40, 3)) for _ in models]
    for probabilities, model in zip(expected, models, strict=True):
        probabilities[:, model.get_classes()] = model.predict_proba(rows)
    np.testing.assert_allclose(np.exp(np.stack(found.models)[:, :, 0]), expected, atol=1e-6)
    np.testing.assert_array_equal(found.membership, [np.isin(np.arange(40), half) for half in halves])
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_array_equal(found.target, found.models[0])
