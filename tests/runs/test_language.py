"""Language models through the same path as the command line, and given models."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from made.corpora import WORDS
from tmi.cli import tmi as cli
from tmi.config import Config, load_config
from tmi.errors import TmiError
from tmi.predictions.tokens import NO_TOKEN
from tmi.report.results import Results
from tmi.report.sections.summary import verdict
from tmi.runs.directory import RunDirectory
from tmi.runs.pipeline import run_attack
from tmi.runs.run import Run
from tmi.shadows.experiment import on_this_machine
from tmi.system.files import file_hash


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts without labels to pretrain on, others with labels, and a configuration of a tiny language model."""
    folder = tmp_path_factory.mktemp("language")
    random = np.random.default_rng(0)

    def text(words: list[str]) -> str:
        return " ".join(random.choice(words, 9))

    (folder / "pool.jsonl").write_text("\n".join(json.dumps({"text": text(WORDS)}) for _ in range(40)))
    tasks = [json.dumps({"text": text(WORDS[3 * label :]), "label": str(label)}) for label in (0, 1) for _ in range(30)]
    (folder / "tasks.jsonl").write_text("\n".join(tasks))
    (folder / "run.toml").write_text(
        """
        name = "language"
        models = 3
        [pool]
        source = "jsonl:pool.jsonl"
        [downstream]
        source = "jsonl:tasks.jsonl"
        points_per_model = 30
        [encoder]
        kind = "tokens"
        vocabulary = 300
        length = 40
        [model]
        kind = "transformers"
        architecture = "gpt2-mini"
        settings = { n_layer = 1, n_embd = 16, n_head = 2 }
        [pretrain]
        objective = "causal"
        learning_rate = 0.01
        epochs = 4
        batch_size = 10
        [finetune]
        learning_rate = 0.01
        epochs = 2
        batch_size = 10
        [query]
        augmentation = "word-dropout"
        count = 2
        strength = 0.2
        [attack]
        names = ["gaussian", "direct"]
        [evaluation]
        resamples = 100
        [compute]
        workers = 1
        """
    )
    return folder


def load(folder: Path, **changes: object) -> Config:
    return load_config(str(folder / "run.toml"), {key.replace("__", "."): value for key, value in changes.items()})


@pytest.fixture(scope="module")
def finished(folder: Path) -> Path:
    run_attack(load(folder, variants={"lora": {"finetune": {"transfer": "lora", "lora_rank": 2}}}), folder / "run")
    return folder / "run"


def test_a_causal_model_is_pretrained_finetuned_and_attacked(finished: Path) -> None:
    results = json.loads((finished / "results.json").read_text())
    assert results["data"]["pool"]["objective"] == "causal"
    assert list(results["variants"]["rows"]) == ["language", "lora"]
    assert np.load(finished / "predictions" / "000.npy").shape == (40, 2, 2)
    likelihoods = np.load(finished / "pretrained_predictions" / "000.npy")
    assert likelihoods.shape == (40, 2, 2)
    assert (likelihoods[..., 0] < 0).all()
    assert (likelihoods[..., 1] == 0).all()
    assert "causal language models" in (finished / "report.html").read_text()


@pytest.mark.parametrize(
    "changes",
    [
        {"model__architecture": "bert-mini", "model__settings": {}, "pretrain__objective": "masked"},
        {
            "query__augmentation": "word-masking",
            "finetune__private": {"noise_multiplier": 1.0},
            "finetune__transfer": "last-1",
        },
    ],
    ids=["masked", "private"],
)
def test_other_ways_to_train(folder: Path, tmp_path: Path, changes: dict[str, object]) -> None:
    results = run_attack(load(folder, **{"attack__names": ["direct"], "pretrain__epochs": 1} | changes), tmp_path)
    assert np.isfinite(results["attacks"]["direct"]["auc"]["estimate"])


def test_the_same_run_gives_the_same_scores(folder: Path, finished: Path, tmp_path: Path) -> None:
    run_attack(load(folder), tmp_path)
    for name in ("gaussian", "direct"):
        assert file_hash(tmp_path / "scores" / f"{name}.npy") == file_hash(finished / "scores" / f"{name}.npy")


def given(folder: Path, checkpoint: Path) -> Path:
    """A configuration that attacks an exported checkpoint."""
    text = (folder / "run.toml").read_text()
    start, end = text.index("[pretrain]"), text.index("[finetune]")
    text = text[:start] + text[end:]
    text = text[: text.index("[attack]")] + text[text.index("[evaluation]") :]
    text = text.replace(
        '"jsonl:pool.jsonl"', f'"npz:{checkpoint}/members.npz"\nnon_members = "npz:{checkpoint}/non_members.npz"'
    )
    text = text.replace('architecture = "gpt2-mini"', f'checkpoint = "{checkpoint}"')
    text = text.replace("settings = { n_layer = 1, n_embd = 16, n_head = 2 }", "")
    text = text.replace("vocabulary = 300", f'tokenizer = "{checkpoint}"')
    (folder / "given.toml").write_text(text)
    return folder / "given.toml"


