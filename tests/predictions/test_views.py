"""What the adversary sees: the kernel against NumPy, views of predictions, and runs with several of them."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from made.commands import refused, scores_of, tiny_attack, tmi
from made.results import by_others, lasting_svg, make_results, outline, page, with_adversaries
from made.simulated import ATTACKS, EXPENSIVE, simulated, with_membership
from tmi import _core
from tmi.attacks.registry import attack_named
from tmi.config import load_config
from tmi.errors import TmiError
from tmi.metrics.bootstrap import Bootstrap
from tmi.metrics.roc import judge
from tmi.predictions.arrays import Predictions
from tmi.predictions.views import LOGITS, View
from tmi.report.figures.aucs import views_figure
from tmi.report.results import Results

VIEWS = ["logits", "probabilities", "top-3", "top-1", "top-2-unnamed", "label", "rounded-2"]

# ---------------------------------------------------------------------------------------------- kernel

logits_of_rows = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 40), st.integers(2, 12)),
    elements=st.floats(-200, 200, width=32) | st.sampled_from([0.0, 1.0, 5.0, np.inf, -np.inf, 3e38]),
)


def softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """In float64, with the kernel's limits of logits and probabilities."""
    z = np.clip(logits.astype(np.float64), -1e4, 1e4)
    p = np.exp(z - z.max(axis=1, keepdims=True))
    result: NDArray[np.float64] = np.maximum(p / p.sum(axis=1, keepdims=True), np.exp(-87))
    return result


def descending(logits: NDArray[Any]) -> NDArray[np.int64]:
    """Classes by falling logit; of equal ones the lower class first."""
    return np.argsort(-np.clip(logits, -1e4, 1e4), axis=1, kind="stable")


def assert_close(found: NDArray[Any], probabilities: NDArray[Any]) -> None:
    np.testing.assert_allclose(found, np.log(probabilities), rtol=5e-7, atol=2e-6)


@given(logits_of_rows)
def test_probabilities_are_the_softmax(logits: NDArray[np.float32]) -> None:
    seen = _core.apply_view(logits, "probabilities")
    assert seen.dtype == np.float32
    assert_close(seen, softmax(logits))


@given(logits_of_rows, st.data())
def test_top_classes_are_seen_and_the_others_share_the_rest(logits: NDArray[np.float32], data: st.DataObject) -> None:
    classes = logits.shape[1]
    k = data.draw(st.integers(1, classes))
    p, order = softmax(logits), descending(logits)
    top = np.take_along_axis(p, order[:, :k], axis=1)
    named, unnamed = (_core.apply_view(logits, kind, k) for kind in ("top", "top-unnamed"))
    assert_close(np.take_along_axis(named, order[:, :k], axis=1), top)
    assert_close(unnamed[:, :k], top)
    rest = np.take_along_axis(named, order[:, k:], axis=1)
    np.testing.assert_array_equal(rest, unnamed[:, k:])
    if k < classes:
        share = np.maximum(1 - top.sum(axis=1, keepdims=True), 2.0**-25) / (classes - k)
        expected = np.minimum(share, top[:, -1:])
        # What is left of 1 has the absolute error of the probabilities seen.
        np.testing.assert_allclose(np.exp(rest), np.broadcast_to(expected, rest.shape), rtol=1e-5, atol=1e-6)


@given(logits_of_rows)
def test_all_top_classes_are_all_probabilities(logits: NDArray[np.float32]) -> None:
    np.testing.assert_array_equal(
        _core.apply_view(logits, "top", logits.shape[1]), _core.apply_view(logits, "probabilities")
    )


@given(logits_of_rows)
def test_the_label_is_one_hot(logits: NDArray[np.float32]) -> None:
    expected = np.full(logits.shape, 1e-3)
    np.put_along_axis(expected, descending(logits)[:, :1], 1, axis=1)
    assert_close(_core.apply_view(logits, "label"), expected)


@given(logits_of_rows, st.integers(1, 7))
def test_rounded_probabilities_have_so_many_decimals(logits: NDArray[np.float32], decimals: int) -> None:
    unit = 10.0**-decimals
    seen = np.exp(_core.apply_view(logits, "rounded", decimals).astype(np.float64))
    zero = np.isclose(seen, unit / 2, rtol=1e-4)
    rounded = np.where(zero, 0, seen)
    assert (np.abs(rounded / unit - np.rint(rounded / unit)) <= 1e-6 * rounded / unit + 1e-9).all()
    p = softmax(logits)
    assert (np.abs(rounded - p) <= unit / 2 + 1e-6).all()
    certain = np.abs(p / unit % 1 - 0.5) > 2e-6 / unit
    np.testing.assert_allclose(rounded[certain], np.round(p, decimals)[certain], atol=1e-6)


