"""Models that learn to write responses to prompts, through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from made.commands import refused, tmi
from made.corpora import FINETUNING, MODEL, PRETRAINING, WORDS, write_corpora
from tmi.config import load_config
from tmi.runs.directory import RunDirectory
from tmi.runs.run import Run
from tmi.shadows.experiment import on_this_machine


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Texts to pretrain on, questions with answers to finetune on, and a tiny language model."""
    monkeypatch.chdir(tmp_path)
    write_corpora(tmp_path, {"pool": (WORDS, 20)})
    random = np.random.default_rng(1)
    pairs = [
        {"question": " ".join(random.choice(WORDS, 4)), "answer": " ".join(random.choice(WORDS[6:], 3))}
        for _ in range(16)
    ]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    (tmp_path / "run.toml").write_text(
        """
        name = "pairs"
        models = 4
        [pool]
        source = "jsonl:pool.jsonl"
        [downstream]
        source = "jsonl:pairs.jsonl"
        inputs = "question"
        response = "answer"
        [encoder]
        kind = "tokens"
        length = 64
        vocabulary = 300
        [attack]
        names = ["loss", "min-k"]
        [evaluation]
        resamples = 100
        """
        + MODEL
        + PRETRAINING
        + FINETUNING
    )
    return tmp_path


ATTACK = ("attack", "run.toml", "--workers", "1", "--out", "out")


def test_perplexity_is_that_of_the_answers(folder: Path) -> None:
    tmi(*ATTACK)
    run = Run(on_this_machine(load_config(folder / "run.toml")), RunDirectory(folder / "out"))
    model, tokenizer, texts = run.maker.finetuned_network(1), run.experiment.tokenizer, run.task.downstream
    assert tokenizer is not None
    assert texts.prompts is not None
    losses = []
    for point in sorted({*range(16)} - {*run.experiment.finetuning_set(1).tolist()}):
        text, prompt = texts.raw[point], texts.prompts[point]
        assert text[:prompt].count("\n") == 1
        ids = torch.from_numpy(tokenizer.encode([text], 64))
        ids = ids[ids >= 0]
        # The line break ends the prompt, and no token goes over it.
        begin = int((tokenizer.encode([text[:prompt]], 64) >= 0).sum())
        with torch.no_grad():
            losses.append(functional.cross_entropy(model(ids[None])[0, begin - 1 : -1], ids[begin:], reduction="none"))
    facts = run.directory.facts(run.maker.finetuned(1))
    assert facts["test_perplexity"] == pytest.approx(float(torch.cat(losses).mean().exp()), rel=1e-4)


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("finetune.objective=classification", "models learn to write with finetune.objective 'causal'"),
        ("downstream.chunk_words=2", "but downstream.chunk_words 2: prompt and response are read as they are"),
        ("downstream.words_only=true", "but downstream.words_only True: prompt and response are read as they are"),
        ("downstream.response=reply", "pairs.jsonl, line 1: expected an object with a string 'reply'"),
    ],
)
def test_what_does_not_fit_is_said(folder: Path, option: str, sentence: str) -> None:
    assert sentence in refused(*ATTACK, "--set", option)


def test_a_response_behind_the_end_of_its_text_is_named(folder: Path) -> None:
    sentence = refused(*ATTACK, "--set", "encoder.length=8", "--set", "encoder.truncate=true")
    assert "has no token of its response among its first 8" in sentence


def test_models_are_finetuned_anew_for_other_answers(folder: Path) -> None:
    config = load_config(folder / "run.toml")
    whole = config.model_copy(update={"downstream": config.downstream.model_copy(update={"response": None})})
    keys = [Run(on_this_machine(each), RunDirectory(folder / "out")).keys for each in (config, whole)]
    assert [keys[0][step] == keys[1][step] for step in ("membership", "pretrain", "finetune")] == [True, False, False]
