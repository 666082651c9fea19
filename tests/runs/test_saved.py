"""Saved predictions through the command line, through Python and as the run that made them: the same figures."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tmi
from made.commands import tmi as in_process
from tmi.attacks.registry import all_attacks, default_attacks
from tmi.errors import TmiError
from tmi.metrics.bootstrap import Bootstrap
from tmi.predictions.intake import taken_in
from tmi.report.tables import Machine, Provenance
from tmi.runs.saved import audit_of, had

SIMPLE = ["gaussian", "adapted-lira", "confidence"]
PROVENANCE = Provenance(packages={}, python="", machine=Machine(system="", processor="", cores=1), hashes={}, keys={})
FIGURES = ("auc", "balanced_accuracy", "tpr_at_fpr", "roc", "epsilon", "histogram", "neutral")


def command(*words: str | Path, folder: Path, code: int = 0) -> str:
    """What `tmi` prints in this folder; workers take longer to start than these attacks."""
    alone = ("--workers", "1") if words[0] == "attack" and "--workers" not in words else ()
    return in_process(*words, *alone, cwd=folder, code=code)


def leaking(seed: int = 0, models: int = 13, points: int = 60, shift: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits ``[models, points, 2, 4]`` that members' answers are shifted in, and the membership."""
    random = np.random.default_rng(seed)
    membership = random.random((models, points)) < 0.5
    direction = shift * random.normal(size=(points, 1, 4))
    logits = random.normal(size=(models, points, 2, 4)) + membership[:, :, None, None] * direction
    return logits.astype(np.float32), membership