@given(logits_of_rows, st.sampled_from([("probabilities", 0), ("top", 2), ("label", 0), ("rounded", 3)]))
def test_views_read_any_layout_and_float16_and_do_not_depend_on_threads(
    logits: NDArray[np.float32], view: tuple[Any, int]
) -> None:
    half = np.clip(logits, -6e4, 6e4).astype(np.float16)
    expected = _core.apply_view(half.astype(np.float32), *view)
    np.testing.assert_array_equal(_core.apply_view(np.asfortranarray(half)[::-1], *view), expected[::-1])
    many = np.tile(half, (40, 1))
    np.testing.assert_array_equal(_core.apply_view(many, *view), _core.apply_view(many, *view, threads=3))


@pytest.mark.parametrize(
    ("kind", "parameter", "sentence"),
    [
        ("top", 5, "^parameter is 5; expected at most 4, the number of classes$"),
        ("top-unnamed", 0, "^parameter is 0; expected at least 1 class"),
        ("rounded", 0, "^parameter is 0; expected 1 to 7 decimals"),
        ("rounded", 8, "^parameter is 8; expected 1 to 7 decimals"),
        ("label", 1, "^parameter is 1; expected 0"),
        ("logits", 0, '^kind is "logits"; expected "probabilities", "top"'),
    ],
)
def test_the_kernel_refuses_other_parameters(kind: Any, parameter: int, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        _core.apply_view(np.zeros((3, 4), np.float32), kind, parameter)


def test_the_kernel_locates_nan() -> None:
    logits = np.zeros((40, 3), np.float32)
    logits[37, 1] = np.nan
    with pytest.raises(ValueError, match=r"^logits contains NaN at row 37;"):
        _core.apply_view(logits, "label")


# ----------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize("name", VIEWS)
def test_names_are_read_and_written(name: str) -> None:
    view = View.parse(name)
    assert view.name == name
    assert view.description


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("top3", "no view named 'top3' \\(did you mean 'top-K'\\? known: logits, probabilities, top-K"),
        ("logit", "no view named 'logit' \\(did you mean 'logits'"),
        ("top", "no view named 'top'"),
        ("label-2", "no view named 'label-2'"),
        ("", "no view named ''"),
        ("top-0", "the view 'top-0' has the number 0, expected at least 1"),
        ("rounded-8", "the view 'rounded-8' has 8 decimals, expected 1 to 7"),
    ],
)
def test_other_names_are_refused(name: str, sentence: str) -> None:
    with pytest.raises(TmiError, match=sentence):
        View.parse(name)


def test_a_name_has_one_spelling() -> None:
    with pytest.raises(TmiError, match="there is no view named 'top-03'"):
        View.parse("top-03")
    with pytest.raises(TmiError, match=r"'attack.views' is .*: 'top-3' is given twice"):
        load_config("digits", {"attack.views": ["top-3", "top-3"]})


# ----------------------------------------------------------------------------------------- predictions


def arrays_of(models: int = 4, points: int = 9, classes: int = 5, dtype: Any = np.float32) -> list[NDArray[Any]]:
    random = np.random.default_rng(0)
    return [(3 * random.normal(size=(points, 2, classes))).astype(dtype) for _ in range(models)]


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_blocks_are_seen_through_the_view(name: str, dtype: Any) -> None:
    arrays, view = arrays_of(dtype=dtype), View.parse(name)
    seen = Predictions(arrays, view=view).block(slice(2, 5))
    expected = view.apply(np.stack(arrays))[:, 2:5]
    np.testing.assert_array_equal(seen, expected)
    assert seen.dtype == (dtype if view == LOGITS else np.float32)


def test_the_view_stays_with_parts_of_the_predictions() -> None:
    predictions = Predictions(arrays_of()).seen_through(View("label"))
    whole = predictions.block(slice(None))
    np.testing.assert_array_equal(predictions.at(slice(3, 6)).block(slice(None)), whole[:, 3:6])
    np.testing.assert_array_equal(predictions.restricted([2, 0]).block(slice(None)), whole[[2, 0]])


