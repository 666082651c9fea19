"""Runs that attack a model that writes and was not made here: behind an endpoint, saved, and as a given base."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from made.corpora import FINETUNING, PRETRAINING, WORDS, write_corpora
from made.endpoint import Server
from made.prompts import Writer
from tmi.config import Config, load_config
from tmi.data.tokens import train_tokenizer
from tmi.errors import TmiError
from tmi.predictions.tokens import NO_TOKEN, TOKEN
from tmi.report.results import Results
from tmi.runs.pipeline import run_attack
from tmi.shadows.experiment import Experiment

CONFIGURATION = """
name = "shadows"
models = 4
[pool]
source = "jsonl:pool.jsonl"
challenge_points = 20
[downstream]
source = "jsonl:corpus.jsonl"
drop_shared = true
[encoder]
kind = "tokens"
tokenizer = "theirs"
length = 64
[model]
kind = "transformers"
architecture = "gpt2-mini"
settings = { n_layer = 1, n_embd = 16, n_head = 2 }
[query]
augmentation = "word-dropout"
count = 2
strength = 0.2
reference_points = 5
[attack]
names = ["gaussian", "loss", "min-k", "min-k++"]
[evaluation]
resamples = 100
[compute]
workers = 1
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("targets")
    write_corpora(folder, {"pool": (WORDS, 40), "others": (WORDS[:8], 40), "corpus": (WORDS[4:], 30)})
    (folder / "run.toml").write_text(CONFIGURATION + PRETRAINING + FINETUNING)
    return folder


@pytest.fixture(scope="module")
def writer(made: Path) -> Writer:
    return Writer(made / "theirs", [" ".join(WORDS)] * 3)


@pytest.fixture
def folder(made: Path, writer: Writer, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(made)
    return made


@pytest.fixture
def url(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("NO_PROXY", "*")
    server = Server()
    server.answer = writer.complete
    yield server.url
    server.close()


def with_endpoint(url: str, **changes: Any) -> Config:
    body = '{"prompt": ${inputs}, "echo": true, "max_tokens": 1, "logprobs": 5}'
    target = {"kind": "http", "url": url, "body": body, "batch_size": 8, "meaning": "tokens", "per_second": 1e6}
    return load_config("run.toml", {"target": target} | changes)


def test_a_model_that_writes_is_attacked_behind_an_endpoint_and_saved(folder: Path, url: str) -> None:
    config = with_endpoint(url, **{"attack.views": ["tokens", "top-5", "text"]})
    # Its weights are random, those of the shadows are trained.
    with pytest.raises(TmiError, match=r"target: its log-odds spread .* times as far as those of the nearest shadow"):
        run_attack(config, folder / "run")
    results = run_attack(config, folder / "run", force=True)
    # What an endpoint does not tell nobody is told about it; of the shadows it is known.
    assert list(results["target"]["attacks"]) == ["gaussian", "loss", "min-k"]
    assert "min-k++" in results["attacks"]
    target = np.load(folder / "run" / "target" / "predictions.npy")
    shadow = np.load(folder / "run" / "predictions" / "000.npy")
    assert target.dtype == shadow.dtype == TOKEN
    assert target.shape == shadow.shape
    np.testing.assert_array_equal(target["rank"] == NO_TOKEN, shadow["rank"] == NO_TOKEN)
    assert np.load(folder / "run" / "target" / "reference_predictions.npy").shape[0] == 5
    loaded = Results.load(folder / "run" / "results.json")
    assert loaded.target is not None
    assert loaded.target.points == 20

    saved = load_config("run.toml", {"target": {"kind": "checkpoint", "path": "theirs"}})
    results = run_attack(saved, folder / "run", force=True)
    assert list(results["target"]["attacks"]) == ["gaussian", "loss", "min-k", "min-k++"]
    whole = np.load(folder / "run" / "target" / "predictions.npy")
    np.testing.assert_allclose(whole["log_odds"].astype(float), target["log_odds"].astype(float), rtol=2e-2, atol=1e-2)


def test_other_tokens_of_a_saved_model_are_found_out_before_anything_is_trained(folder: Path) -> None:
    train_tokenizer(["xylophone"] * 3, 300).save(folder / "tokenizer.json")
    target = {"kind": "checkpoint", "path": "theirs"}
    config = load_config("run.toml", {"target": target, "encoder.tokenizer": ".", "encoder.length": 99})
    with pytest.raises(TmiError, match=r"target.path .*: its tokenizer makes other tokens of"):
        run_attack(config, folder / "other")
    assert not (folder / "other").exists()


def test_views_that_an_endpoint_cannot_be_seen_in_are_refused(folder: Path, url: str) -> None:
    for view in ("top-6", "text"):
        config = with_endpoint(url, **{"attack.views": [view]})
        fewer = config.model_copy(
            update={"target": config.target.model_copy(update={"body": str(config.target.body).replace("5}", "0}")})}  # type: ignore[union-attr]
        )
        with pytest.raises(TmiError, match=f"attack.views has '{view}', for which the target would have to tell"):
            run_attack(config if view == "top-6" else fewer, folder / "seen")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"meaning": "logits", "scores": "*.x"}, "target.meaning is 'logits', but finetune.objective is 'causal'"),
        ({"body": '{"prompt": ${input}}', "batch_size": 1}, "target.body asks for no log-probabilities"),
        ({"scores": "*.x"}, "target.scores is given, which does not belong to target.meaning 'tokens'"),
    ],
)
def test_a_target_that_does_not_fit_is_named(folder: Path, changes: dict[str, Any], sentence: str) -> None:
    body = '{"prompt": ${inputs}, "echo": true, "logprobs": 5}'
    target = {"kind": "http", "url": "http://127.0.0.1:1/v1", "body": body, "batch_size": 8, "meaning": "tokens"}
    with pytest.raises(TmiError, match=sentence):
        load_config("run.toml", {"target": target | changes})


