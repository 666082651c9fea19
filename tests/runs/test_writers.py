"""Models that write, through the same path as the command line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.special import log_expit

import tmi
from made.corpora import FINETUNING, MODEL, PRETRAINING, WORDS, write_corpora
from tmi.attacks.registry import attack_named
from tmi.attacks.scoring import score
from tmi.cli import tmi as cli
from tmi.config import Config, load_config
from tmi.errors import TmiError
from tmi.metrics.bootstrap import Bootstrap
from tmi.metrics.roc import judge
from tmi.predictions.tokens import tokens_there
from tmi.predictions.views import View
from tmi.report.results import Results
from tmi.runs.adversaries import with_attacks
from tmi.runs.directory import RunDirectory
from tmi.runs.pipeline import run_attack
from tmi.runs.run import Run
from tmi.runs.saved import audit_of
from tmi.shadows.experiment import on_this_machine


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts to pretrain on, others to finetune on, neither with labels, and a tiny language model."""
    folder = tmp_path_factory.mktemp("writers")
    write_corpora(folder, {"pool": (WORDS, 40), "corpus": (WORDS[4:], 30)})
    (folder / "run.toml").write_text(
        """
        name = "writers"
        models = 4
        [pool]
        source = "jsonl:pool.jsonl"
        challenge_points = 30
        [downstream]
        source = "jsonl:corpus.jsonl"
        drop_shared = true
        [encoder]
        kind = "tokens"
        length = 64
        vocabulary = 300
        [query]
        augmentation = "word-dropout"
        count = 2
        strength = 0.2
        [attack]
        views = ["tokens", "top-5", "loss", "text"]
        shadows = [2]
        [evaluation]
        resamples = 100
        [variants.lora.finetune]
        transfer = "lora"
        """
        + MODEL
        + PRETRAINING
        + FINETUNING
    )
    return folder


@pytest.fixture
def in_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    return folder


def configured(folder: Path, **changes: object) -> Config:
    return load_config(folder / "run.toml", changes)


@pytest.fixture(scope="module")
def results(folder: Path) -> Results:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = CliRunner().invoke(cli, ["attack", "run.toml", "--out", "out", "--workers", "1"])
    assert result.exit_code == 0, result.output
    return Results.load(folder / "out" / "results.json")


def test_a_run_says_what_writers_leak(results: Results) -> None:
    assert results.view == "tokens"
    assert {"tmi", "conditional", "gaussian", "loss", "zlib", "min-k", "min-k++", "lira-online", "direct"} <= {
        *results.attacks
    }
    assert "confidence" not in results.attacks
    assert results.attacks["lira-online"].looks_at == "text"
    assert results.attacks["tmi"].looks_at is None
    assert results.views is not None
    assert list(results.views) == ["tokens", "top-5", "loss", "text"]
    assert "min-k" in results.views["tokens"]
    assert "min-k" not in results.views["loss"]
    assert results.data.downstream is not None
    assert results.data.downstream.objective == "causal"
    perplexity = results.models.downstream_test_perplexity
    assert perplexity is not None
    assert 1 < perplexity.min <= perplexity.max < 300
    assert results.variants is not None
    assert results.variants.rows["lora"].downstream_test_perplexity is not None


def test_a_plan_knows_of_texts(in_folder: Path) -> None:
    result = CliRunner().invoke(cli, ["plan", "run.toml", "--attack", "tmi", "--attack", "loss"])
    assert result.exit_code == 0, result.output
    assert "attacks" in result.output


def test_answers_are_about_the_tokens_of_each_text(results: Results, folder: Path) -> None:
    answers = np.load(folder / "out" / "predictions" / "000.npy")
    assert answers.shape[:2] == (30, 2)
    assert answers.dtype.names == ("log_odds", "rank", "standardised")
    # Of the texts without their first token, which begins every text.
    lengths = (answers["rank"] != 65535).sum(axis=-1)
    assert lengths.max() == answers.shape[2]
    assert (lengths[:, 1] <= lengths[:, 0]).all()


def test_the_report_speaks_of_texts(results: Results, folder: Path) -> None:
    markdown = (folder / "out" / "report.md").read_text()
    assert "perplexity" in markdown
    assert "near chance" not in markdown


