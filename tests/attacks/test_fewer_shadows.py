"""The power of attacks against the number of shadow models, from one set of trained models."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from made.commands import refused, scores_of, tiny_attack, tmi
from made.results import by_others, lasting_svg, make_results, outline, page, with_adversaries
from made.simulated import ATTACKS, simulated
from tmi.attacks.registry import attack_named
from tmi.config import load_config
from tmi.errors import TmiError
from tmi.predictions.arrays import Predictions
from tmi.predictions.attack_input import AttackInput
from tmi.predictions.views import View
from tmi.report.figures.aucs import shadows_figure
from tmi.report.results import Results
from tmi.runs.adversaries import Adversary, all_adversaries, draw_shadows

# ----------------------------------------------------------------------------------------------- draws


def test_shadows_are_other_models_and_those_of_fewer_are_among_those_of_more() -> None:
    draws = [set(draw_shadows(0, 12, 5, number)) for number in range(2, 12)]
    assert [len(drawn) for drawn in draws] == list(range(2, 12))
    for fewer, more in pairwise(draws):
        assert fewer < more
    assert draws[-1] == set(range(12)) - {5}


def test_every_target_and_every_seed_has_shadows_of_its_own() -> None:
    draws = {tuple(draw_shadows(seed, 40, target, 8)) for seed in range(3) for target in range(40)}
    assert len(draws) == 120
    taken = np.bincount([model for target in range(40) for model in draw_shadows(0, 40, target, 20)], minlength=40)
    assert taken.min() > 8
    assert draw_shadows(1, 40, 7, 8) == draw_shadows(1, 40, 7, 8)


def test_restricted_answers_are_not_copied() -> None:
    arrays = list(simulated(models=8, points=12).predictions.block(slice(None)))
    answers = AttackInput(
        Predictions(arrays), np.random.default_rng(0).random((8, 12)) < 0.5, Predictions(arrays[::-1])
    )
    restricted = answers.restricted([6, 1, 3])
    assert all(a is b for a, b in zip(restricted.predictions._models, [arrays[6], arrays[1], arrays[3]], strict=True))
    np.testing.assert_array_equal(restricted.membership, answers.membership[[6, 1, 3]])
    assert restricted.pretrained is not None
    np.testing.assert_array_equal(restricted.pretrained.block(slice(None))[0], arrays[1])
    with pytest.raises(TmiError, match="hold 2 models, expected at least 3"):
        answers.restricted([0, 1])


def auc_with(name: str, shadows: int) -> float:
    answers = simulated(models=33, points=60, effect=1.5)
    scores = [
        attack_named(name).score(answers.restricted([target, *draw_shadows(0, 33, target, shadows)]), [0])[0]
        for target in range(11)
    ]
    return float(roc_auc_score(answers.membership[:11].ravel(), np.ravel(scores)))


@pytest.mark.parametrize("name", ["gaussian", "direct"])
def test_more_shadows_find_more(name: str) -> None:
    aucs = [auc_with(name, shadows) for shadows in (4, 10, 32)]
    assert aucs[0] + 0.02 < aucs[1] < aucs[2] - 0.01


@pytest.mark.parametrize("name", ATTACKS)
def test_two_shadows_are_enough_for_finite_scores(name: str) -> None:
    answers = simulated(models=8, points=30).restricted([7, *draw_shadows(0, 8, 7, 2)])
    assert np.isfinite(attack_named(name).score(answers, [0])).all()


def test_all_shadows_are_those_of_the_main_adversary() -> None:
    config = load_config("digits", {"attack.views": ["top-3", "label"], "attack.shadows": [63, 8]})
    main = Adversary(View("top", 3))
    assert all_adversaries(config) == [main, Adversary(View("label")), Adversary(View("top", 3), 8)]
    assert [adversary.folder for adversary in all_adversaries(config)] == ["top-3", "label", "top-3/shadows-8"]
    assert Adversary(shadows=8).label == "8 shadows"


# ------------------------------------------------------------------------------------------------ runs


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished tiny run of six models; tests copy it before they change it."""
    out = tmp_path_factory.mktemp("shadows") / "run"
    tiny_attack(out, "--shadows", "5,2", "--shadows", "4")
    return out


def test_every_number_has_scores_and_results_of_every_attack(finished: Path) -> None:
    results = json.loads((finished / "results.json").read_text())
    attacks = list(results["attacks"])
    assert list(results["shadows"]) == ["2", "4", "5"]
    for figures in results["shadows"].values():
        assert list(figures) == attacks
        assert set(figures["direct"]) == {"auc", "balanced_accuracy", "tpr_at_fpr"}
    # All five others are the shadows of the main table.
    assert results["shadows"]["5"]["tmi"]["auc"] == results["attacks"]["tmi"]["auc"]
    folders = ("", "shadows-2/", "shadows-4/")
    assert sorted(scores_of(finished)) == sorted(f"{folder}{name}.npy" for folder in folders for name in attacks)
    assert all((finished / name).stat().st_size > 1000 for name in ("shadows.png", "shadows.svg"))