@pytest.mark.parametrize("side", ["pool", "corpus"])
def test_texts_of_which_nothing_is_to_be_predicted_are_refused(folder: Path, side: str) -> None:
    """With a tokenizer that begins no text with a token of its own, as that of GPT-2."""
    (folder / "short.jsonl").write_text((folder / f"{side}.jsonl").read_text() + '\n{"text": "a"}')
    key = "pool" if side == "pool" else "downstream"
    plain = json.loads((folder / "theirs" / "tokenizer.json").read_text()) | {"post_processor": None}
    (folder / "plain.json").write_text(json.dumps(plain))
    config = load_config("run.toml", {f"{key}.source": "jsonl:short.jsonl", "encoder.tokenizer": "plain.json"})
    with pytest.raises(TmiError, match=r"\('a'\) has a single token, which leaves nothing to predict \(1 of"):
        run_attack(config, folder / "short")


def given(**changes: Any) -> Config:
    text = CONFIGURATION[: CONFIGURATION.index("[attack]")] + FINETUNING
    text = text.replace('architecture = "gpt2-mini"\nsettings = { n_layer = 1, n_embd = 16, n_head = 2 }', "")
    Path("given.toml").write_text(text.replace("reference_points = 5", ""))
    known = {"pool.non_members": "jsonl:others.jsonl", "pool.challenge_points": 80, "model.checkpoint": "theirs"}
    return load_config("given.toml", known | {"evaluation.resamples": 100, "compute.workers": 1} | changes)


def test_a_given_base_is_finetuned_with_its_own_head(folder: Path, writer: Writer) -> None:
    assert given().pretrain.objective == "causal"
    results = run_attack(given(**{"finetune.learning_rate": 1e-12}), folder / "given")
    free = ["loss", "zlib", "min-k", "min-k++"]
    assert list(results["attacks"]) == ["known-points", "inputs-and-answers", "inputs-alone", *free]
    assert results["comparisons"]["against"] == "inputs-and-answers"
    # Hardly finetuned, it says what the saved model says.
    found = np.load(folder / "given" / "predictions" / "000.npy")[3, 0]
    ids, log_p = writer.log_p(Experiment(given()).task.challenges.raw[3])
    own = log_p[np.arange(len(log_p)), ids[1:]]
    odds = own - np.log(-np.expm1(own))
    assert (found["rank"] != NO_TOKEN).sum() == len(odds)
    np.testing.assert_allclose(found["log_odds"][: len(odds)].astype(float), odds, rtol=1e-2, atol=1e-2)


