"""Models that write, through the same path as the command line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from made.corpora import FINETUNING, PRETRAINING, WORDS, write_corpora
from tmi.attacks.registry import attack_named
from tmi.attacks.scoring import score
from tmi.cli import tmi as cli
from tmi.config import Config, load_config
from tmi.errors import TmiError
from tmi.metrics.bootstrap import Bootstrap
from tmi.metrics.roc import judge
from tmi.predictions.views import View
from tmi.report.results import Results
from tmi.runs.adversaries import with_attacks
from tmi.runs.directory import RunDirectory
from tmi.runs.pipeline import run_attack
from tmi.runs.run import Run
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
        [model]
        kind = "transformers"
        architecture = "gpt2-mini"
        settings = {hidden_size = 16, num_attention_heads = 2}
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
    result = CliRunner().invoke(cli, ["plan", "run.toml"])
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
