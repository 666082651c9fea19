"""Models that write and the texts of their pool that are longer than they read, through the command line."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from made.commands import refused, tmi
from made.corpora import FINETUNING, MODEL, PRETRAINING, WORDS, write_corpora
from tmi.config import load_config
from tmi.runs.directory import RunDirectory
from tmi.runs.plan import _data
from tmi.runs.run import Run
from tmi.shadows.experiment import on_this_machine

LENGTH, STRIDE = 24, 10
ATTACK = ("attack", "run.toml", "--workers", "1", "--out", "out", "--show-points")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_corpora(tmp_path, {"corpus": (WORDS, 20)})
    random = np.random.default_rng(1)
    long = [" ".join(random.choice(WORDS, random.integers(2, 30))) for _ in range(20)]
    (tmp_path / "pool.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in long))
    (tmp_path / "run.toml").write_text(
        f"""
        name = "windows"
        models = 3
        [pool]
        source = "jsonl:pool.jsonl"
        [downstream]
        source = "jsonl:corpus.jsonl"
        chunk_words = 5
        [encoder]
        kind = "tokens"
        length = {LENGTH}
        stride = {STRIDE}
        vocabulary = 300
        [attack]
        names = ["loss", "direct"]
        [evaluation]
        resamples = 100
        """
        + MODEL
        + PRETRAINING
        + FINETUNING
    )
    return tmp_path


def test_documents_are_learned_and_asked_about_as_a_whole(folder: Path) -> None:
    tmi(*ATTACK)
    run = Run(on_this_machine(load_config(folder / "run.toml")), RunDirectory(folder / "out"))
    tokenizer = run.experiment.tokenizer
    assert tokenizer is not None
    texts = [torch.from_numpy(tokenizer.encode([text], None))[0] for text in run.task.pool.raw]
    tokens = np.array([len(text) for text in texts])
    assert (tokens.min() < LENGTH) & (tokens.max() > LENGTH + STRIDE)

    # Every member in consecutive windows.
    model, members = run.maker.pretrained_network(1), run.membership[1]
    windows = [(part, member) for text, member in zip(texts, members, strict=True) for part in text.split(LENGTH)]
    losses: dict[bool, list[torch.Tensor]] = {True: [], False: []}
    for part, member in windows:
        with torch.no_grad():
            losses[bool(member)].append(functional.cross_entropy(model(part[None])[0, :-1], part[1:], reduction="none"))
    facts = run.directory.facts(run.maker.pretrained(1))
    for side, member in (("train", True), ("test", False)):
        assert facts[f"{side}_perplexity"] == pytest.approx(float(torch.cat(losses[member]).mean().exp()), rel=1e-4)
    assert run.maker.samples("pretrain") == 2 * sum(math.ceil(each / LENGTH) for each in tokens[run.membership[0]])
    assert run.maker.operations("pretrain") > 0
    # Of queries there are more windows.
    encoder = run.config.encoder.model_copy(update={"stride": 1})
    other = Run(on_this_machine(run.config.model_copy(update={"encoder": encoder})), run.directory)
    numbers = [sum(1 + max(0, math.ceil((each - LENGTH) / stride)) for each in tokens) for stride in (STRIDE, 1)]
    operations = [each.maker.operations("query") for each in (run, other)]
    assert operations[1] / operations[0] == pytest.approx(numbers[1] / numbers[0])
    # What workers are sent is as wide as the longest text.
    assert _data(run) > 2 * 8 * len(tokens) * tokens.max()

    # All tokens of every text, in overlapping ones.
    answers = np.load(folder / "out" / "predictions" / "001.npy")
    asked = run.task.challenge_points
    assert answers.shape == (len(asked), 1, tokens[asked].max() - 1)
    assert ((answers["rank"] != 65535).sum(axis=2)[:, 0] == tokens[asked] - 1).all()
    point = int(tokens[asked].argmax())
    longest = texts[asked[point]]
    start = next(start for start in range(0, 999, STRIDE) if len(longest) - 1 < start + LENGTH)
    with torch.no_grad():
        logits = run.maker.finetuned_network(1)(longest[None, start:-1])[0, -1]
    log_p = logits.double().log_softmax(dim=-1)[longest[-1]]
    odds = float(log_p - torch.log1p(-log_p.exp()))
    assert answers["log_odds"][point, 0, -1] == pytest.approx(odds, rel=2e-3, abs=2e-3)
    # The report shades it to its end.
    (exhibit,) = run.exhibits([int(asked[point])])
    assert exhibit.tokens[-1][0] == len(exhibit.content)


def test_texts_to_finetune_on_and_texts_without_windows_are_refused_by_name(folder: Path) -> None:
    assert "cut the texts with chunk_words" in refused(
        *ATTACK, "--set", "downstream.chunk_words=11", "--set", "encoder.length=11"
    )
    run = (folder / "run.toml").read_text()
    (folder / "run.toml").write_text(run.replace(f"stride = {STRIDE}", ""))
    assert "encoder.stride if they are the pool's and models write" in refused(*ATTACK)


def test_models_are_asked_anew_in_other_windows(folder: Path) -> None:
    config = load_config(folder / "run.toml")
    keys = []
    for stride in (STRIDE, 5, None):
        encoder = config.encoder.model_copy(update={"stride": stride})
        run = Run(on_this_machine(config.model_copy(update={"encoder": encoder})), RunDirectory(folder))
        keys.append(run.maker.keys)
    for step in ("pretrain", "finetune"):
        assert len({each[step] for each in keys}) == 1
    for step in ("query", "query_pretrained"):
        assert len({each[step] for each in keys}) == 3