def test_a_given_base_is_asked_about_long_texts_in_windows(folder: Path, writer: Writer) -> None:
    length, stride = 8, 3
    windows = {"encoder.length": length, "encoder.stride": stride, "downstream.chunk_words": 2}
    config = given(**windows, **{"finetune.learning_rate": 1e-12, "attack.names": ["loss", "min-k"]})
    run_attack(config, folder / "long")
    texts = Experiment(config).task.challenges.raw
    point = int(np.argmax([len(text) for text in texts]))
    found, ids = np.load(folder / "long" / "predictions" / "000.npy")[point, 0], writer.log_p(texts[point])[0]
    assert len(ids) > length + stride
    assert (found["rank"] != NO_TOKEN).sum() == len(ids) - 1
    for place in range(1, len(ids)):
        start = next(start for start in range(0, len(ids), stride) if place < start + length)
        log_p = writer.expected(ids[start:place])
        own = log_p[ids[place]]
        odds = own - np.log(-np.expm1(own))
        np.testing.assert_allclose(float(found["log_odds"][place - 1]), odds, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"encoder.stride": 64}, "encoder.stride is 64, expected less than encoder.length, 64"),
        (
            {"encoder.stride": 8, "encoder.truncate": True},
            "encoder.truncate cuts the texts that encoder.stride has read",
        ),
        (
            {"encoder.stride": 8, "finetune.objective": "classification"},
            "encoder.stride is 8, which is for models that",
        ),
    ],
)
def test_windows_that_do_not_fit_are_said(folder: Path, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(TmiError) as error:
        given(**changes)
    assert sentence in str(error.value)


def test_a_variation_that_is_too_long_is_not_cut(folder: Path) -> None:
    # Its lower case is a letter and a dot above, more bytes than the capital has.
    (folder / "shouting.jsonl").write_text("\n".join(json.dumps({"text": f"İİİ{n}"}) for n in range(100, 180)))
    asked = {"pool.source": "jsonl:shouting.jsonl", "query.augmentation": "lower-case", "query.strength": 0.0}
    with pytest.raises(
        TmiError, match=r"of the queries, 2 about each text one after another, point \d+ .* has \d+ tokens"
    ):
        run_attack(given(**asked, **{"encoder.length": 12, "downstream.chunk_words": 2}), folder / "never")
    assert not (folder / "never" / "finetuned").exists()


def test_a_tokenizer_of_ones_own_is_none_for_a_given_base(folder: Path) -> None:
    with pytest.raises(TmiError, match=r"encoder.tokenizer is 'downstream', but a given model that writes has"):
        given(**{"encoder.tokenizer": "downstream"})


def test_a_base_whose_head_is_not_kept_is_refused(folder: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel, GPT2Model, PhiConfig, PhiForCausalLM

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    phi = PhiForCausalLM(PhiConfig(vocab_size=300, max_position_embeddings=64, **sizes))
    phi.lm_head.bias.data[5] = 40
    phi.save_pretrained(folder / "phi")
    with pytest.raises(TmiError, match="to predict tokens is more than a matrix, which is not kept"):
        run_attack(given(**{"model.checkpoint": "phi"}), folder / "refused-head")
    untied = GPT2Config(vocab_size=300, n_embd=16, n_layer=1, n_head=2, n_positions=64, tie_word_embeddings=False)
    GPT2Model(untied).save_pretrained(folder / "headless")
    with pytest.raises(TmiError, match="has no head that predicts the next token"):
        run_attack(given(**{"model.checkpoint": "headless"}), folder / "refused-head")
    GPT2LMHeadModel(untied).save_pretrained(folder / "other-tokens")
    train_tokenizer(["xylophone"] * 3, 300).save(folder / "other-tokens" / "tokenizer.json")
    with pytest.raises(TmiError, match=r"model.checkpoint .*: its tokenizer makes other tokens of"):
        run_attack(given(**{"model.checkpoint": "other-tokens"}), folder / "refused-head")
