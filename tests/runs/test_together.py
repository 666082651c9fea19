"""Several finetunings attacked together: a run and its variants, saved predictions, arrays."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tmi
from made.commands import refused, scores_of, tiny_attack
from made.commands import tmi as command
from made.companions import finetunings
from tmi.attacks.scoring import score
from tmi.predictions.attack_input import AttackInput
from tmi.runs import pipeline

VARIANTS = (
    '{deep = {finetune = {transfer = "full"}}, halves = {downstream = {relabel = [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]}}}'
)
SEEING = ("tmi", "label-probe")
OPTIONS = [
    *("--set", f"variants={VARIANTS}"),
    *(part for name in ("gaussian", *SEEING) for part in ("--attack", name)),
    *("--set", "pool.challenge_points=30"),
]


def results_in(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of three finetunings, one of another task; tests copy it before they change it."""
    out = tmp_path_factory.mktemp("together") / "run"
    tiny_attack(out, *OPTIONS, "--together", "all")
    return out


# ------------------------------------------------------------------------------------------------ runs


def test_a_row_for_every_number_of_finetunings(finished: Path) -> None:
    results = results_in(finished)
    together = results["together"]
    assert together["finetunings"] == ["digits", "deep", "halves"]
    assert {number: sorted(row) for number, row in together["figures"].items()} == dict.fromkeys("123", sorted(SEEING))
    for name in SEEING:
        alone = results["attacks"][name]
        assert together["figures"]["1"][name] == {key: alone[key] for key in ("auc", "balanced_accuracy", "tpr_at_fpr")}
    expected = ["gaussian", *SEEING, *(f"together-{number}/{name}" for number in (2, 3) for name in SEEING)]
    assert sorted(scores_of(finished)) == sorted(f"{name}.npy" for name in expected)
    for document in ("report.html", "report.md"):
        assert "+ halves" in (finished / document).read_text()
    assert (finished / "together.svg").stat().st_size > 1000


def test_the_scores_are_those_of_the_attack_on_all_answers(finished: Path) -> None:
    subject = pipeline.subject_of(tmi.load_config(str(finished / "config.toml")), finished)
    own, *others = (each.opened_answers(1 << 30) for each in subject.finetunings)
    assert [each.predictions.shape[-1] for each in (own, *others)] == [5, 5, 2]
    seen = replace(own, companions=tuple(others))
    for name in SEEING:
        written = np.load(finished / "scores" / "together-3" / f"{name}.npy")
        np.testing.assert_array_equal(written, score(tmi.attack_named(name), seen, range(6)))
        assert not np.array_equal(written, np.load(finished / "scores" / f"{name}.npy"))


def test_another_order_is_scored_anew_and_what_is_there_is_not(run: Path, finished: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*.npy")}
    tiny_attack(run, *OPTIONS, "--together", "deep,halves")
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*.npy")} == before
    command("score", run, "--together", "halves")
    command("report", run)
    assert results_in(run)["together"]["finetunings"] == ["digits", "halves"]
    changed = {str(path.relative_to(run)) for path in before if path.stat().st_mtime_ns != before[path]}
    assert changed == {f"scores/together-2/{name}.npy" for name in SEEING}
    # Back again, after an interruption in the middle.
    (run / "scores" / "together-3" / "tmi.npy").unlink()
    tiny_attack(run, *OPTIONS, "--together", "all")
    assert scores_of(run) == scores_of(finished)


def test_another_finetuning_of_a_variant_is_noticed(run: Path) -> None:
    before = scores_of(run)
    other = VARIANTS.replace("0, 0, 0, 0, 0", "0, 1, 0, 1, 0")
    tiny_attack(run, *OPTIONS, "--together", "all", "--set", f"variants={other}")
    after = scores_of(run)
    assert {name for name in after if after[name] != before[name]} == {f"together-3/{name}.npy" for name in SEEING}


def test_a_run_of_an_earlier_version_can_be_attacked_together(run: Path, finished: Path) -> None:
    for number in (2, 3):
        shutil.rmtree(run / "scores" / f"together-{number}")
    config = (run / "config.toml").read_text()
    assert 'together = "all"\n' in config
    (run / "config.toml").write_text(config.replace('together = "all"\n', ""))
    document = results_in(run)
    del document["together"]
    (run / "results.json").write_text(json.dumps(document))
    # Manifests knew less, and had no seal.
    manifest = json.loads((run / "manifest.json").read_text())
    earlier = {key: manifest[key] for key in ("seconds", "packages", "keys")}
    (run / "manifest.json").write_text(json.dumps(earlier))
    written = (run / "scores" / "tmi.npy").stat().st_mtime_ns
    assert "+ halves" not in command("report", run)
    assert "together" not in results_in(run)
    assert not (run / "together.svg").exists()
    command("score", run, "--together", "all")
    assert "+ halves" in " ".join(command("report", run).split())
    assert results_in(run)["together"] == results_in(finished)["together"]
    assert (run / "scores" / "tmi.npy").stat().st_mtime_ns == written


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--together", "nobody"], "attack.together is ['nobody'], expected names of variants, or 'all': deep, halves"),
        (["--together", "deep,deep"], "'deep' is given twice"),
        (["--together", "all", "--variants", "none"], "attack.together is 'all', expected names of variants"),
        (["--together", "all", "--set", "attack.names=['gaussian']"], "no attack of gaussian looks at several"),
    ],
)
def test_what_cannot_be_seen_together_is_one_sentence(tmp_path: Path, arguments: list[str], sentence: str) -> None:
    (tmp_path / "c.toml").write_text(
        f"{tmi_preset()}\n[variants.deep.finetune]\ntransfer = 'full'\n[variants.halves]\n"
    )
    output = command("attack", tmp_path / "c.toml", "--out", tmp_path / "run", *arguments, code=2)
    assert sentence in " ".join(output.split())
    assert not (tmp_path / "run").exists()