def drawn_to_labels(seed: int = 0, points: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same where members' answers are drawn to those of their pretraining label, and these labels."""
    random = np.random.default_rng([seed, 1])
    labels = random.permutation(points) % 5 * 1000 - 7
    of_labels = 2 * random.normal(size=(5, 4))[(labels + 7) // 1000]
    logits, membership = leaking(seed, points=points, shift=0.0)
    return logits + (0.5 + membership[..., None, None]) * of_labels[:, None].astype(np.float32), membership, labels


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    logits, membership = leaking()
    np.save(tmp_path / "P.npy", logits[1:])
    np.save(tmp_path / "M.npy", membership[1:])
    np.save(tmp_path / "T.npy", logits[0])
    return tmp_path


def attacked(folder: Path, *options: str | Path) -> dict[str, Any]:
    names = [word for name in SIMPLE for word in ("--attack", name)]
    files = ("--predictions", "P.npy", "--membership", "M.npy")
    command("attack", *files, *names, "--out", "out", "--set", "evaluation.resamples=200", *options, folder=folder)
    results: dict[str, Any] = json.loads((folder / "out" / "results.json").read_text())
    return results


def same_figures(left: dict[str, Any], right: dict[str, Any]) -> None:
    assert left["attacks"].keys() == right["attacks"].keys()
    for name in left["attacks"]:
        for figure in FIGURES:
            assert left["attacks"][name][figure] == right["attacks"][name][figure], (name, figure)
    assert left["comparisons"] == right["comparisons"]


def test_the_command_and_python_agree(saved: Path) -> None:
    results = attacked(saved, "--target", "T.npy", "--workers", "2")
    logits, membership = leaking()
    audit = tmi.audit(logits[1:], membership[1:], logits[0], attacks=SIMPLE, resamples=200)
    same_figures(results, json.loads(json.dumps(audit.results)))
    named = results["target"] | {"name": "the target"}
    assert named == json.loads(json.dumps(audit.results["target"]))
    assert audit.auc().low > 0.5
    assert audit.tpr(0.1).estimate > 0.1
    for name in SIMPLE:
        np.testing.assert_array_equal(np.load(saved / "out" / "scores" / f"{name}.npy"), audit.scores[name])
        np.testing.assert_array_equal(
            np.load(saved / "out" / "target_scores" / f"{name}.npy")[0], audit.target_scores[name]
        )


def test_a_run_and_its_saved_predictions_agree(tmp_path: Path, tiny: Any) -> None:
    config = tiny(attack__names=[*SIMPLE, "direct"], evaluation__resamples=200)
    of_run = tmi.run_attack(config, tmp_path / "run")
    options = ("--set", "evaluation.resamples=200", "--seed", str(config.seed))
    names = [word for name in [*SIMPLE, "direct"] for word in ("--attack", name)]
    run = tmp_path / "run"
    files = ("--predictions", run / "predictions", "--membership", run / "membership.npy")
    pretrained = ("--pretrained-predictions", run / "pretrained_predictions")
    command("attack", *files, *pretrained, *names, *options, "--out", "audit", folder=tmp_path)
    same_figures(
        json.loads((tmp_path / "audit" / "results.json").read_text()),
        json.loads(json.dumps(of_run)),
    )


def test_the_points_that_nobody_challenges_come_with_a_run(tmp_path: Path, tiny: Any) -> None:
    changes = {"query__reference_points": 10, "pool__challenge_points": 30, "evaluation__resamples": 200}
    config = tiny(
        attack__names=["label-probe", "conditional"], variants={"deep": {"finetune": {"epochs": 2}}}, **changes
    )
    tmi.run_attack(config, tmp_path / "run")
    options = ("--set", "evaluation.resamples=200", "--seed", str(config.seed))
    options = (*options, "--attack", "label-probe", "--attack", "conditional")
    for predictions, ours in (("run", "run"), ("run/variants/deep", "run/variants/deep")):
        command("attack", "--predictions", predictions, *options, "--out", f"of-{Path(ours).name}", folder=tmp_path)
        for name in ("label-probe", "conditional"):
            of_run = np.load(tmp_path / ours / "scores" / f"{name}.npy")
            np.testing.assert_array_equal(
                np.load(tmp_path / f"of-{Path(ours).name}" / "scores" / f"{name}.npy"), of_run
            )
    (tmp_path / "run" / "reference_membership.npy").unlink()
    refused = command("attack", "--predictions", "run", *options, "--out", "other", folder=tmp_path, code=2)
    assert "run/reference_membership.npy" in refused


def test_saved_predictions_of_a_run_do_not_go_into_its_directory(tmp_path: Path, tiny: Any) -> None:
    tmi.run_attack(tiny(attack__names=["gaussian"], evaluation__resamples=200), tmp_path / "runs" / "digits")
    refused = command("attack", "--predictions", "runs/digits", folder=tmp_path, code=2)
    assert "holds a run, no place for an audit of saved predictions; choose another --out" in " ".join(refused.split())


def test_torch_is_not_imported(saved: Path) -> None:
    script = (
        "import sys\n"
        "sys.argv = ['tmi', 'attack', '--predictions', 'P.npy', '--membership', 'M.npy', '--workers', '1',\n"
        "            '--out', 'out', '--attack', 'tmi', '--attack', 'gaussian', '--target', 'T.npy',\n"
        "            '--targets', '2', '--set', 'evaluation.resamples=100']\n"
        "from tmi.__main__ import main\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    assert not {'torch', 'transformers'} & set(sys.modules)\n"
    )
    result = subprocess.run([sys.executable, "-c", script], cwd=saved, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert (saved / "out" / "report.html").exists()


def test_the_same_command_goes_on_and_changed_files_are_noticed(saved: Path) -> None:
    first = attacked(saved)
    scores = saved / "out" / "scores" / "gaussian.npy"
    written = scores.stat().st_mtime_ns
    assert attacked(saved)["attacks"]["gaussian"]["auc"] == first["attacks"]["gaussian"]["auc"]
    assert scores.stat().st_mtime_ns == written
    logits, _ = leaking(seed=1)
    np.save(saved / "P.npy", logits[1:])
    assert attacked(saved)["attacks"]["gaussian"]["auc"] != first["attacks"]["gaussian"]["auc"]


def with_labels(folder: Path, *options: str) -> dict[str, Any]:
    """What the command finds with two attacks on the class of each point, one of which has options set."""
    np.save(folder / "L.npy", np.arange(60) % 4)
    files = ("--predictions", "P.npy", "--membership", "M.npy", "--labels", "L.npy")
    names = ("--attack", "rmia", "--attack", "lira-offline", "--set", "evaluation.resamples=200")
    command("attack", *files, *names, "--out", "out", *options, folder=folder)
    results: dict[str, Any] = json.loads((folder / "out" / "results.json").read_text())
    return results


def test_a_changed_option_changes_the_scores_of_its_attack_alone(saved: Path) -> None:
    first = with_labels(saved)
    assert first["attacks"]["rmia"]["options"] == {"gamma": 1.0}
    written = {name: (saved / "out" / "scores" / f"{name}.npy").stat().st_mtime_ns for name in first["attacks"]}
    second = with_labels(saved, "--option", "rmia.gamma=1.3")
    assert second["attacks"]["rmia"]["options"] == {"gamma": 1.3}
    assert second["attacks"]["lira-offline"]["options"] == {"variance": "global", "location": "mean"}
    again = {name: (saved / "out" / "scores" / f"{name}.npy").stat().st_mtime_ns for name in first["attacks"]}
    assert again["lira-offline"] == written["lira-offline"]
    assert again["rmia"] != written["rmia"]
    logits, membership = leaking()
    audit = tmi.audit(
        logits[1:],
        membership[1:],
        attacks=["rmia", "lira-offline"],
        labels=np.arange(60) % 4,
        resamples=200,
        options={"rmia": {"gamma": 1.3}},
    )
    same_figures(second, json.loads(json.dumps(audit.results)))
    np.testing.assert_array_equal(audit.scores["rmia"], np.load(saved / "out" / "scores" / "rmia.npy"))
    assert not np.array_equal(audit.scores["rmia"], np.load(saved / "out" / "scores" / "lira-offline.npy"))
    assert "gamma = 1.3" in (saved / "out" / "report.html").read_text()
    assert "gamma = 1.3" in (saved / "out" / "report.md").read_text()
    # A configuration keeps them, and the command that only scores takes them.
    assert "gamma = 1.3" in (saved / "out" / "config.toml").read_text()
    command("score", "out", "--option", "rmia.gamma=2", folder=saved)
    assert "gamma = 2" in (saved / "out" / "config.toml").read_text()


def test_attacks_without_their_labels_say_so(saved: Path) -> None:
    names = ("--attack", "lira-online", "--attack", "gaussian", "--set", "evaluation.resamples=200")
    said = command(
        "attack", "--predictions", "P.npy", "--membership", "M.npy", *names, "--out", "out", folder=saved
    ).replace("\n", " ")
    assert "lira-online looks at the class that the target itself holds most likely" in said
    assert "--labels" in said
    results = json.loads((saved / "out" / "results.json").read_text())
    assert results["attacks"]["lira-online"]["looks_at"] == "top class of the target"
    assert "looks_at" not in results["attacks"]["gaussian"]
    for report in ("report.html", "report.md"):
        assert "the class that the target itself holds most likely" in (saved / "out" / report).read_text()
    labelled = with_labels(saved, "--fresh")
    assert labelled["attacks"]["rmia"]["looks_at"] == "label"
    assert "the class that the target itself holds" not in (saved / "out" / "report.html").read_text()


PROBES = ["label-probe", "label-probe-shadows"]
WITH_PRETRAINING = ("--predictions", "P.npy", "--membership", "M.npy", "--pretraining-labels", "L.npy", "--out", "out")


def test_pretraining_labels_reach_the_attacks_in_every_way(tmp_path: Path) -> None:
    logits, membership, labels = drawn_to_labels()
    for name, array in (("P", logits[1:]), ("M", membership[1:]), ("L", labels), ("T", logits[0])):
        np.save(tmp_path / f"{name}.npy", array)
    names = [word for name in PROBES for word in ("--attack", name)]
    words = (*WITH_PRETRAINING, *names, "--target", "T.npy", "--set", "evaluation.resamples=200")
    said = command("attack", *words, folder=tmp_path)
    assert "are not known" not in said
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {file["role"] for file in results["data"]["files"]} == {
        "predictions",
        "membership",
        "pretraining labels",
        "target",
    }
    assert results["data"]["pretraining_labels"] == 5
    assert "those of the challenge points, 5 different" in (tmp_path / "out" / "report.html").read_text()
    assert f'pretraining_labels = "{tmp_path / "L.npy"}"' in (tmp_path / "out" / "config.toml").read_text()
    audit = tmi.audit(logits[1:], membership[1:], logits[0], pretraining_labels=labels, attacks=PROBES, resamples=200)
    same_figures(results, json.loads(json.dumps(audit.results)))
    assert "pretraining labels" in audit.results["provenance"]["hashes"]
    for name in PROBES:
        assert audit.auc(name).low > 0.55
        of_target = np.load(tmp_path / "out" / "target_scores" / f"{name}.npy")[0]
        np.testing.assert_array_equal(of_target, audit.target_scores[name])
        assert of_target[membership[0]].mean() > of_target[~membership[0]].mean()
        estimator = tmi.MembershipAttack(name).fit(logits[1:], membership[1:], pretraining_labels=labels)
        np.testing.assert_array_equal(of_target, estimator.score_samples(logits[0]))
    # Other labels are another input; so is the same folder with them beside its predictions.
    np.save(tmp_path / "L.npy", labels % 3)
    command("attack", *words, folder=tmp_path)
    assert not np.array_equal(np.load(tmp_path / "out" / "scores" / "label-probe.npy"), audit.scores["label-probe"])
    keys = []
    for file in ("predictions.npy", "membership.npy", "pretraining_labels.npy"):
        (tmp_path / file).symlink_to({"predictions.npy": "P.npy", "membership.npy": "M.npy"}.get(file, "L.npy"))
        if file != "predictions.npy":
            found = audit_of({"predictions": str(tmp_path)}, {"attack.names": ["gaussian"]}, tmp_path / "x")
            keys.append(found.answers_key)
    assert keys[0] != keys[1]
    roles = [file.role for file in found.describe(PROVENANCE, {}).data.files or []]
    assert roles == ["predictions", "membership", "pretraining labels"]


def test_without_pretraining_labels_nothing_changes_but_what_is_said(saved: Path) -> None:
    said = command("attack", *WITH_PRETRAINING[:4], "--attack", "gaussian", "--out", "out", folder=saved)
    assert "Labels that the points had in pretraining are not known" in said
    assert "pretraining_labels" not in json.loads((saved / "out" / "results.json").read_text())["data"]
    assert "the attacks know none" in (saved / "out" / "report.html").read_text()


def test_points_alone_with_their_label_are_neutral_counted_and_named(tmp_path: Path) -> None:
    logits, membership, labels = drawn_to_labels()
    labels[:4] = [1, 2, 3, 4]
    audit = tmi.audit(logits, membership, pretraining_labels=labels, attacks=[*PROBES, "tmi"], resamples=200, targets=4)
    for name in PROBES:
        assert (audit.scores[name][:, :4] == 0).all()
        assert (audit.scores[name][:, 4:] != 0).all()
    (note,) = [note for note in audit.results["notes"] if "4 points of 60" in note["text"]]
    assert note["level"] == "warning"
    assert "pretraining labels: " in note["text"]
    assert "neutral" in audit.save(tmp_path / "audit").read_text()


def test_points_keep_the_numbers_that_the_tool_gives_them(tmp_path: Path) -> None:
    logits, membership = leaking()
    cache = tmp_path / "attack_cache"
    cache.mkdir()
    points = np.arange(60) * 7 + 1000
    for model in range(13):
        name = "target_ab" if model == 0 else f"sm_{model}_cd"
        np.save(cache / f"{name}_logits.npy", logits[model, ::-1, 0])
        np.save(cache / f"{name}_indices.npy", points[::-1])
    np.save(tmp_path / "M.npy", membership[1:])
    names = ("--attack", "gaussian", "--set", "evaluation.resamples=200")
    command("attack", "--predictions", cache, "--membership", "M.npy", *names, "--out", "out", folder=tmp_path)
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {point["point"] for point in results["points"]["most_exposed"]} <= set(points.tolist())
    assert {point["point"] for point in results["target"]["most_suspected"]} <= set(points.tolist())
    target = next(cache.glob("target_*_logits.npy"))
    files = ("--predictions", cache, "--membership", "M.npy", "--target", target)
    command("attack", *files, *names, "--out", "named", folder=tmp_path)
    np.testing.assert_array_equal(
        *(np.load(tmp_path / out / "target_scores" / "gaussian.npy") for out in ("out", "named"))
    )


def test_reports_can_be_made_again(saved: Path) -> None:
    results = attacked(saved)
    (saved / "out" / "report.html").unlink()
    assert "Report:" in command("report", "out", folder=saved)
    assert json.loads((saved / "out" / "results.json").read_text())["attacks"] == results["attacks"]


def test_commands_that_need_models_say_so(saved: Path) -> None:
    attacked(saved)
    assert "is an audit of saved predictions" in command("query", "out", folder=saved, code=2)
    assert "out: has no points to show" in command("report", "out", "--show-points", folder=saved, code=2)


def test_an_audit_knows_fewer_shadows_and_other_views(saved: Path) -> None:
    results = attacked(saved, "--shadows", "4,8", "--view", "logits,label")
    assert set(results["shadows"]) == {"4", "8"}
    assert results["views"]["logits"]["gaussian"]["auc"] == results["attacks"]["gaussian"]["auc"]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["digits"], "leave a preset out"),
        (["--models", "8"], "leave --models out"),
        (["--target", "M.npy"], "M.npy"),
        (["--labels", "L.npy"], "labels"),
        (["--pretraining-labels", "L.npy"], "L.npy: are all 7, expected at least two different pretraining labels"),
        (["--pretraining-labels", "N.npy"], "N.npy: there is no such file"),
        (["--pretraining-labels", "T.npy"], "T.npy: has shape (60, 2, 4), expected labels (60,)"),
        (["--attack", "label-probe"], "labels that the points had in pretraining: --pretraining-labels"),
        (["--attack", "label-probe-shadows"], "labels that the points had in pretraining: --pretraining-labels"),
        (["--attack", "direct"], "--pretrained-predictions"),
        (["--attack", "known-points"], "for one given model"),
        (["--set", "evaluation.resample=3"], "unknown key"),
        (["--view", "top-9"], "top-9"),
        (["--option", "rmia.gama=1"], "no option 'gama' (did you mean 'gamma'?"),
        (["--option", "gaussian.gamma=1"], "the attack 'gaussian' has no option 'gamma': it has none"),
        (["--option", "rmia.gamma=high"], "the option 'gamma' of the attack 'rmia' is 'high', expected as 1.0"),
        (["--option", "rmia.gamma=0"], "the gamma of RMIA is 0"),
        (["--option", "lira-online.variance=globl"], "did you mean 'global'"),
        (["--option", "rmai.gamma=1"], "no attack named 'rmai'"),
        (["--set", "attack.options.rmia.gamma=[1]"], "attack.options"),
    ],
)
def test_what_does_not_fit_is_one_sentence(saved: Path, options: list[str], complaint: str) -> None:
    np.save(saved / "L.npy", np.full(60, 7))
    output = command("attack", "--predictions", "P.npy", "--membership", "M.npy", *options, folder=saved, code=2)
    assert complaint in output
    assert len(output.strip().splitlines()) == 1
    assert not (saved / "runs").exists()


