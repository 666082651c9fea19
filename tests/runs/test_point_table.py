"""Every point, called as its owner calls it, with all that is found about it."""

from __future__ import annotations

import builtins
import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tmi
from made.commands import refused, tiny_attack
from made.commands import tmi as command
from tmi.errors import TmiError
from tmi.metrics.roc import point_aucs
from tmi.runs.directory import RunDirectory
from tmi.runs.point_table import PointTable

MODELS, POINTS = 8, 30
IDS = [f"patient {number:02d}" for number in range(POINTS)]


@pytest.fixture(scope="module")
def arrays() -> dict[str, Any]:
    draw = np.random.default_rng(0)
    membership = draw.random((MODELS, POINTS)) < 0.5
    membership[:, 4] = True
    predictions = draw.normal(size=(MODELS, POINTS, 1, 3)) + membership[..., None, None] * [1.0, 0, 0]
    return {"predictions": predictions, "membership": membership, "target": draw.normal(size=(POINTS, 1, 3))}


@pytest.fixture(scope="module")
def audit(arrays: dict[str, Any]) -> tmi.Audit:
    return tmi.audit(**arrays, attacks=["gaussian", "confidence"], ids=IDS, resamples=100)


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "points.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_same_figures_everywhere(audit: tmi.Audit, arrays: dict[str, Any], tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    audit.save(tmp_path)
    rows, frame = rows_of(tmp_path), audit.to_frame()
    assert [row["id"] for row in rows] == IDS
    assert list(frame.columns) == list(rows[0]) == list(audit.table.columns)
    np.testing.assert_array_equal(frame["auc"], audit.points().auc)
    np.testing.assert_array_equal(frame["auc_confidence"], point_aucs(audit.scores["confidence"], arrays["membership"]))
    np.testing.assert_array_equal(frame["target_p_value"], audit.p_values)
    np.testing.assert_array_equal(frame["target_score_gaussian"], audit.target_scores["gaussian"])
    np.testing.assert_array_equal(frame["target_called"], audit.p_values <= 0.01)
    assert frame["exposed"].sum() == audit.found.points.exposed.count
    stored = parquet.read_table(tmp_path / "points.parquet").to_pandas()
    np.testing.assert_array_equal(stored["p_value"], frame["p_value"])
    for name in frame:
        np.testing.assert_array_equal(stored[name], frame[name])
    for row, q_value in zip(rows, frame["q_value"], strict=True):
        assert row["q_value"] == ("" if np.isnan(q_value) else f"{q_value:.6g}")
    # A point that all models have has no figures, and is there all the same.
    assert rows[4] | {"auc": "", "low": "", "p_value": "", "exposed": "false", "targets_in": "8"} == rows[4]