def tmi_preset() -> str:
    from tmi.config import preset_text

    return preset_text("digits")


# --------------------------------------------------------------------------------------- saved and in memory


@pytest.fixture
def answers() -> AttackInput:
    membership = np.random.default_rng(0).random((10, 60)) < 0.5
    return finetunings(membership, effect=1.0)


@pytest.fixture
def folder(answers: AttackInput, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three finetunings whose first model is the target, and the membership of the others."""
    for number, each in enumerate((answers, *answers.companions)):
        models = each.predictions.block(slice(None))
        np.save(tmp_path / f"P{number}.npy", models[1:])
        np.save(tmp_path / f"T{number}.npy", models[0])
    np.save(tmp_path / "M.npy", answers.membership[1:])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def saved(*options: str, code: int = 0) -> str:
    names = ("--attack", "tmi", "--attack", "gaussian", "--set", "evaluation.resamples=200", "--workers", "1")
    return command("attack", "--membership", "M.npy", *names, "--out", "out", *options, code=code)


PREDICTIONS = [word for number in range(3) for word in ("--predictions", f"P{number}.npy")]
TARGETS = [word for number in range(3) for word in ("--target", f"T{number}.npy")]


def test_the_command_and_python_agree(folder: Path, answers: AttackInput) -> None:
    printed = saved(*PREDICTIONS, *TARGETS)
    assert "On all 3 finetunings of the same models together, tmi has AUC" in " ".join(printed.split())
    results = results_in(folder / "out")
    own, *others = ([*each.predictions.block(slice(None))] for each in (answers, *answers.companions))
    audit = tmi.audit(
        own[1:],
        answers.membership[1:],
        own[0],
        companions=[each[1:] for each in others],
        target_companions=[each[0] for each in others],
        attacks=["tmi", "gaussian"],
        resamples=200,
    )
    assert results["together"]["finetunings"] == ["P0", "P1", "P2"]
    assert audit.found.together is not None
    assert results["together"]["figures"] == json.loads(json.dumps(audit.results))["together"]["figures"]
    assert results["attacks"]["gaussian"]["auc"] == json.loads(json.dumps(audit.results))["attacks"]["gaussian"]["auc"]
    assert audit.auc("tmi", together=3).estimate > audit.auc("tmi").estimate + 0.02
    assert audit.tpr(0.1, together=2) == audit.found.together.figures["2"]["tmi"].tpr_at_fpr["0.1"]
    for name, scores in audit.together[3].items():
        np.testing.assert_array_equal(np.load(folder / "out" / "scores" / "together-3" / f"{name}.npy"), scores)
    # The target is seen in all of its finetunings, and compared with models that are.
    assert results["target"]["finetunings"] == 3
    assert results["target"] | {"name": ""} == json.loads(json.dumps(audit.results["target"])) | {"name": ""}
    assert (audit.p_values == tmi_p_values(audit)).all()
    roles = {Path(file["path"]).name: file["role"] for file in results["data"]["files"]}
    assert (roles["P0.npy"], roles["P1.npy"], roles["M.npy"]) == (
        "predictions",
        "predictions of finetuning 2",
        "membership",
    )
    assert (roles["T0.npy"], roles["T2.npy"]) == ("target", "target of finetuning 3")
    assert audit.save(folder / "audit").exists()
    assert (folder / "audit" / "scores" / "together-2" / "tmi.npy").exists()


def tmi_p_values(audit: Any) -> Any:
    from tmi.metrics.unknown_target import p_values

    return p_values(audit.target_scores["tmi"], audit.together[3]["tmi"], audit.membership)


def test_pretraining_labels_are_known_of_every_finetuning(folder: Path, answers: AttackInput) -> None:
    labels = np.arange(60) % 5
    np.save("L.npy", labels)
    files = (*PREDICTIONS[:4], "--membership", "M.npy", "--pretraining-labels", "L.npy")
    names = [word for name in SEEING for word in ("--attack", name)]
    command("attack", *files, *names, "--set", "evaluation.resamples=200", "--workers", "1", "--out", "out")
    own, other, _ = (each.predictions.block(slice(None))[1:] for each in (answers, *answers.companions))
    audit = tmi.audit(
        own, answers.membership[1:], companions=[other], pretraining_labels=labels, attacks=SEEING, resamples=200
    )
    for name in SEEING:
        written = np.load(folder / "out" / "scores" / "together-2" / f"{name}.npy")
        np.testing.assert_array_equal(written, audit.together[2][name])


def test_a_finetuning_can_be_added_to_an_audit(folder: Path) -> None:
    saved(*PREDICTIONS[:4], "--target", "T0.npy")
    first = {path: path.stat().st_mtime_ns for path in (folder / "out").rglob("*.npy")}
    results = results_in(folder / "out")
    assert list(results["together"]["figures"]) == ["1", "2"]
    assert "finetunings" not in results["target"]
    saved(*PREDICTIONS, "--target", "T0.npy")
    assert list(results_in(folder / "out")["together"]["figures"]) == ["1", "2", "3"]
    assert {path: path.stat().st_mtime_ns for path in first} == first
    # As the command that scores anew finds it in the directory.
    assert "Scored" in command("score", "out")


@pytest.mark.parametrize(
    ("change", "options", "sentence"),
    [
        (
            lambda p, m: (p[:-1], m),
            (),
            "M.npy: has shape (9, 60), expected membership (8, 60)",
        ),
        (
            lambda p, m: (p[:, :-1], m),
            (),
            "M.npy: has shape (9, 60), expected membership (9, 59)",
        ),
        (lambda p, m: (p, ~m), (), "finetuning 2 differs from the first in its membership"),
        (lambda p, m: (p, m), ("--target", "T0.npy", "--target", "T1.npy"), "--target is given 2 times, expected once"),
        (lambda p, m: (p, m), ("--together", "all"), "attack.together names variants of a run"),
        (lambda p, m: (p, m), ("--view", "top-3"), "top-3"),
    ],
)
def test_what_does_not_fit_is_one_sentence(folder: Path, change: Any, options: tuple[str, ...], sentence: str) -> None:
    predictions, membership = change(np.load("P1.npy"), np.load("M.npy"))
    np.save("P1.npy", predictions)
    files = ["--membership", "M.npy"]
    if (membership != np.load("M.npy")).any():
        # Layouts that bring their membership along.
        np.savez("P0.npz", predictions=np.load("P0.npy"), membership=np.load("M.npy"))
        np.savez("P1.npz", predictions=predictions, membership=membership)
        files = []
    named = (
        [word for number in (0, 1, 2) for word in ("--predictions", f"P{number}.npy")]
        if files
        else [*("--predictions", "P0.npz", "--predictions", "P1.npz")]
    )
    output = command("attack", *named, *files, "--attack", "tmi", "--out", "out", *options, code=2)
    assert sentence in output
    assert "P1.npy, another finetuning: " in output or not sentence.startswith("M.npy")
    assert len(output.strip().splitlines()) == 1
    assert not (folder / "out").exists()


def test_arrays_that_do_not_fit_are_named(answers: AttackInput) -> None:
    own, other, _ = (each.predictions.block(slice(None)) for each in (answers, *answers.companions))
    with pytest.raises(tmi.TmiError, match=r"finetuning 2: membership: has shape \(10, 60\), expected .*\(9, 60\)"):
        tmi.audit(own, answers.membership, companions=[other[1:]])
    with pytest.raises(tmi.TmiError, match=r"target_companions holds 1 arrays, expected .* each of the 2 other"):
        tmi.audit(own, answers.membership, own[0], companions=[other, other], target_companions=[other[0]])
    with pytest.raises(tmi.TmiError, match="no attack of gaussian looks at several finetunings together"):
        tmi.audit(own, answers.membership, companions=[other], attacks=["gaussian"])


def test_a_wrong_finetuning_is_refused(folder: Path) -> None:
    shuffled = np.load("P1.npy")
    np.save("P1.npy", np.exp(shuffled) / np.exp(shuffled).sum(axis=-1, keepdims=True))
    assert "finetuning 2: predictions: every answer is non-negative" in refused(
        "attack", *PREDICTIONS, "--membership", "M.npy", "--attack", "tmi", "--out", "out"
    )