def test_options_of_saved_predictions_need_them(tmp_path: Path) -> None:
    assert "--predictions is missing" in command("attack", "--membership", "M.npy", folder=tmp_path, code=2)


def test_a_pickle_in_the_predictions_is_not_read(saved: Path) -> None:
    np.save(saved / "P.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    output = command("attack", "--predictions", "P.npy", "--membership", "M.npy", folder=saved, code=2)
    assert "P.npy" in output


def test_every_attack_is_possible_somewhere() -> None:
    logits, membership = leaking()
    answers = taken_in(logits, membership)
    known = replace(answers, labels=np.arange(60) % 4, pretrained=answers.predictions)
    plain, everything = (default_attacks(had(each)) for each in (answers, known))
    assert set(everything) <= set(all_attacks())
    assert "direct" in everything
    assert "direct" not in plain
    probed = default_attacks(had(replace(answers, pretraining_labels=np.arange(60) % 3)))
    assert set(PROBES) == set(probed) - set(plain)
    signals = taken_in(logits[..., :2], membership, np.zeros(60))
    assert "adapted-lira" not in default_attacks(had(signals))


def test_without_a_leak_nothing_is_found() -> None:
    logits, membership = leaking(shift=0.0, models=25, points=200)
    audit = tmi.audit(logits[1:], membership[1:], logits[0], attacks=["gaussian"], resamples=200)
    assert audit.auc().low < 0.5 < audit.auc().high
    assert "No leak was shown" in audit.verdict
    assert audit.results["target"]["attacks"]["gaussian"]["calls"]["0.01"]["called"] <= 10
    assert (audit.p_values <= 0.5).mean() == pytest.approx(0.5, abs=0.15)


def test_an_audit_shows_and_saves_itself(tmp_path: Path) -> None:
    logits, membership = leaking()
    audit = tmi.audit(logits, membership, attacks=["gaussian"], resamples=200, name="<b>mine</b>")
    html = audit._repr_html_()
    assert "gaussian</th>" in html
    assert "<svg" in html
    assert "<b>mine" not in html
    assert str(audit) == audit.verdict
    report = audit.save(tmp_path / "audit")
    assert "<b>mine" not in report.read_text()
    assert np.load(tmp_path / "audit" / "scores" / "gaussian.npy").shape == membership.shape
    with pytest.raises(TmiError, match="no target of unknown membership"):
        _ = audit.p_values


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda p, m: (p, m[:, :-1]), r"membership: has shape \(13, 59\), expected membership \(13, 60\)"),
        (lambda p, m: (p[0, 0], m), "expected"),
        (lambda p, m: (p.astype(int), m), "expected float32 or float16"),
        (lambda p, m: (p, m * 2), "other values than 0 and 1"),
        (lambda p, m: (p[:2], m[:2]), "at least 3"),
    ],
)
def test_wrong_arrays_are_named(change: Any, complaint: str) -> None:
    with pytest.raises(TmiError, match=complaint):
        tmi.audit(*change(*leaking()), attacks=["gaussian"])


