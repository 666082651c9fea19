"""An audit without shadow models: from Python, from files, and what is refused."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import tmi
from made.commands import refused
from made.commands import tmi as command
from made.results import outline
from made.simulated import labelled_target
from tmi.errors import TmiError
from tmi.report.results import Results

Arrays = dict[str, NDArray[Any]]


def made(points: int = 300, members: float = 0.5) -> tuple[Arrays, NDArray[np.bool_]]:
    """The arrays of an audit, and which of its candidates are members."""
    logits, labels, inside = labelled_target(points, members=members)
    known = ~inside & (np.arange(points) < 0.6 * points)
    return {"target": logits, "pretraining_labels": labels + 7, "non_members": known}, inside[~known]


def saved(arrays: Arrays, folder: Path) -> list[str | Path]:
    """The command for these arrays, which it writes into files."""
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return ["attack", *(word for name in arrays for word in (f"--{name.replace('_', '-')}", folder / f"{name}.npy"))]


def test_members_are_called_and_every_figure_follows_from_the_p_values() -> None:
    arrays, inside = made()
    audit = tmi.audit_without_shadows(**arrays, fpr=0.05, name="theirs")
    p, found = audit.p_values, audit.found.without_shadows
    assert p is not None
    assert audit.q_values is not None
    assert found is not None
    assert found.set_test is not None
    known = int(arrays["non_members"].sum())
    assert (found.points, found.non_members, found.labels) == (300 - known, known, 6)
    np.testing.assert_array_equal(audit.candidates, np.flatnonzero(~arrays["non_members"]))
    np.testing.assert_array_equal(audit.labels, arrays["pretraining_labels"][audit.candidates])
    assert {rate: each.called for rate, each in found.calls.items()} == {
        f"{rate:g}": (p <= rate).sum() for rate in (0.001, 0.01, 0.05, 0.1)
    }
    assert [each.resolvable for each in found.calls.values()] == [False, known >= 99, True, True]
    assert (p[inside] <= 0.05).mean() > 0.4 > 0.15 > (p[~inside] <= 0.05).mean()
    assert found.set_test.p_value == 1 / 1001
    assert found.exposed is not None
    assert found.exposed.count == (audit.q_values <= 0.05).sum()
    listed = found.most_suspected
    assert [each.p_value for each in listed] == sorted(p)[: len(listed)]
    for each in listed[:5]:
        place = list(audit.candidates).index(each.point)
        assert (each.score, each.called) == (audit.scores[place], p[place] <= 0.05)
    assert f"theirs: of {300 - known} points, {(p <= 0.05).sum()} are called members" in audit.verdict
    assert "nothing here can tell it from memory" in audit.verdict


def test_without_known_non_members_nothing_is_judged() -> None:
    arrays, _ = made()
    del arrays["non_members"]
    audit = tmi.audit_without_shadows(**arrays)
    found = audit.found.without_shadows
    assert found is not None
    assert audit.p_values is None
    assert audit.q_values is None
    assert (found.calls, found.exposed, found.set_test) == ({}, None, None)
    assert [each.score for each in found.most_suspected] == sorted(audit.scores, reverse=True)[:120]
    assert {(each.p_value, each.called) for each in found.most_suspected} == {(None, None)}
    assert "nobody can say" in audit.verdict.lower()
    assert "<th" in (shown := audit._repr_html_())
    assert "p-value" not in shown.replace("give p-values", "")


def test_the_same_figures_from_files_and_from_python_whatever_the_threads(tmp_path: Path) -> None:
    arrays, _ = made()
    audit = tmi.audit_without_shadows(**arrays, seed=3, fpr=0.1, threads=2, name="their-model")
    words = saved({"target": arrays["target"][:, 0], **arrays}, tmp_path)
    printed = command(*words, "--seed", "3", "--fpr", "0.1", "--set", "name=their-model", "--out", tmp_path / "run")
    loaded = Results.load(tmp_path / "run" / "results.json")
    assert loaded.without_shadows == audit.found.without_shadows
    assert "their-model: of " in " ".join(printed.split())
    assert [(file.role, file.shape) for file in loaded.data.files or []] == [
        ("target", [300, 2, 8]),
        ("pretraining labels", [300]),
        ("non members", [300]),
    ]
    with (tmp_path / "run" / "points.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    np.testing.assert_allclose([float(row["p_value"]) for row in rows], audit.p_values, rtol=1e-5)
    np.testing.assert_allclose([float(row["q_value"]) for row in rows], audit.q_values, rtol=1e-5)
    np.testing.assert_array_equal([int(row["point"]) for row in rows], audit.candidates)
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert [
        text for text in ("The target: their-model", "What was not measured", "Details") if f"<h2>{text}" not in page
    ] == []
    outline(page)
    # The configuration repeats the audit, another one does not overwrite it, and other commands say what it is.
    before = (tmp_path / "run" / "points.csv").read_bytes()
    words += ["--seed", "3", "--fpr", "0.1", "--set", "name=their-model", "--out", tmp_path / "run"]
    command(*words)
    assert (tmp_path / "run" / "points.csv").read_bytes() == before
    assert "holds a run of another configuration: seed was 3, now 4" in refused(*words, "--seed", "4")
    assert "is an audit without shadow models" in refused("report", tmp_path / "run")
    command(*words, "--seed", "4", "--fresh")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").touch()
    assert "neither empty nor a run directory" in refused(*words, "--out", tmp_path / "other")


def test_what_audits_save_is_what_they_show(tmp_path: Path) -> None:
    arrays, _ = made(100)
    audit = tmi.audit_without_shadows(**arrays, name="<b>theirs</b>")
    page = audit.save(tmp_path / "audit").read_text(encoding="utf-8")
    assert "<b>theirs" not in page
    markdown = (tmp_path / "audit" / "report.md").read_text(encoding="utf-8")
    assert "| 10% |" in markdown
    assert "0.1% | –" in markdown
    assert str(audit) == audit.verdict
    assert "In plain words" not in audit._repr_html_()


def test_several_finetunings_tell_more_than_one() -> None:
    arrays, inside = made()
    random = np.random.default_rng(0)
    hidden = arrays.pop("target")
    heads = [(hidden @ random.normal(size=(8, 3))).astype(np.float32) for _ in range(3)]
    one = tmi.audit_without_shadows(heads[0], **arrays)
    all_three = tmi.audit_without_shadows(heads[0], **arrays, target_companions=heads[1:])
    below = [(audit.p_values <= 0.1)[inside].mean() for audit in (one, all_three)]
    assert below[1] > below[0] + 0.1
    with pytest.raises(TmiError, match="target 2: holds 299 points, expected 300 as in the first finetuning"):
        tmi.audit_without_shadows(heads[0], **arrays, target_companions=[heads[1][:-1]])


def test_another_view_is_another_audit() -> None:
    arrays, _ = made()
    audits = [tmi.audit_without_shadows(**arrays, view=view) for view in ("logits", "top-3")]
    assert audits[1].found.view == "top-3"
    assert (audits[0].scores != audits[1].scores).any()


def test_another_distribution_of_labels_is_pointed_out() -> None:
    arrays, _ = made()
    assert tmi.audit_without_shadows(**arrays).found.notes == []
    arrays["non_members"] = arrays["non_members"] & (arrays["pretraining_labels"] < 10)
    (note,) = tmi.audit_without_shadows(**arrays).found.notes
    assert note.level == "warning"
    assert "in other proportions" in note.text


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda a: {"target": a["target"][0, 0]}, "target: has type float32 and shape (8,), expected"),
        (lambda a: {"pretraining_labels": a["pretraining_labels"][1:]}, "has shape (299,), expected labels (300,)"),
        (lambda a: {"pretraining_labels": a["pretraining_labels"] + 0.5}, "expected labels that are whole numbers"),
        (lambda a: {"pretraining_labels": np.ones(300, int)}, "are all 1, expected at least two different"),
        (lambda a: {"pretraining_labels": np.arange(300)}, "differ at all 300 points"),
        (lambda a: {"non_members": a["non_members"][1:]}, "non-members: has shape (299,), expected bool (300,), true"),
        (lambda a: {"non_members": np.arange(300)}, "other values than 0 and 1"),
        (lambda a: {"non_members": np.ones(300)}, "all 300 points are known non-members, expected others"),
        (lambda a: {"non_members": np.zeros(300)}, "no point is a known non-member"),
        (lambda a: {"target": np.where(a["target"] == a["target"][3, 1, 2], np.nan, a["target"])}, "holds NaN"),
        (lambda a: {"target": np.where(a["target"] > 3, np.inf, a["target"])}, "NaN or infinite values"),
        (lambda a: {"target": np.full((300, 1, 4), 0.25)}, "probabilities, expected logits"),
        (lambda a: {"view": "top-9"}, "top-9"),
        (lambda a: {"fpr": 1.5}, "evaluation.accusation_rate"),
        (lambda a: {"resamples": 1}, "evaluation.resamples"),
    ],
)
def test_bad_arrays_are_refused_in_a_sentence(change: Callable[[Arrays], dict[str, Any]], sentence: str) -> None:
    arrays, _ = made()
    with pytest.raises(TmiError) as refusal:
        tmi.audit_without_shadows(**(arrays | change(arrays)))
    assert sentence in str(refusal.value)


def test_what_a_check_refuses_can_be_forced() -> None:
    arrays, _ = made(100)
    arrays["target"] = np.exp(arrays["target"]) / np.exp(arrays["target"]).sum(axis=-1, keepdims=True)
    (note,) = tmi.audit_without_shadows(**arrays, force=True).found.notes
    assert note.level == "refused"
    infinite, _ = made(100)
    infinite["target"][4] = np.inf
    assert np.isfinite(tmi.audit_without_shadows(**infinite, force=True).scores).all()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--target", "target.npy"], "belongs to saved predictions: --predictions is missing, or --pretraining-labels"),
        (["--non-members", "non_members.npy"], "--target is missing"),
        (["--target", "target.npy", "--non-members", "non_members.npy"], "--pretraining-labels is missing"),
        (["--shadows", "4"], "--shadows makes no sense without shadow models"),
        (["--attack", "gaussian"], "--attack makes no sense without shadow models"),
        (["digits"], "a preset makes no sense without shadow models"),
        (["--set", 'attack.names=["gaussian"]'], "attack.names is ['gaussian'], expected 'label-probe' alone"),
        (["--target", "no.npy"], "no.npy: there is no such file"),
        (["--non-members", "no.npy"], "no.npy: there is no such file"),
        (["--pretraining-labels", "target.npy"], "target.npy: has shape (40, 2, 8), expected labels (40,)"),
        (["--predictions", "target.npy"], "--non-members is for audits without shadow models"),
    ],
)
def test_commands_that_make_no_sense_are_refused(words: list[str], sentence: str, tmp_path: Path) -> None:
    usual = saved(made(40)[0], tmp_path)
    here = [tmp_path / word if word.endswith(".npy") else word for word in words]
    whole = ["attack", *here] if sentence.startswith(("belongs", "--target", "--pretraining")) else [*usual, *here]
    if "--target" in words and words[-1] == "no.npy":
        whole = [tmp_path / "no.npy" if word == tmp_path / "target.npy" else word for word in usual]
    assert sentence in refused(*whole)
    assert not (tmp_path / "runs").exists()