def test_a_view_of_more_classes_than_there_are_is_refused() -> None:
    sentence = "the view 'top-6' shows 6 classes, expected at most 5"
    with pytest.raises(TmiError, match=sentence):
        Predictions(arrays_of(), view=View("top", 6))
    with pytest.raises(TmiError, match=sentence):
        View("top", 6).apply(arrays_of()[0])


def test_pretrained_models_of_fewer_classes_show_all_they_have() -> None:
    answers = dataclasses.replace(
        simulated(models=4, points=9, classes=5), pretrained=Predictions(arrays_of(classes=3))
    )
    seen = answers.seen_through(View.parse("top-4"))
    assert seen.predictions.view == View("top", 4)
    assert seen.pretrained is not None
    assert seen.pretrained.view == View("top", 3)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_works_on_every_view(name: str, view: str) -> None:
    answers = simulated(models=6, points=12).seen_through(View.parse(view))
    scores = attack_named(name).score(answers, range(2))
    assert scores.shape == (2, 12)
    assert np.isfinite(scores).all()


def coin_flip_intervals(name: str, view: str, draws: Sequence[int]) -> list[bool]:
    """Whether the interval of the AUC covers 0.5 when the membership has nothing to do with the answers."""
    covered = []
    targets = range(4) if name in EXPENSIVE else range(16)
    for draw in draws:
        answers = simulated(models=16, points=50, effect=0.0, seed=draw)
        membership = np.random.default_rng(draw + 1000).permuted(answers.membership, axis=1)
        answers = with_membership(answers, membership).seen_through(View.parse(view))
        scores = attack_named(name).score(answers, targets)
        auc = judge(scores, membership[: len(targets)], [0.1], Bootstrap(300, seed=draw)).auc
        covered.append(auc.low <= 0.5 <= auc.high)
    return covered


@pytest.mark.parametrize("view", ["probabilities", "top-1", "label"])
@pytest.mark.parametrize("name", ["gaussian", "adapted-lira", "tmi"])
def test_coin_flip_membership_shows_no_leak_in_any_view(name: str, view: str) -> None:
    assert sum(coin_flip_intervals(name, view, range(4))) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("name", ATTACKS)
def test_intervals_of_a_coin_flip_cover_one_half_in_every_view(name: str, view: str) -> None:
    assert sum(coin_flip_intervals(name, view, range(100, 130))) >= 26