def test_no_members_at_all_are_named() -> None:
    logits, membership = leaking()
    with pytest.raises(TmiError, match="nothing to tell apart"):
        tmi.audit(logits, np.zeros_like(membership), attacks=["gaussian"])


def test_golden_figures(shared: Path, tmp_path: Path) -> None:
    golden = shared / "golden" / "text"
    files = ("--predictions", golden / "predictions.npy", "--membership", golden / "membership.npy")
    pretrained = ("--pretrained-predictions", golden / "pretrained_predictions.npy")
    names = [word for name in ("gaussian", "adapted-lira", "direct") for word in ("--attack", name)]
    few = ("--targets", "4", "--set", "evaluation.resamples=100")
    command("attack", *files, *pretrained, *names, "--out", "out", *few, folder=tmp_path)
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    audit = tmi.audit(
        np.load(golden / "predictions.npy"),
        np.load(golden / "membership.npy"),
        pretrained=np.load(golden / "pretrained_predictions.npy"),
        attacks=["gaussian", "adapted-lira", "direct"],
        targets=4,
        resamples=100,
    )
    same_figures(results, json.loads(json.dumps(audit.results)))
    # The reference code's own scores of the first four targets have .746; its singular covariances cost it something.
    with np.load(golden / "reference_scores.npz") as reference:
        theirs = tmi.judge(reference["adapted_lira_stable"], audit.membership[:4], [0.01], Bootstrap(100))
    ours = tmi.judge(audit.scores["adapted-lira"][:4], audit.membership[:4], [0.01], Bootstrap(100))
    assert ours.auc.estimate == pytest.approx(theirs.auc.estimate, abs=0.01)


def test_golden_figures_with_pretraining_labels(shared: Path, tmp_path: Path) -> None:
    golden = shared / "golden" / "text"
    files = ("--predictions", golden / "predictions.npy", "--membership", golden / "membership.npy")
    of = {}
    for name, labels in (("without", ()), ("with", ("--pretraining-labels", golden / "labels.npy"))):
        attacks = ["tmi", *(PROBES if labels else [])]
        names = [word for attack in attacks for word in ("--attack", attack)]
        few = ("--targets", "4", "--set", "evaluation.resamples=100")
        command("attack", *files, *labels, *names, *few, "--out", name, folder=tmp_path)
        of[name] = json.loads((tmp_path / name / "results.json").read_text())["attacks"]
    auc = {
        name: {attack: found["auc"]["estimate"] for attack, found in attacks.items()} for name, attacks in of.items()
    }
    assert auc["without"]["tmi"] == pytest.approx(0.984, abs=0.006)
    assert auc["with"]["tmi"] == pytest.approx(0.996, abs=0.003)
    assert auc["with"]["label-probe"] == pytest.approx(0.944, abs=0.01)
    assert auc["with"]["label-probe-shadows"] == pytest.approx(0.990, abs=0.005)
