"""`--fail-if`: exit code 3, and nothing judged that was not measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from made.commands import tmi
from tmi.cli.gate import Gate, condition_of
from tmi.metrics.estimate import Estimate


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Predictions of twelve models that know their members well."""
    folder, draw = tmp_path_factory.mktemp("saved"), np.random.default_rng(0)
    membership = draw.random((12, 60)) < 0.5
    np.save(
        folder / "predictions.npy", draw.normal(size=(12, 60, 1, 3)) + 1.5 * membership[..., None, None] * [1, 0, 0]
    )
    np.save(folder / "membership.npy", membership)
    return folder


@pytest.fixture(scope="module")
def audit(files: Path) -> Path:
    """An audit of them."""
    tmi(*ask(files, "audit"))
    return files / "audit"


def ask(files: Path, out: str, *more: str) -> list[str | Path]:
    named = ["--predictions", files / "predictions.npy", "--membership", files / "membership.npy"]
    quick = ["--attack", "gaussian", "--workers", "1", "--set", "evaluation.resamples=100"]
    return ["attack", *named, *quick, "--out", files / out, *more]


def test_an_open_and_a_closed_gate(files: Path, audit: Path) -> None:
    passed = tmi(*ask(files, "audit", "--fail-if", "auc > 0.99", "--fail-if", "epsilon >= 50"))
    assert "Gate: passed: auc > 0.99: it is 0." in passed
    failed = tmi(*ask(files, "audit", "--fail-if", "auc > 99%", "--fail-if", "tpr@10% > 5%"), code=3)
    assert "Gate: passed: auc > 99%" in failed
    assert "Gate: FAILED: tpr@10% > 5%: it is" in failed
    assert "by the upper end" in failed
    # The report is there whatever the gate says.
    assert f"Report: {audit / 'report.html'}" in failed
    assert "Gate: FAILED" in tmi("report", audit, "--fail-if", "auc > .5", "--fail-end", "lower", code=3)


def test_one_line_of_json(audit: Path) -> None:
    output = tmi("report", audit, "--json", "--fail-if", "auc > 0.5", code=3)
    (line,) = [line for line in output.splitlines() if line.startswith("{")]
    document = json.loads(line)
    results = json.loads((audit / "results.json").read_text())
    assert document["passed"] is False
    assert document["auc"] == results["attacks"]["gaussian"]["auc"]
    assert document["headline"] == "gaussian"
    assert document["verdict"]
    (condition,) = document["gate"]
    assert condition["condition"] == "auc > 0.5"
    assert condition["end"] == "upper"
    assert condition["failed"]
    assert json.loads(tmi("report", audit, "--json").splitlines()[-1])["passed"]


def test_the_gate_of_a_comparison_is_about_the_difference(files: Path, audit: Path) -> None:
    assert "Gate: passed: auc > 0.01" in tmi("compare", audit, audit, "--fail-if", "auc > 0.01")
    output = tmi("compare", audit, audit, "--fail-if", "auc >= 0", "--json", "-", code=3)
    document = json.loads(next(line for line in output.splitlines() if line.startswith("{")))
    assert document["passed"] is False
    assert document["attacks"]["gaussian"]["difference"]["auc"]["estimate"] == 0
    assert "no bound on epsilon" in tmi("compare", audit, audit, "--fail-if", "epsilon > 1", code=2)


@pytest.mark.parametrize(
    ("condition", "sentence"),
    [
        ("auc", "'auc' is no condition on a figure; expected for instance 'tpr@1% > 5%'"),
        ("acc > 0.6", "'acc > 0.6' is no condition"),
        ("auc < 0.6", "'auc < 0.6' is no condition"),
        ("auc > 0,6", "'auc > 0,6' is no condition"),
        ("tpr > 5%", "'tpr > 5%' is no condition"),
        ("tpr@1% > 5", "5 is no share between 0 and 1; is 5% meant?"),
        ("tpr@1 > 5%", "1 is no false positive rate between 0 and 1"),
        ("epsilon > 2%", "epsilon is no share"),
        ("tpr@2% > 5%", "true positive rates are measured at 0.1%, 1%, 5%, 10%; --set evaluation.false_positive_rates"),
    ],
)
def test_what_cannot_be_judged_is_said_before_any_work(files: Path, condition: str, sentence: str) -> None:
    assert sentence in " ".join(tmi(*ask(files, "never", "--fail-if", condition), code=2).split())
    assert not (files / "never").exists()


def test_a_rate_that_was_added_can_be_judged(files: Path) -> None:
    rates = ("--set", "evaluation.false_positive_rates=[0.2]", "--fail-if", "tpr@20% > 99%")
    assert "Gate: passed: tpr@20% > 99%" in tmi(*ask(files, "further", *rates))


@pytest.mark.parametrize(
    ("end", "high", "failed"), [("upper", 0.6, True), ("upper", 0.55, False), ("lower", 0.6, False)]
)
def test_which_end_is_compared(end: str, high: float, failed: bool) -> None:
    gate = Gate((condition_of("auc > 0.55"),), end)  # type: ignore[arg-type]
    (judged,) = gate.judged(Estimate(0.52, 0.5, high), {})
    assert judged.failed is failed


@pytest.mark.parametrize(("end", "failed"), [("upper", True), ("lower", False)])
def test_a_rate_that_the_sample_cannot_resolve_passes_no_gate_of_upper_ends(end: str, failed: bool) -> None:
    gate = Gate((condition_of("TPR@0.1% > 5%"),), end)  # type: ignore[arg-type]
    (judged,) = gate.judged(Estimate(0.5, 0.4, 0.6), {"0.001": Estimate(0, 0, 0, resolvable=False)})
    assert judged.failed is failed
    assert "too few non-members" in judged.because


def test_audits_without_shadow_models_have_no_gate(files: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "target.npy", np.zeros((9, 3)))
    np.save(tmp_path / "labels.npy", np.arange(9))
    asked = ("--target", tmp_path / "target.npy", "--pretraining-labels", tmp_path / "labels.npy")
    assert "leave it out" in tmi("attack", *asked, "--fail-if", "auc > .6", "--out", tmp_path / "x", code=2)
