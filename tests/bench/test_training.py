"""`tmi bench train`: both loops train what they say, and the command says how fast that was."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from rich.console import Console
from torch import Tensor, nn

from tmi.bench import training
from tmi.bench.querying import bench_querying
from tmi.bench.rivals import TokenizedTexts, WithLoss
from tmi.bench.table import training_table
from tmi.bench.training import Load, Speed, bench_training, made_up, tokens_in
from tmi.cli import tmi as cli
from tmi.config import load_config
from tmi.data.tokens import PADDING
from tmi.errors import TmiError
from tmi.shadows.networks import token_targets
from tmi.shadows.networks.language import NO_TARGET
from tmi.shadows.training.data import Masking
from tmi.shadows.training.recipe import mean_loss
from tmi.system.executor import InProcess
from tmi.system.files import read_json
from tmi.system.progress import Silent

SMALL = {"models": 1, "points": 16, "epochs": 1}
TINY_TEXT = {"model.settings": {"hidden_size": 8, "num_hidden_layers": 1}, "encoder.vocabulary": 300}
BERT = {"model.architecture": "bert-mini", "pretrain.objective": "masked", "pretrain.mask_fraction": 0.5}


def load_of(preset: str, overrides: dict[str, Any] | None = None, **size: int) -> Load:
    config = load_config(preset, {"compute.workers": 1} | (overrides or {}), data=Path(), variants=[])
    return Load(config, **(SMALL | size))


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    """The command without loader processes, which take seconds to start."""
    monkeypatch.setattr(training, "bench_training", partial(bench_training, loader_workers=0))
    small = [f"--{name}={value}" for name, value in SMALL.items()]
    return CliRunner().invoke(cli, ["bench", "train", *arguments, *small, "--repeat=1", "--workers=1"])


@pytest.mark.parametrize(
    ("preset", "rival", "unit"),
    [
        ("cifar100-coarse-small", "plain PyTorch", "samples/s"),
        ("pydoc", "plain PyTorch", "samples/s"),
        ("wikipedia-dbpedia", "transformers Trainer", "tokens/s"),
    ],
)
def test_the_command_times_a_preset_without_its_data(
    preset: str, rival: str, unit: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    result = command(monkeypatch, preset, "--json=times.json")
    assert result.exit_code == 0, result.output
    written = read_json(tmp_path / "times.json") or {}
    (plain_loop, fast_loop), size = written["rounds"][0], {name: written[name] for name in SMALL}
    assert (written["preset"], written["device"], size) == (preset, "cpu", SMALL)
    assert (plain_loop["name"], fast_loop["name"], fast_loop["samples"]) == (rival, "tmi", 16)
    assert min(plain_loop["seconds"], fast_loop["seconds"]) > 0
    rows = result.stdout.splitlines()
    assert unit in result.stdout
    assert [row for row in rows if row.startswith(rival)], result.stdout
    assert re.search(r"^tmi .*\[[\d,]+-[\d,]+\].* h *$", result.stdout, re.MULTILINE), result.stdout
    assert "train_runtime" not in result.output, "the Trainer prints nothing"
    assert [path.name for path in tmp_path.iterdir()] == ["times.json"], "nothing else is left behind"


class Counted:
    """Networks that a benchmark builds: what they were trained on, and whether it changed them."""

    def __init__(self) -> None:
        self.samples = self.tokens = 0
        self.networks: list[tuple[nn.Module, dict[str, Tensor]]] = []

    def build(self, load: Load, seed: int) -> nn.Module:
        network = BUILD(load, seed)
        network.register_forward_pre_hook(self._count)
        before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
        self.networks.append((network, before))
        return network

    def _count(self, network: nn.Module, arguments: tuple[Tensor]) -> None:
        assert network.training
        self.samples += len(arguments[0])
        self.tokens += int((arguments[0] != PADDING).sum())

    def all_changed(self) -> bool:
        """Whether every network has other weights in its first and in its last layer."""
        return all(
            not torch.equal(dict(network.named_parameters())[name], before[name])
            for network, before in self.networks
            for name in (next(iter(before)), "head.weight")
        )


BUILD = training._network


@pytest.mark.parametrize("overrides", [{}, BERT, {"pretrain.objective": "classification"}])
def test_both_loops_train_on_all_tokens(overrides: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    load = load_of("wikipedia-dbpedia", TINY_TEXT | overrides, models=2, points=50, epochs=2)
    tokens = tokens_in(load, made_up(load)[0])
    for loop, models in ((plain, 1), (fast, 2)):
        counted = Counted()
        monkeypatch.setattr(training, "_network", counted.build)
        speed = loop(load)
        assert speed.samples == counted.samples == models * 50 * 2
        assert speed.tokens == counted.tokens == models * tokens * 2
        assert len(counted.networks) == models
        assert counted.all_changed()


def test_both_loops_train_on_all_images(monkeypatch: pytest.MonkeyPatch) -> None:
    load = load_of("cifar100-coarse-small", {"model.channels": [4, 4]}, models=2, points=60, epochs=2)
    for loop, models in ((plain, 1), (fast, 2)):
        counted = Counted()
        monkeypatch.setattr(training, "_network", counted.build)
        speed = loop(load)
        assert (speed.samples, speed.tokens) == (counted.samples, 0) == (models * 60 * 2, 0)
        assert len(counted.networks) == models
        assert counted.all_changed()


def plain(load: Load) -> Speed:
    return training._plain(load, torch.device("cpu"), load.epochs, loader_workers=0)


def fast(load: Load) -> Speed:
    return training._fast(InProcess(Silent()), load, load.epochs)


def test_made_up_texts_are_half_as_long_to_as_long_as_they_may_be() -> None:
    load = load_of("wikipedia-dbpedia", {"encoder.vocabulary": 300}, points=3000)
    ids, labels = made_up(load)
    lengths = (ids != PADDING).sum(dim=1)
    assert ids.shape == (3000, 64), "encoder.length is 96"
    assert (lengths.min(), lengths.max()) == (32, 64)
    assert ((ids == PADDING) == (torch.arange(64) >= lengths[:, None])).all(), "padding is at the end"
    assert (ids[ids != PADDING].min(), ids.max()) == (3, 299), "no special tokens"
    assert labels.shape == (3000,)
    short = replace(load, config=load_config("wikipedia-dbpedia", {"encoder.length": 7}, data=Path()))
    assert made_up(short)[0].shape == (3000, 7)
    assert (made_up(short)[0] != PADDING).sum(dim=1).min() == 4


def test_both_loops_have_the_same_loss() -> None:
    """The Trainer's labels are shifted in the network, ours before."""
    load = load_of("wikipedia-dbpedia", TINY_TEXT | {"pretrain.label_smoothing": 0.1})
    ids, _ = made_up(load)
    network = BUILD(load, 0)
    item = torch.utils.data.default_collate(
        list(map(TokenizedTexts(ids, token_targets(ids, "masked"), None).__getitem__, range(16)))
    )
    theirs = WithLoss(network, predicts_next=True, label_smoothing=0.1)(**item)
    ours = mean_loss(network(ids), token_targets(ids, "causal"), load.config.pretrain)
    assert (item["input_ids"] >= 0).all(), "padding has an id as well"
    torch.testing.assert_close(theirs["loss"], ours)
    assert theirs["logits"].shape == (16, 64, 300)


