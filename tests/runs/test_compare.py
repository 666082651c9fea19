"""Two runs next to one another: paired where they share targets and points, unpaired where they do not."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from made.commands import leave_undrawn
from made.configs import TINY, fitting
from made.results import changed, make_results
from tmi.cli.compare import compare as command
from tmi.config import load_config
from tmi.errors import TmiError
from tmi.metrics.bootstrap import Bootstrap
from tmi.metrics.differences import compare
from tmi.metrics.estimate import Estimate, detectable
from tmi.metrics.one_target import auc_interval
from tmi.report.blocks import Paragraph
from tmi.report.compared import Compared, compared_blocks, runs_verdict
from tmi.report.terminal import show_blocks
from tmi.runs.compare import compare_runs, compare_unpaired, compared_runs
from tmi.runs.directory import RunDirectory
from tmi.runs.finished import read_run
from tmi.runs.pipeline import run_attack
from tmi.system.files import content_key, write_json

FAST = {"attack.names": ["gaussian", "adapted-lira", "direct"], "model.hidden": [12]}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run; one that is finetuned otherwise, with fewer attacks; one with another seed and other figures."""
    folder = tmp_path_factory.mktemp("runs")
    others: dict[str, dict[str, Any]] = {
        "base": {"variants": {"wide": {"finetune": {"transfer": "full"}}}},
        "longer": {"finetune.epochs": 9, "attack.names": ["adapted-lira", "gaussian"], "compute.memory": "900M"},
        "seeded": {"seed": 5},
    }
    with pytest.MonkeyPatch.context() as patch:
        leave_undrawn(patch)
        for name, changes in others.items():
            run_attack(load_config("digits", fitting(TINY | FAST) | changes), folder / name)
    return folder


def test_another_finetuning_is_paired(runs: Path) -> None:
    compared = compare_runs(runs / "base", runs / "longer")
    assert compared["paired"]
    assert list(compared["attacks"]) == ["gaussian", "adapted-lira"]
    assert compared["configuration"] == ["finetune.epochs was 3, now 9"]
    results = [json.loads((runs / name / "results.json").read_text()) for name in ("base", "longer")]
    labels = np.load(runs / "base" / "membership.npy")
    for name, entry in compared["attacks"].items():
        for letter, result in zip("ab", results, strict=True):
            assert entry[letter]["auc"] == result["attacks"][name]["auc"]["estimate"]
            for rate, found in entry[letter]["tpr_at_fpr"].items():
                assert found == result["attacks"][name]["tpr_at_fpr"][rate]["estimate"]
        scores = [np.load(runs / run / "scores" / f"{name}.npy") for run in ("longer", "base")]
        rates = [0.001, 0.01, 0.05, 0.1]
        assert entry["difference"] == compare(*scores, labels, rates, Bootstrap(100)).to_dict()


def test_another_seed_is_not_paired(runs: Path) -> None:
    compared = compare_runs(runs / "base", runs / "seeded", ["direct", "gaussian"], [0.2])
    assert not compared["paired"]
    assert compared["why"]
    assert list(compared["attacks"]) == ["gaussian", "direct"]
    assert compared["configuration"] == ["seed was 0, now 5"]
    entry = compared["attacks"]["gaussian"]
    assert entry["difference"]["auc"]["estimate"] == pytest.approx(entry["b"]["auc"] - entry["a"]["auc"])
    assert list(entry["difference"]["tpr_at_fpr"]) == ["0.2"]


def test_a_run_does_not_differ_from_itself(runs: Path) -> None:
    shutil.copytree(runs / "base", copied := runs / "copied", dirs_exist_ok=True)
    compared = compare_runs(runs / "base", copied)
    assert compared["paired"]
    assert compared["configuration"] == []
    for entry in compared["attacks"].values():
        difference = entry["difference"]
        for figure in (difference["auc"], difference["balanced_accuracy"], *difference["tpr_at_fpr"].values()):
            assert (figure["estimate"], figure["low"], figure["high"]) == (0, 0, 0)
    assert runs_verdict(compared_runs(runs / "base", copied)).startswith("No difference at all: gaussian")


def test_a_variant_is_a_run(runs: Path) -> None:
    compared = compare_runs(runs / "base", runs / "base" / "variants" / "wide")
    stored = json.loads((runs / "base" / "results.json").read_text())["variants"]["differences"]["wide"]
    assert compared["paired"]
    assert compared["attacks"]["gaussian"]["difference"]["auc"] == stored["auc"]
    assert "finetune.transfer was 'head', now 'full'" in compared["configuration"]