# ------------------------------------------------------------------------------------------------ runs


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished tiny run with three views; tests copy it before they change it."""
    out = tmp_path_factory.mktemp("views") / "run"
    tiny_attack(out, "--view", "logits,top-3", "--view", "label")
    return out


def test_every_view_has_scores_and_results_of_every_attack(finished: Path) -> None:
    results = json.loads((finished / "results.json").read_text())
    attacks = list(results["attacks"])
    assert results["view"] == "logits"
    assert list(results["views"]) == ["logits", "top-3", "label"]
    for figures in results["views"].values():
        assert list(figures) == attacks
        assert set(figures["gaussian"]) == {"auc", "balanced_accuracy", "tpr_at_fpr"}
        assert set(figures["tmi"]["auc"]) == {"estimate", "low", "high", "resolvable", "p_value"}
        assert set(figures["tmi"]["tpr_at_fpr"]) == {"0.001", "0.01", "0.05", "0.1"}
    assert results["views"]["logits"]["gaussian"]["auc"] == results["attacks"]["gaussian"]["auc"]
    seen, label = (results["views"][view]["tmi"] for view in ("logits", "label"))
    difference = label["auc"]["estimate"] - seen["auc"]["estimate"]
    assert label["difference"]["auc"]["estimate"] == pytest.approx(difference)
    assert "difference" not in seen
    folders = ("", "top-3/", "label/")
    assert sorted(scores_of(finished)) == sorted(f"{folder}{name}.npy" for folder in folders for name in attacks)
    assert len(set(scores_of(finished).values())) > 2 * len(attacks)
    assert all((finished / name).stat().st_size > 1000 for name in ("views.png", "views.svg"))


def test_views_are_in_the_terminal_and_in_the_report(run: Path) -> None:
    output = tmi("report", run)
    assert "How the leak falls with what is seen" in output
    assert "already done" not in output
    assert "How the leak falls with what is seen" in (run / "report.html").read_text()


def test_one_view_is_no_comparison_and_old_figures_go(run: Path) -> None:
    output = tiny_attack(run, "--view", "top-3")
    assert "top-3: all attacks see the 3 largest probabilities" in output
    results = json.loads((run / "results.json").read_text())
    assert results["view"] == "top-3"
    assert "views" not in results
    assert not list(run.glob("views.*"))
    assert "How the leak falls" not in (run / "report.html").read_text()
    earlier = json.loads((run / "results.json").read_text())["attacks"]["gaussian"]["auc"]
    tiny_attack(run, "--view", "logits,top-3")
    assert json.loads((run / "results.json").read_text())["views"]["top-3"]["gaussian"]["auc"] == earlier


def test_views_are_scored_once(run: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*.npy")}
    tiny_attack(run, "--view", "logits,top-3,label")
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_view_added_later_gives_the_same_scores(finished: Path, run: Path) -> None:
    shutil.rmtree(run / "scores" / "label")
    assert "label/tmi.npy is missing" in refused("report", run)
    tiny_attack(run, "--view", "logits,label,top-3")
    assert scores_of(run) == scores_of(finished)


def test_damaged_scores_of_a_view_are_named_and_made_anew(finished: Path, run: Path) -> None:
    path = run / "scores" / "top-3" / "gaussian.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\x55")
    assert "top-3/gaussian.npy is damaged" in refused("report", run)
    assert "scores/top-3/gaussian.npy is damaged" in tiny_attack(run, "--view", "logits,top-3,label")
    assert scores_of(run) == scores_of(finished)


def test_fresh_removes_views(run: Path) -> None:
    tiny_attack(run, "--fresh", "--attack", "gaussian")
    assert list(scores_of(run)) == ["gaussian.npy"]
    assert not list(run.glob("views.*"))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--view", "top3"], "there is no view named 'top3' (did you mean 'top-K'?"),
        (["--view", "top-6"], "the view 'top-6' shows 6 classes, expected at most 5"),
        (["--view", "rounded-9"], "the view 'rounded-9' has 9 decimals, expected 1 to 7"),
        (["--view", "label,label"], "'label' is given twice"),
        (["--view", ""], "there is no view named ''"),
        (["--set", "attack.views=[]"], "attack.views"),
    ],
)
def test_bad_views_are_one_sentence(tmp_path: Path, arguments: list[str], sentence: str) -> None:
    assert sentence in tiny_attack(tmp_path / "run", *arguments, code=2)
    assert not (tmp_path / "run").exists()


# ---------------------------------------------------------------------------------------------- report


def with_views(attacks: dict[str, float], views: Sequence[str] = ("logits", "top-3", "label")) -> Results:
    results = make_results(attacks)
    return results.model_copy(update={"view": views[0], "views": by_others(results, views)})


def test_the_table_leaves_out_attacks_that_do_not_fit() -> None:
    results = with_views({"tmi": 0.9, "[b]x[/b]": 0.8} | {f"attack-{i}": 0.05 * i for i in range(12)} | {"direct": 1.0})
    lines = with_adversaries(results, 80)
    assert max(map(len, lines)) <= 80
    header = next(line for line in lines if line.startswith("view ")).split()
    assert header[:3] == ["view", "tmi", "[b]x[/b]"]
    assert header[-1] == "direct"
    assert lines[-1] == f"{14 - (len(header) - 2)} more columns in the report"
    assert max(map(len, with_adversaries(with_views({"tmi": 0.9, "gaussian": 0.5, "direct": 1.0}), 30))) <= 30


def test_the_figure_is_the_same_bytes_every_time_and_names_all() -> None:
    results = with_views({"tmi": 0.9, "_a$x$": 0.5, "direct": 1.0})
    svg = lasting_svg(lambda: views_figure(results))
    for text in ("top-3", "label", "_a$x$", "direct (direct access)", "AUC with 95% interval"):
        assert f"{text}<" in svg


def test_the_page_has_a_section_only_where_there_are_views() -> None:
    results = with_views({"tmi": 0.9, "direct": 1.0})
    html = page(results)
    outline(html)
    assert "How the leak falls with what is seen" in html
    assert "the 3 largest probabilities, with the class names" in html
    assert "How the leak falls" not in page(make_results({"tmi": 0.9}))
    assert "the raw logits of all classes" in page(make_results({"tmi": 0.9}))
