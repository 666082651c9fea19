"""`tmi bench`: the NumPy versions do what the kernels do, and the command says what it measured."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from tmi import _core
from tmi.bench import reference
from tmi.bench.cases import Case, Size, attack_cases, feature_cases, made_up, metric_cases
from tmi.bench.run import Result, Spread, document, interleaved, machine, run_bench
from tmi.bench.table import bench_table
from tmi.cli import tmi as cli
from tmi.errors import TmiError
from tmi.system.progress import Silent

SMALL = ["--models", "8", "--points", "12", "--augmentations", "2", "--classes", "3", "--repeat", "2"]


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tmi.bench.run.metric_cases", lambda: metric_cases((6, 40), 30))


def cases(dtype: str = "float32", **size: int) -> list[Case]:
    answers = made_up(Size(**({"models": 20, "points": 70, "augmentations": 3} | size), dtype=dtype))
    return [
        *feature_cases(answers),
        *metric_cases((6, 40), 30),
        *attack_cases(answers, ["gaussian", "adapted-lira"], 3),
    ]


def near(kernel: object, other: object) -> None:
    for ours, theirs in zip(*([x] if isinstance(x, np.ndarray) else x for x in (kernel, other)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_numpy_does_the_same(dtype: str) -> None:
    for case in cases(dtype):
        assert case.reference is not None
        near(case.kernel(1), case.reference())


def test_numpy_does_the_same_with_few_models_and_small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Points without an IN or an OUT shadow, sides of one shadow, and blocks of one point."""
    monkeypatch.setattr(reference, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(reference, "LIRA_BLOCK_BYTES", 1000)
    for case in feature_cases(made_up(Size(models=9, points=300, augmentations=1, classes=3))):
        assert case.reference is not None
        near(case.kernel(1), case.reference())


def test_numpy_scales_ties_and_certainty() -> None:
    logits = np.array([[2, 2, 1], [0, 0, 0], [60, 0, 0], [np.inf, 1, 0]], dtype=np.float32)
    z = np.ascontiguousarray(logits[:3].T)
    reference.scale_in_place(z)
    np.testing.assert_allclose(z.T, _core.scale_logits(logits[:3]), rtol=1e-5, atol=1e-6)
    z = np.ascontiguousarray(logits.T)
    reference.scale_in_place(z)
    assert np.isfinite(z).all()


def test_scores_with_ties_are_resampled_alike() -> None:
    random = np.random.default_rng(0)
    scores, labels = random.normal(size=(5, 30)).round(1), random.random((5, 30)) < 0.5
    weights = [random.integers(0, 3, (10, size)).astype(np.uint16) for size in (5, 30)]
    rates = np.array([0.0, 0.05, 0.5])
    near(_core.roc_resample(scores, labels, *weights, rates), reference.roc_resample(scores, labels, *weights, rates))


def test_calls_take_turns() -> None:
    order: list[str] = []
    seconds = interleaved({name: lambda name=name: order.append(name) for name in "ab"}, 3)
    assert "".join(order) == "abababab", "a warm-up and three rounds"
    assert [len(each) for each in seconds.values()] == [3, 3]


def test_ratios_are_taken_round_by_round() -> None:
    result = Result(cases()[0], {"slow": [2.0, 40.0, 9.0], "fast": [1.0, 10.0, 3.0]})
    assert result.ratio("slow", "fast") == Spread(3.0, 2.0, 4.0)
    assert result.ratio("slow", "missing") is None


def test_the_command_prints_and_writes(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    result = CliRunner().invoke(cli, ["bench", *SMALL, "--attack", "gaussian", "--json", str(path)])
    assert result.exit_code == 0, result.output
    for expected in ("scale and reduce", "attack gaussian", "x NumPy", "x copy", "shortest-longest"):
        assert expected in result.output
    written = json.loads(path.read_text())
    assert written["size"] == {"models": 8, "points": 12, "augmentations": 2, "classes": 3, "dtype": "float32"}
    assert written["machine"] == machine()
    reduced = written["results"][0]
    assert reduced["items"] == 8 * 12 * 2
    assert reduced["bytes"] == 8 * 12 * 2 * 3 * 4
    assert len(reduced["seconds"]["kernel"]) == 2
    assert reduced["ratios"]["to_reference"]["low"] <= reduced["ratios"]["to_reference"]["high"]


@pytest.mark.parametrize("width", [80, 140])
def test_the_table_fits_the_terminal(width: int) -> None:
    """Nothing is cut off, and spreads are shown where there is room for them."""
    results = run_bench(Size(models=4, points=6), attacks=["gaussian"], repeat=2, progress=Silent())
    console = Console(width=width, record=True, file=StringIO())
    console.print(bench_table(results, 1, width))
    text = console.export_text()
    assert "…" not in text
    assert ("[" in text) == ("GB/s" in text) == (width == 140)


def test_the_document_names_no_person_and_no_place() -> None:
    size = Size(models=4, points=6, augmentations=1, classes=2)
    results = run_bench(size, attacks=["confidence"], repeat=1, progress=Silent())
    text = json.dumps(document(results, size, 1))
    assert str(Path.home()) not in text
    assert str(Path.cwd()) not in text


def test_an_unknown_attack_is_one_sentence() -> None:
    with pytest.raises(TmiError, match="no attack named 'gausian'"):
        run_bench(Size(models=4, points=6), attacks=["gausian"], progress=Silent())


def test_a_json_file_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TmiError, match="cannot be written"):
        CliRunner().invoke(
            cli,
            ["bench", *SMALL, "--attack", "confidence", "--json", str(tmp_path / "file" / "bench.json")],
            catch_exceptions=False,
        )


@pytest.mark.parametrize("arguments", [["--models", "2"], ["--classes", "1"], ["--dtype", "float64"]])
def test_sizes_that_make_no_sense_are_refused(arguments: list[str]) -> None:
    assert CliRunner().invoke(cli, ["bench", *arguments]).exit_code == 2