@pytest.fixture(scope="module")
def saved(results: Results, folder: Path) -> Path:
    """The answers of the run, their membership and their texts in a file each."""
    out, saved = folder / "out", folder / "saved"
    saved.mkdir()
    answers = [np.load(out / "predictions" / f"{model:03d}.npy") for model in range(results.models.count)]
    np.save(saved / "predictions.npy", np.stack(answers))
    np.save(saved / "membership.npy", np.load(out / "membership.npy"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        texts = Run(configured(folder), RunDirectory(out)).task.challenges.raw
    (saved / "texts.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
    return saved


def test_answers_that_a_run_has_saved_are_attacked_as_in_the_run(results: Results, folder: Path, saved: Path) -> None:
    out, audit = folder / "out", str(saved / "out")
    files = ["--predictions", out, "--pretrained-predictions", out / "pretrained_predictions"]
    files += ["--texts", saved / "texts.jsonl", "--out", audit, "--workers", "1"]
    options = ["--view", "tokens,top-5,loss,text", "--shadows", "2", "--set", "evaluation.resamples=100"]
    result = CliRunner().invoke(cli, ["attack", *map(str, files), *options])
    assert result.exit_code == 0, result.output
    found = Results.load(saved / "out" / "results.json")
    assert [*found.attacks] == [*results.attacks]
    scores = sorted(path.relative_to(out) for path in (out / "scores").rglob("*.npy"))
    assert {path.parts[1] for path in scores} == {"tokens", "top-5", "loss", "text"}
    for path in scores:
        np.testing.assert_array_equal(np.load(saved / "out" / path), np.load(out / path), err_msg=str(path))
    assert found.attacks["lira-online"].looks_at == "text"
    assert "what models say about every token" in (saved / "out" / "report.html").read_text()


def test_arrays_of_answers_are_attacked_as_in_the_run(results: Results, folder: Path, saved: Path) -> None:
    answers, membership = (np.load(saved / f"{name}.npy") for name in ("predictions", "membership"))
    texts = [json.loads(line)["text"] for line in (saved / "texts.jsonl").read_text().splitlines()]
    audit = tmi.audit(answers, membership, answers[0], texts=texts, resamples=100)
    assert [*audit.scores] == [name for name in results.attacks if name != "direct"]
    # The others learn from the points that nobody challenges, which are not among these.
    for name in ("gaussian", "lira-online", "zlib", "min-k++"):
        of_run = np.load(folder / "out" / "scores" / "tokens" / f"{name}.npy")
        np.testing.assert_array_equal(audit.scores[name], of_run, err_msg=name)
    assert "min-k" in audit.target_scores
    with pytest.raises(TmiError, match="the attack 'loss' needs no shadow models, but the log-probability of every"):
        tmi.audit(answers, membership, attacks=["loss"], view="top-5")


def test_saved_answers_without_their_texts(saved: Path, tmp_path: Path) -> None:
    files = {name: str(saved / f"{name}.npy") for name in ("predictions", "membership")}
    config = audit_of(files, {}, tmp_path / "out").config
    assert config.attack.views == ["tokens"]
    assert "min-k" in config.attack.names
    assert "zlib" not in config.attack.names
    assert "min-k" not in audit_of(files, {"attack.views": ["loss"]}, tmp_path / "out").config.attack.names
    labels = str(tmp_path / "labels.npy")
    np.save(labels, np.arange(30) % 2)
    np.save(tmp_path / "texts.npy", np.array(["a text"] * 29))
    words = [word for name, file in files.items() for word in (f"--{name}", file)]
    for options, message in (
        (["--attack", "zlib"], "the attack 'zlib' needs the texts themselves: --texts"),
        (["--attack", "min-k", "--view", "loss"], "the attack 'min-k' needs models that write, and 'tokens' as the"),
        (["--labels", labels], "which have no classes"),
        (["--pretraining-labels", labels], "which have no classes"),
        (["--view", "label"], "no view 'label' of answers about the tokens of texts"),
        (["--texts", str(tmp_path / "texts.npy")], "has shape (29,), expected (30,) strings, a text per point"),
    ):
        result = CliRunner().invoke(cli, ["attack", *words, *options, "--out", str(tmp_path / "out")])
        assert isinstance(result.exception, TmiError)
        assert message in str(result.exception)


def test_plain_log_probabilities_are_attacked(saved: Path, tmp_path: Path) -> None:
    records, membership = (np.load(saved / f"{name}.npy") for name in ("predictions", "membership"))
    log_p = np.where(tokens_there(records), log_expit(records["log_odds"].astype(np.float32)), np.float32(np.nan))
    np.save(tmp_path / "p.npy", log_p)
    np.save(tmp_path / "target.npy", log_p[0])
    files = ["--predictions", tmp_path / "p.npy", "--membership", saved / "membership.npy", "--meaning", "tokens"]
    words = [*map(str, files), "--out", str(tmp_path / "out"), "--workers", "1", "--set", "evaluation.resamples=100"]
    result = CliRunner().invoke(
        cli, ["attack", *words, "--target", str(tmp_path / "target.npy"), "--view", "tokens,loss"]
    )
    assert result.exit_code == 0, result.output
    found = Results.load(tmp_path / "out" / "results.json")
    assert {"tmi", "gaussian", "loss", "min-k"} <= {*found.attacks}
    assert "min-k++" not in found.attacks
    assert found.target is not None
    audit = tmi.audit(log_p, membership, meaning="tokens", attacks=["min-k", "gaussian"], resamples=100)
    whole = tmi.audit(records, membership, attacks=["min-k", "gaussian"], resamples=100)
    for name in ("min-k", "gaussian"):
        np.testing.assert_array_equal(
            np.load(tmp_path / "out" / "scores" / "tokens" / f"{name}.npy"), audit.scores[name]
        )
        np.testing.assert_allclose(audit.scores[name], whole.scores[name], rtol=0.02, atol=0.02)
    for options, message in (
        (["--attack", "min-k++"], "'min-k++' needs to know how likely all other tokens are in the place of each"),
        (
            ["--view", "tokens,top-5"],
            "the view 'top-5' shows which tokens are the likeliest, which log-probabilities do",
        ),
        (["--view", "text"], "the view 'text' shows which tokens are the likeliest"),
    ):
        result = CliRunner().invoke(cli, ["attack", *words, *options, "--fresh"])
        assert isinstance(result.exception, TmiError)
        assert message in str(result.exception)
    with pytest.raises(TmiError, match="view 'top-5' shows which"):
        tmi.audit(log_p, membership, meaning="tokens", view="top-5")
    with pytest.raises(TmiError, match="view 'top-5' shows which"):
        tmi.audit(records, membership, log_p[0], meaning="tokens", view="top-5")


def test_saved_answers_are_converted_and_checked(saved: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["convert", str(saved), "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "predictions.npy").read_bytes() == (saved / "predictions.npy").read_bytes()
    result = CliRunner().invoke(cli, ["check", str(tmp_path)])
    assert "4 models, 30 points, 2 queries per point, up to" in result.output
    assert "the same number for all models" in result.output


@pytest.mark.slow
def test_membership_by_coin_flips_is_no_leak(results: Results, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    run = Run(on_this_machine(configured(folder)), RunDirectory(folder / "out"))
    answers, models, random = run.answers(1 << 30, View("tokens")), run.config.models, np.random.default_rng(0)
    aucs: dict[str, list[float]] = {name: [] for name in results.attacks if name != "tmi-pointwise"}
    for _ in range(20):
        # As it is drawn, but of no model that was asked.
        flipped = replace(answers, membership=random.random(answers.membership.shape) < 0.5, reference=None)
        for name, found in aucs.items():
            scores = score(attack_named(name), flipped, range(models))
            found.append(judge(scores, flipped.membership, [0.1], Bootstrap(10, 0.95, 0)).auc.estimate)
    for name, found in aucs.items():
        error = np.std(found, ddof=1) / np.sqrt(len(found))
        assert abs(np.mean(found) - 0.5) < 4 * error, name
        assert error < 0.03, name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pretrain.objective": "classification"}, "pretrain.objective is 'classification'"),
        ({"attack.views": ["label"]}, "no view 'label' of answers about the tokens of texts"),
        ({"attack.names": ["label-probe"]}, "label-probe"),
        (
            {"attack.names": ["tmi", "loss"], "attack.views": ["top-5", "tokens"]},
            "'loss', which needs .* 'tokens' as the first of attack.views",
        ),
        (
            {"attack.names": ["loss"], "attack.views": ["tokens", "top-5"]},
            "attack.views has 'top-5', of which no attack of loss makes anything",
        ),
    ],
)
def test_what_does_not_fit_is_said(in_folder: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(TmiError, match=message):
        run_attack(configured(in_folder, **changes), in_folder / "never")
    assert not (in_folder / "never" / "pretrained").exists()


def test_models_of_classes_have_no_tokens(in_folder: Path) -> None:
    changes = {"finetune.objective": "classification", "attack.names": ["min-k"], "attack.views": ["logits"]}
    with pytest.raises(TmiError, match="'min-k', which needs models that write"):
        run_attack(configured(in_folder, **changes), in_folder / "never")


def test_attacks_that_need_every_token_are_no_default_without_them(in_folder: Path) -> None:
    assert "loss" in with_attacks(configured(in_folder)).attack.names
    names = with_attacks(configured(in_folder, **{"attack.views": ["top-5", "tokens"]})).attack.names
    assert "lira-online" in names
    assert not {"loss", "zlib", "min-k", "min-k++"} & {*names}