def test_an_exported_model_is_attacked_as_a_given_one(folder: Path, finished: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    exported = CliRunner().invoke(cli, ["export", str(finished), str(checkpoint), "--model", "1"])
    assert exported.exit_code == 0, exported.output
    sides = [np.load(checkpoint / f"{name}.npz")["inputs"] for name in ("members", "non_members")]
    assert [len(side) for side in sides] == [20, 20]

    config = given(folder, checkpoint)
    results = run_attack(load_config(str(config)), tmp_path / "run")
    assert list(results["attacks"]) == ["known-points", "inputs-and-answers", "inputs-alone"]
    assert results["comparisons"]["against"] == "inputs-and-answers"
    assert results["models"]["given"] == str(checkpoint)
    assert np.load(tmp_path / "run" / "scores" / "known-points.npy").shape == (1, 40)
    assert not (tmp_path / "run" / "pretrained").exists()
    page = (tmp_path / "run" / "report.html").read_text()
    assert "from the points alone" in page
    assert "(non-members)" in page
    # Its head is not written.
    with pytest.raises(TmiError, match="has no head that predicts the next token"):
        run_attack(load_config(str(config), {"finetune.objective": "causal"}), tmp_path / "writes")


def relabel(file: Path) -> None:
    """Give the points of an export two labels, by their first words."""
    inputs = np.load(file)["inputs"]
    labels = np.array(["early" if text < "letter" else "late" for text in inputs])
    np.savez(file, inputs=inputs, labels=labels)


def test_labels_of_known_points_are_probed(folder: Path, finished: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    assert CliRunner().invoke(cli, ["export", str(finished), str(checkpoint)]).exit_code == 0
    config = given(folder, checkpoint)
    # Labels of one side alone are none.
    relabel(checkpoint / "members.npz")
    with pytest.raises(TmiError, match="has 'label-probe', which needs pretraining labels"):
        run_attack(load_config(str(config), {"attack.names": ["label-probe"]}), tmp_path / "run")
    relabel(checkpoint / "non_members.npz")
    results = run_attack(load_config(str(config), {"models": 4}), tmp_path / "run")
    assert list(results["attacks"]) == ["known-points", "inputs-and-answers", "inputs-alone", "label-probe"]
    assert results["comparisons"]["against"] == "inputs-and-answers"
    assert {attack["epsilon"] for attack in results["attacks"].values()} == {None}
    labels = np.load(tmp_path / "run" / "pretraining_labels.npy")
    points = np.concatenate([np.load(checkpoint / f"{name}.npz")["labels"] for name in ("members", "non_members")])
    assert sorted(np.bincount(labels)) == sorted(np.unique(points, return_counts=True)[1])
    # What one attack finds by itself may be a difference of the points.
    alone = run_attack(load_config(str(config), {"models": 4, "attack.names": ["label-probe"]}), tmp_path / "run")
    assert verdict(Results.of(alone)).startswith("No verdict: label-probe has AUC")
    with pytest.raises(TmiError, match="'label-probe-shadows', which needs shadow models"):
        run_attack(load_config(str(config), {"models": 4, "attack.names": ["label-probe-shadows"]}), tmp_path / "run")


def test_members_that_are_non_members_are_refused(folder: Path, finished: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    assert CliRunner().invoke(cli, ["export", str(finished), str(checkpoint)]).exit_code == 0
    config = given(folder, checkpoint)
    text = config.read_text().replace("non_members.npz", "members.npz")
    config.write_text(text)
    with pytest.raises(
        TmiError, match=r"have 20 points in common \(points 0, 1, .* and 10 more of non_members.*, expected none"
    ):
        run_attack(load_config(str(config)), tmp_path / "run")


def test_an_export_overwrites_nothing(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    refused = CliRunner().invoke(cli, ["export", str(finished), str(tmp_path)])
    assert isinstance(refused.exception, TmiError)
    assert "is not empty" in str(refused.exception)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"encoder__length": 8}, "encoder.length"),
        ({"pretrain__objective": "masked"}, "masked"),
        ({"pretrain__objective": "classification"}, "the single class 'unlabelled'"),
        ({"model__kind": "mlp", "model__architecture": None, "model__settings": {}}, "does not read"),
        ({"encoder__tokenizer": "no/such/tokenizer.json"}, "no/such/tokenizer.json"),
    ],
)
def test_what_does_not_fit_is_named(
    folder: Path, tmp_path: Path, changes: dict[str, object], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(TmiError) as error:
        run_attack(load(folder, **changes), tmp_path / "run")
    assert sentence in str(error.value)
    assert not (tmp_path / "run").exists()


def test_models_that_write_and_the_tokens_that_give_texts_away(folder: Path, tmp_path: Path) -> None:
    views = {"attack__views": ["tokens", "top-2", "loss"], "attack__names": ["tmi", "lira-online", "loss", "zlib"]}
    config = load(folder, finetune__objective="causal", **views)
    run_attack(config, tmp_path, show_points=True)
    page = (tmp_path / "report.html").read_text()
    assert "the 2 largest probabilities, with the tokens" in page
    assert "texts to write" in page
    assert "Downstream, test: perplexity" in page
    assert "at the class that the target itself holds most likely" not in page

    run = Run(on_this_machine(config), RunDirectory(tmp_path))
    point = Results.load(tmp_path / "results.json").points.most_exposed[0].point
    place = np.load(tmp_path / "challenge_points.npy").tolist().index(point)
    shown = re.findall(r"<blockquote>(.*?)</blockquote>", page)[0]
    assert re.sub("<[^>]*>", "", shown) == run.task.pool.raw[point]
    members = np.load(tmp_path / "membership.npy")[:, place]
    answers = np.stack([np.load(tmp_path / "predictions" / f"{model:03d}.npy")[place, 0] for model in range(3)])
    there = answers["rank"][0] != NO_TOKEN
    moved = answers["log_odds"].astype(float)[:, there]
    expected = moved[members].mean(axis=0) - moved[~members].mean(axis=0)
    titles = [float(title) for title in re.findall('title="([^"]*)"', shown)]
    np.testing.assert_allclose(titles, expected, atol=0.006)