def test_the_command(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(runs)
    file = tmp_path / "compared.json"
    for other, said in (("longer", "Paired: the same 6 targets"), ("seeded", "Unpaired: ")):
        shown = CliRunner().invoke(command, ["base", other, "--json", str(file), "--fpr", "0.1,0.2"])
        assert shown.exit_code == 0, shown.output
        assert said in shown.output
        assert max(map(len, shown.output.splitlines())) <= 80
        document = json.loads(file.read_text())
        assert document["verdict"] in " ".join(shown.output.split())
        assert list(document["attacks"]["gaussian"]["a"]["tpr_at_fpr"]) == ["0.1", "0.2"]
    assert CliRunner().invoke(command, ["base", "longer", "--fpr", "5"]).exit_code == 2
    again = tmp_path / "again.json"
    CliRunner().invoke(command, ["base", "seeded", "--json", str(again), "--fpr", "0.1", "--fpr", "0.2"])
    assert again.read_bytes() == file.read_bytes()


# -- audits of saved predictions, and what may be wrong: directories that are made up


def make(
    folder: Path,
    *,
    targets: int = 8,
    points: int = 40,
    seed: int = 0,
    effect: float = 1.0,
    noise: int = 0,
    kind: str = "saved predictions",
    attacks: tuple[str, ...] = ("tmi",),
    numbers: np.ndarray | None = None,
    pool: str = "",
) -> Path:
    """Scores as an audit of saved predictions leaves them; ``noise`` is the seed of the scores, ``seed`` the rest."""
    random = np.random.default_rng(seed)
    membership = random.random((8, points)) < 0.5
    easy = random.normal(size=points)
    scores = effect * membership + easy + 0.5 * np.random.default_rng([seed, noise]).normal(size=(8, points))
    directory = RunDirectory(folder)
    directory.save_array(directory.membership, membership, content_key())
    if numbers is not None:
        directory.save_array(directory.challenge_points, numbers, content_key())
    for attack in attacks:
        directory.save_array(directory.scores(attack), scores[:targets], content_key())
    if attacks:
        results = make_results(dict.fromkeys(attacks, 0.6))
        changes = {"kind": kind, "name": folder.name, "evaluation/resamples": 200, "data/pool/fingerprint": pool}
        changed(results, changes).save(directory.results)
    return folder


def test_audits_of_saved_predictions(tmp_path: Path) -> None:
    a, b = make(tmp_path / "a", effect=2.0), make(tmp_path / "b", effect=0.5, noise=1)
    compared = compared_runs(a, b)
    assert compared.paired
    assert "A and B have no numbers" in compared.why
    assert compared.configuration is None
    said = [block.text for block in compared_blocks(compared) if isinstance(block, Paragraph)]
    assert said[1] == "At least one of the two has no configuration to compare."
    assert compared.attacks["tmi"].difference.auc.high < 0
    assert runs_verdict(compared).startswith("B leaks less than A: tmi has AUC ")
    turned = compared_runs(b, a)
    assert runs_verdict(turned).startswith("B leaks more than A: tmi has AUC ")
    assert turned.attacks["tmi"].difference.auc.low == pytest.approx(-compared.attacks["tmi"].difference.auc.high)


def test_what_both_share_cancels_only_where_it_is_paired(tmp_path: Path) -> None:
    """The same scores, once with the same numbers of points and once with others."""
    a = make(tmp_path / "a", numbers=np.arange(40))
    same = make(tmp_path / "same", noise=1, numbers=np.arange(40))
    other = make(tmp_path / "other", noise=1, numbers=np.arange(40) + 7)
    paired, unpaired = compare_runs(a, same), compare_runs(a, other)
    assert paired["paired"]
    assert not unpaired["paired"]
    assert unpaired["why"] == "the challenge points differ"
    narrow, wide = (compared["attacks"]["tmi"]["difference"]["auc"] for compared in (paired, unpaired))
    assert narrow["estimate"] == wide["estimate"]
    assert wide["high"] - wide["low"] > 1.2 * (narrow["high"] - narrow["low"])
    assert compare_runs(a, make(tmp_path / "m", seed=3, numbers=np.arange(40)))["why"].startswith("the memberships")


def test_other_pools_are_not_paired_by_their_numbers(tmp_path: Path) -> None:
    """Memberships are drawn from the seed alone, so those of two pools of one size are equal."""
    compared = compare_runs(*(make(tmp_path / name, numbers=np.arange(40), pool=name) for name in ("a", "b")))
    assert compared["why"] == "the pools that the points are from differ"


def test_the_targets_that_both_have_are_compared(tmp_path: Path) -> None:
    compared = compare_runs(make(tmp_path / "a"), make(tmp_path / "b", targets=3))
    assert compared["paired"]
    assert "A has 8 targets, B 3" in compared["why"]
    assert compared["attacks"]["tmi"]["difference"]["auc"]["estimate"] == 0


def test_the_difference_that_would_have_been_seen() -> None:
    """1.96 + 0.84 standard errors, here of a DeLong interval at 0.5, where it is symmetric."""
    difference = Estimate(0.0, -0.0196, 0.0196)
    assert detectable(difference, 0.95) == pytest.approx(0.028016, abs=1e-5)
    assert detectable(Estimate(0.1, 0.1, 0.1), 0.95) == 0


def test_unpaired_intervals_add_the_variances() -> None:
    """Of independent rows, to which DeLong's interval applies: the variances of two runs add up."""
    random = np.random.default_rng(0)
    labels = [random.random(shape) < 0.5 for shape in ((30, 80), (20, 60))]
    scores = [random.normal(size=label.shape) + 0.5 * label for label in labels]
    difference = compare_unpaired(scores[0], labels[0], scores[1], labels[1], [0.1], Bootstrap(1000)).auc
    delong = [auc_interval(s.ravel(), y.ravel()) for s, y in zip(scores, labels, strict=True)]
    expected = np.hypot(*(interval.high - interval.low for interval in delong))
    assert 0.9 < (difference.high - difference.low) / expected < 1.3


def test_equal_shapes_are_resampled_independently() -> None:
    """Else the interval of two runs that happen to have one shape would be too narrow: here, of width 0."""
    random = np.random.default_rng(0)
    labels = random.random((20, 50)) < 0.5
    scores = random.normal(size=labels.shape)
    difference = compare_unpaired(scores, labels, scores, labels, [0.1], Bootstrap(200))
    assert difference.auc.estimate == 0
    assert difference.auc.low < -0.02 < 0.02 < difference.auc.high


@pytest.mark.slow
@pytest.mark.parametrize("effect", [0.0, 1.0])
def test_unpaired_intervals_cover(effect: float) -> None:
    """Two runs of equal leak that share nothing: 0 is covered in at least 90% (95% expected, or more)."""
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        pairs = []
        for _ in range(2):
            labels = random.random((16, 60)) < 0.5
            shared = 0.5 * random.normal(size=(16, 1)) + 0.5 * random.normal(size=(1, 60))
            pairs += [random.normal(size=labels.shape) + shared + effect * labels, labels]
        auc = compare_unpaired(*pairs, [0.1], Bootstrap(200)).auc
        covered += auc.low <= 0 <= auc.high
    print(f"covered {covered} of 200")
    assert covered >= 180


@pytest.mark.slow
def test_what_is_called_detectable_is_detected() -> None:
    """A difference of the promised size is seen in about four of five comparisons, or a little less."""
    random = np.random.default_rng(1)

    def run(effect: float) -> list[np.ndarray]:
        labels = random.random((16, 100)) < 0.5
        return [random.normal(size=labels.shape) + effect * labels, labels]

    sizes = [detectable(compare_unpaired(*run(0.5), *run(0.5), [0.1], Bootstrap(200)).auc, 0.95) for _ in range(20)]
    # AUC = Phi(effect / sqrt 2), so this effect is the one of the AUC that is higher by as much.
    normal = NormalDist()
    higher = normal.inv_cdf(normal.cdf(0.5 / 2**0.5) + float(np.mean(sizes))) * 2**0.5
    seen = sum(compare_unpaired(*run(higher), *run(0.5), [0.1], Bootstrap(200)).auc.low > 0 for _ in range(200))
    print(f"seen {seen} of 200, difference {np.mean(sizes):.4f}")
    assert 140 <= seen <= 190


def test_the_table_of_long_names_fits() -> None:
    estimate = Estimate(-0.1234, -0.2345, -0.0123)
    rates = {str(rate): estimate for rate in (0.0001, 0.001, 0.01, 0.05, 0.1)}
    figures = {"auc": 0.7, "balanced_accuracy": 0.6, "tpr_at_fpr": dict.fromkeys(rates, 0.3)}
    rates["0.0001"] = replace(estimate, resolvable=False)
    entry = {
        "direct_access": False,
        "a": figures,
        "b": figures,
        "difference": {"auc": estimate, "balanced_accuracy": estimate, "tpr_at_fpr": rates},
        "detectable": 0.1,
    }
    run = {"run": "runs/" + "x" * 90, "name": "[b]x", "seed": 0, "targets": 8, "points": 1000}
    run |= {"members": 4000, "non_members": 4000}
    document = {
        "a": run,
        "b": run,
        "paired": False,
        "why": "the challenge points differ",
        "evaluation": {"confidence": 0.95, "resamples": 1000},
        "headline": "inputs-and-answers",
        "attacks": {"inputs-and-answers": entry, "direct": entry | {"direct_access": True}},
        "configuration": ["seed was 0, now 5"],
    }
    compared = Compared.model_validate(document)
    for width, has_rates in ((80, True), (62, False)):
        show_blocks(compared_blocks(compared), Console(file=(printed := io.StringIO()), width=width))
        assert max(map(len, printed.getvalue().splitlines())) <= width
        assert "−0.123* [−0.234, −0.012]" in printed.getvalue()
        assert ("TPR" in printed.getvalue()) == has_rates
        assert ("– not resolvable with 4,000 non-members" in printed.getvalue()) == has_rates
    assert "[b]x" in printed.getvalue()
    figures["auc"] = 0.4
    assert "neither is better than a coin flip" in runs_verdict(Compared.model_validate(document))
    entry["difference"]["auc"] = replace(estimate, high=0.1)
    verdict = runs_verdict(Compared.model_validate(document))
    assert "with these sizes a difference of 0.100 would have been seen" in verdict


def refuse(a: Path, b: Path, **options: Any) -> str:
    with pytest.raises(TmiError) as error:
        compare_runs(a, b, **options)
    return str(error.value)


def test_bad_input_is_one_sentence(tmp_path: Path) -> None:
    a = make(tmp_path / "a")
    assert (
        refuse(a, tmp_path / "nowhere") == f"{tmp_path}/nowhere: there is no such directory, expected a run directory"
    )
    (tmp_path / "empty").mkdir()
    assert "is no run directory" in refuse(tmp_path / "empty", a)
    unfinished = make(tmp_path / "unfinished", attacks=())
    assert f"{unfinished}: the run is unfinished, it has no scores; `tmi attack" in refuse(a, unfinished)
    (make(tmp_path / "unreported") / "results.json").unlink()
    assert "results.json is missing; run `tmi report" in refuse(a, tmp_path / "unreported")
    other = make(tmp_path / "other", attacks=("rmia", "lira"))
    assert refuse(a, other) == f"{a} and {other} have no attack in common: tmi and rmia, lira"
    assert "has no scores of an attack 'tmy' (did you mean 'tmi'?" in refuse(a, a, attacks=["tmy"])
    assert refuse(a, a, false_positive_rates=[0.1, 1.5]) == "the false positive rate 1.5 is not between 0 and 1"
    (make(tmp_path / "gone", attacks=("tmi", "lira")) / "scores" / "lira.npy").unlink()
    assert "scores/lira.npy is missing; run `tmi score" in refuse(
        tmp_path / "gone", make(tmp_path / "l", attacks=("lira",))
    )
    wrong = make(tmp_path / "wrong")
    write_json(wrong / "results.json", {"schema": 1, "attacks": {}})
    assert f"{wrong}/results.json: the key 'kind' is missing" in refuse(wrong, a)


@pytest.mark.parametrize("name", ["scores/tmi.npy", "membership.npy", "challenge_points.npy"])
def test_damage_is_found(tmp_path: Path, name: str) -> None:
    a, b = make(tmp_path / "a"), make(tmp_path / "b", numbers=np.arange(40))
    path = b / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert f"{path} is damaged: its SHA-256 is not the one in {path.stem}.json" in refuse(a, b)


def test_scores_without_a_sidecar_are_not_trusted(tmp_path: Path) -> None:
    a = make(tmp_path / "a")
    (a / "scores" / "tmi.json").unlink()
    assert "scores/tmi.npy: has no tmi.json beside it" in refuse(a, a)


@pytest.mark.parametrize(
    ("name", "array", "sentence"),
    [
        ("scores/tmi.npy", np.zeros((3, 7)), "expected at most 8|shape"),
        ("scores/tmi.npy", np.zeros((9, 40)), "has 9 targets, expected at most 8"),
        ("scores/tmi.npy", np.zeros((8, 40), np.float32), "has type float32 and shape"),
        ("scores/tmi.npy", np.full((8, 40), np.nan), "holds NaN"),
        ("membership.npy", np.zeros((8, 40)), "expected bool"),
        ("membership.npy", np.zeros((8, 40), bool), "all memberships of the targets are equal"),
        ("challenge_points.npy", np.arange(39), "expected integers"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path: Path, name: str, array: np.ndarray, sentence: str) -> None:
    a = make(tmp_path / "a", numbers=np.arange(40))
    RunDirectory(a).save_array(a / name, array, content_key())
    with pytest.raises(TmiError, match=sentence) as error:
        compare_runs(a, a)
    assert name in str(error.value)


def test_reading_makes_nothing(runs: Path) -> None:
    before = sorted(runs.rglob("*"))
    assert read_run(runs / "base").config is not None
    compare_runs(runs / "base", runs / "seeded", ["gaussian"])
    assert sorted(runs.rglob("*")) == before