def test_columns_are_stored_as_pyarrow_would(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {
        "point": np.array([3, -1, 7, 7, 0, 2, 9, 1, 5]),
        "figure": np.array([0.1, np.nan, -np.inf, 0, 1e-300, 1, 2, 3, 4]),
        "id": np.array(["é", "", "日本", "a", "a b", '"', "x" * 40, ",", "z"]),
        "called": np.array([True, False, False, True, True, True, False, True, True]),
    }
    (tmp_path / "run").mkdir()
    directory = RunDirectory(tmp_path / "run")
    PointTable(columns).save(directory)
    stored = parquet.read_table(directory.points_parquet)
    for name, column in columns.items():
        expected = pyarrow.array(column.tolist())
        assert stored[name].type == expected.type
        np.testing.assert_array_equal(stored[name].to_pylist(), expected.to_pylist())


def test_results_name_points_as_their_owner_does(audit: tmi.Audit) -> None:
    for ranked in (audit.found.points.most_exposed, audit.found.target and audit.found.target.most_suspected):
        assert ranked
        assert all(point.id == IDS[point.point] for point in ranked)


def test_without_pyarrow_the_text_alone_is_written(
    audit: tmi.Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit.save(tmp_path)
    imported = builtins.__import__

    def missing(name: str, *arguments: Any) -> Any:
        if name.partition(".")[0] in ("pyarrow", "pandas"):
            raise ImportError(name)
        return imported(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", missing)
    audit.save(tmp_path)
    assert len(rows_of(tmp_path)) == POINTS
    assert not (tmp_path / "points.parquet").exists()
    with pytest.raises(TmiError, match="a data frame needs pandas: pip install pandas"):
        audit.to_frame()


@pytest.mark.parametrize(
    ("ids", "sentence"),
    [
        (IDS[:-1], r"ids: has shape \(29,\), expected \(30,\), an id per point"),
        (np.zeros(POINTS), "ids: has type float64, expected integers or strings"),
        ([*IDS[:-1], " "], "ids: the id of point 29 is empty"),
        ([*IDS[:-1], None], "ids: has type object, expected integers or strings"),
    ],
)
def test_ids_that_are_none(arrays: dict[str, Any], ids: Any, sentence: str) -> None:
    with pytest.raises(TmiError, match=sentence):
        tmi.audit(**arrays, attacks=["confidence"], ids=ids)


def test_ids_of_saved_predictions(arrays: dict[str, Any], tmp_path: Path) -> None:
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    (tmp_path / "ids.txt").write_text("\n".join(IDS) + "\n")
    np.savez(tmp_path / "ids.npz", ids=np.arange(POINTS) + 1000)
    files = ["--predictions", tmp_path / "predictions.npy", "--membership", tmp_path / "membership.npy"]
    ask = ["attack", *files, "--attack", "confidence", "--workers", "1", "--out", tmp_path / "audit"]
    command(*ask, "--ids", tmp_path / "ids.txt", "--name", "The clinic's model")
    assert [row["id"] for row in rows_of(tmp_path / "audit")] == IDS
    assert json.loads((tmp_path / "audit" / "results.json").read_text())["name"] == "The clinic's model"
    assert "patient 07" in (tmp_path / "audit" / "report.html").read_text()
    # Other names are no other audit.
    command(*ask, "--ids", tmp_path / "ids.npz")
    assert [row["id"] for row in rows_of(tmp_path / "audit")] == [str(1000 + point) for point in range(POINTS)]
    command("report", tmp_path / "audit")
    assert "1007" in {row["id"] for row in rows_of(tmp_path / "audit")}
    assert "expected (30,), an id per point" in refused(*ask, "--ids", tmp_path / "membership.npy")
    assert "there is no such file" in refused(*ask, "--ids", tmp_path / "nowhere.txt")
    os.mkfifo(tmp_path / "pipe.txt")
    assert "pipe.txt: is a pipe or device" in " ".join(refused(*ask, "--ids", tmp_path / "pipe.txt").split())


def test_a_run_names_points_by_the_array_that_the_pool_names(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    names = np.array([f"scan-{number:03d}" for number in range(120)])
    inputs = draw.random((120, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "data.npz", inputs=inputs, labels=np.arange(120) % 8, ids=np.arange(120), names=names)
    source = f"npz:{tmp_path / 'data.npz'}"
    changes = ["--set", f"pool.source={source}", "--set", f"downstream.source={source}", "--set", "pool.classes=4"]
    small = ["--set", "downstream.size=40", "--set", "pool.size=30", "--set", "downstream.relabel=[0,1,0,1,0,1,0,1]"]
    quick = [*changes, *small, "--models", "4", "--set", 'attack.names=["confidence"]']
    tiny_attack(tmp_path / "run", *quick)
    rows = rows_of(tmp_path / "run")
    pool_points = np.load(tmp_path / "run" / "challenge_points.npy")
    assert [int(row["point"]) for row in rows] == pool_points.tolist()
    by_array = [int(row["id"]) for row in rows]
    # Other names change nothing that is computed.
    before = (tmp_path / "run" / "predictions" / "000.npy").stat().st_mtime_ns
    tiny_attack(tmp_path / "run", *quick, "--set", "pool.id=names")
    assert [row["id"] for row in rows_of(tmp_path / "run")] == [f"scan-{number:03d}" for number in by_array]
    assert (tmp_path / "run" / "predictions" / "000.npy").stat().st_mtime_ns == before
    # Each is the point that it is said to be: the same class.
    assert [int(row["label"]) for row in rows] == [number % 8 for number in by_array]


def test_one_target_has_scores_instead_of_aucs(arrays: dict[str, Any], tiny: Callable[..., Any]) -> None:
    alone = {"predictions": arrays["predictions"], "membership": arrays["membership"]}
    columns = tmi.audit(**alone, attacks=["gaussian", "confidence"], targets=1, resamples=100).table.columns
    np.testing.assert_array_equal(columns["member"], arrays["membership"][0])
    assert {"score_gaussian", "score_confidence"} <= set(columns)
    assert np.isnan(columns["auc"]).all()
    assert columns["id"].tolist() == [str(number) for number in range(POINTS)]


def test_candidates_without_shadow_models_are_named(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    target, labels, known = draw.normal(size=(120, 6)), np.arange(120) % 4, np.arange(120) % 3 == 0
    names = [f"record {number}" for number in range(120)]
    audit = tmi.audit_without_shadows(target, labels, known, ids=names)
    assert audit.to_frame()["id"].tolist() == [names[point] for point in audit.candidates]
    assert audit.found.without_shadows is not None
    assert all(point.id == names[point.point] for point in audit.found.without_shadows.most_suspected)
    assert repr(audit) == "<AuditWithoutShadows 'audit': 80 candidates, 40 known non-members>"
    for name, array in {"t": target, "l": labels, "n": known, "i": np.array(names)}.items():
        np.save(tmp_path / f"{name}.npy", array)
    asked = ["--target", tmp_path / "t.npy", "--pretraining-labels", tmp_path / "l.npy"]
    asked += ["--non-members", tmp_path / "n.npy", "--ids", tmp_path / "i.npy", "--out", tmp_path / "alone"]
    command("attack", *asked)
    assert [row["id"] for row in rows_of(tmp_path / "alone")] == audit.table.columns["id"].tolist()


def test_an_audit_says_in_one_line_what_it_found(audit: tmi.Audit) -> None:
    assert repr(audit).startswith("<Audit 'audit': gaussian has AUC 0.")
    assert repr(audit).endswith("]; 2 attacks, 8 targets, 30 points>")


def test_progress_is_shown_where_it_is_asked_for(
    arrays: dict[str, Any], tiny: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tmi.audit(**arrays, attacks=["gaussian", "confidence"], resamples=100, threads=0)
    assert capsys.readouterr() == ("", "")
    tmi.audit(**arrays, attacks=["gaussian", "confidence"], resamples=100, progress=True)
    assert [line.split("  ")[0] for line in capsys.readouterr().err.splitlines()] == [
        "attack gaussian",
        "attack confidence",
        "evaluate",
    ]
    config = tiny(attack__names=["confidence"], compute__workers=2)
    tmi.run_attack(config, tmp_path / "run", workers=1, progress=True)
    assert "pretrain" in capsys.readouterr().err
    assert "workers = 1" in (tmp_path / "run" / "config.toml").read_text()