def test_an_attack_without_shadows_does_not_depend_on_their_number(finished: Path) -> None:
    scores = scores_of(finished)
    assert scores["shadows-2/confidence.npy"] == scores["confidence.npy"]
    assert scores["shadows-2/gaussian.npy"] != scores["gaussian.npy"]


def test_the_curve_is_in_the_terminal_and_in_the_report(run: Path) -> None:
    output = tmi("report", run)
    assert "How the leak grows with the number of shadow models" in output
    assert "How the leak grows" in (run / "report.html").read_text()


def test_the_order_of_the_work_changes_no_score(finished: Path, run: Path) -> None:
    shutil.rmtree(run / "scores")
    assert "tmi report" in tmi("score", run, "--shadows", "4")
    tiny_attack(run, "--shadows", "2,4,5")
    assert scores_of(run) == scores_of(finished)


def test_numbers_are_scored_once(run: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*.npy")}
    tiny_attack(run, "--shadows", "2,4,5")
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_damaged_scores_of_a_number_are_named_and_made_anew(finished: Path, run: Path) -> None:
    path = run / "scores" / "shadows-4" / "adapted-lira.npy"
    path.write_bytes(path.read_bytes()[:50])
    assert "shadows-4/adapted-lira.npy is damaged" in refused("report", run)
    assert "scores/shadows-4/adapted-lira.npy is damaged" in tiny_attack(run, "--shadows", "2,4,5")
    assert scores_of(run) == scores_of(finished)


def test_fresh_removes_the_curve(run: Path) -> None:
    tiny_attack(run, "--fresh", "--attack", "gaussian")
    assert list(scores_of(run)) == ["gaussian.npy"]
    assert not list(run.glob("shadows.*"))


def test_views_and_shadows_together(run: Path) -> None:
    tiny_attack(run, "--view", "label,logits", "--shadows", "3", "--attack", "gaussian")
    results = json.loads((run / "results.json").read_text())
    assert (list(results["views"]), list(results["shadows"])) == (["label", "logits"], ["3"])
    assert (run / "scores" / "label" / "shadows-3" / "gaussian.npy").exists()
    assert not (run / "scores" / "shadows-3").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--shadows", "6"], "attack.shadows has 6, expected 2 to 5: one of the 6 models is the target"),
        (["--shadows", "3,1"], "attack.shadows has 1, expected 2 to 5"),
        (["--shadows", "3,3"], "3 is given twice"),
        (["--shadows", "3,x"], "'x' is no number of shadow models"),
        (["--shadows", "-3"], "'-3' is no number of shadow models"),
    ],
)
def test_bad_numbers_are_one_sentence(tmp_path: Path, arguments: list[str], sentence: str) -> None:
    assert sentence in " ".join(tiny_attack(tmp_path / "run", *arguments, code=2).split())
    assert not (tmp_path / "run").exists()


# ---------------------------------------------------------------------------------------------- report


def with_shadows(attacks: dict[str, float], numbers: tuple[int, ...] = (8, 16, 63)) -> Results:
    results = make_results(attacks)
    return results.model_copy(update={"shadows": by_others(results, [str(number) for number in numbers])})


def test_the_table_has_a_row_per_number() -> None:
    lines = with_adversaries(with_shadows({"tmi": 0.9, "gaussian": 0.5, "direct": 1.0}), 80)
    rows = [line.split() for line in lines if line.split()[:1] in (["8"], ["16"], ["63"])]
    assert [row[0] for row in rows] == ["8", "16", "63"]
    assert all(len(row) == 4 for row in rows)


@pytest.mark.parametrize("numbers", [(8, 16, 63), (8,)])
def test_the_figure_is_the_same_bytes_every_time_and_names_all(numbers: tuple[int, ...]) -> None:
    results = with_shadows({"tmi": 0.9, "_a$x$": 0.5, "direct": 1.0}, numbers)
    svg = lasting_svg(lambda: shadows_figure(results))
    for text in (*map(str, numbers), "_a$x$", "direct (direct access)", "AUC with 95% interval"):
        assert f"{text}<" in svg


def test_the_page_has_a_section_only_where_there_is_a_curve() -> None:
    html = page(with_shadows({"tmi": 0.9, "direct": 1.0}))
    outline(html)
    assert "How the leak grows with the number of shadow models" in html
    assert "How the leak grows" not in page(make_results({"tmi": 0.9}))