def test_the_trainers_texts_are_masked_anew_and_only_there_have_labels() -> None:
    load = load_of("wikipedia-dbpedia", points=100)
    ids, _ = made_up(load)
    texts = TokenizedTexts(ids, token_targets(ids, "masked"), Masking(2, 0.3))
    first, again = ([texts[index] for index in range(len(texts))] for _ in range(2))
    hidden = torch.stack([item["input_ids"] == 2 for item in first])
    labels = torch.stack([item["labels"] for item in first])
    assert torch.equal(labels, ids.masked_fill(~hidden, NO_TARGET))
    assert 0.25 < hidden.sum() / (ids != PADDING).sum() < 0.35
    assert not (hidden & (ids == PADDING)).any()
    assert any(not torch.equal(one["labels"], other["labels"]) for one, other in zip(first, again, strict=True))


def test_the_whole_pretraining_is_counted_in_samples() -> None:
    """32 models x 60 epochs x 200 texts at 10 and 40 texts a second; the tokens are only shown."""
    load = load_of("wikipedia-dbpedia")
    rounds = [(Speed("transformers Trainer", 100, 10.0, 4800), Speed("tmi", 400, 10.0, 19200))]
    console = Console(width=140, record=True, file=StringIO())
    console.print(training_table(load, rounds))
    text = console.export_text()
    header, trainer, ours = text.splitlines()
    assert "tokens/s" in header
    assert "32 models x 60 epochs x 200 texts of 48 tokens" in header
    assert "480 [480-480]" in trainer
    assert trainer.rstrip().endswith("10.67 h")
    assert "1,920 [1,920-1,920]" in ours
    assert "4.00 [4.00-4.00]" in ours
    assert ours.rstrip().endswith("2.67 h")


def test_the_library_warns_of_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        plain(load_of("wikipedia-dbpedia", TINY_TEXT))
    assert not [str(warning.message) for warning in caught]
    assert capfd.readouterr() == ("", "")


def test_a_given_model_is_refused() -> None:
    given = {"pool.non_members": "jsonl:others.jsonl", "model.checkpoint": "there", "attack.names": ["known-points"]}
    with pytest.raises(TmiError, match=r"pool\.non_members is set: a given model is attacked"):
        bench_training(load_of("wikipedia-dbpedia", given), 1, Silent(), loader_workers=0)


def test_accelerate_that_is_missing_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.utils.is_accelerate_available", lambda: False)
    with pytest.raises(TmiError, match="pip install transformers accelerate"):
        plain(load_of("wikipedia-dbpedia", TINY_TEXT))


def test_models_that_write_are_timed_as_they_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    load = load_of("pydoc-writer", TINY_TEXT, points=6)
    ((plain, fast),) = bench_querying(load, 1)
    assert plain.tokens == fast.tokens == tokens_in(load, made_up(load)[0])
    result = command(monkeypatch, "pydoc-writer")
    assert result.exit_code == 0, result.output
    assert re.search(r"queries: [\d,]+ tokens/s, .* times as many as one text at a time", result.output)
