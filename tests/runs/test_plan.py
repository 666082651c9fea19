"""What is tried before a run, and what it is said to take and to find."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from made.configs import TINY
from made.endpoint import TOKEN, Server, target
from made.user_functions import MEANS, configured, forget
from tmi.config import Config
from tmi.errors import TmiError
from tmi.runs import pipeline, trial
from tmi.runs.directory import RunDirectory
from tmi.runs.pipeline import run_attack
from tmi.runs.plan import _peak_memory, needs_of, smallest_auc
from tmi.runs.run import Run
from tmi.runs.trial import Piece, try_before_training, try_piece

Tiny = Callable[..., Config]


def run_of(config: Config, folder: Path) -> Run:
    run = pipeline.subject_of(config, folder)
    assert isinstance(run, Run)
    return run


def test_a_piece_for_functions_has_every_class_on_both_sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "means.py").write_text(MEANS)
    monkeypatch.chdir(tmp_path)
    forget(monkeypatch, "means")
    whole = run_of(configured(pool={"source": "sklearn:digits", "size": 100}), tmp_path / "run").experiment
    piece = Piece.of(whole, points=16, epochs=1, asked=2)
    pool, downstream = piece.task.pool, piece.task.downstream
    assert len(pool) == 2 * len(pool.class_names) == 20
    members = piece.membership[3]
    assert np.bincount(pool.labels[members]).tolist() == np.bincount(pool.labels[~members]).tolist() == [1] * 10
    assert set(downstream.labels[piece.finetuning_set(0)].tolist()) == set(range(5))
    assert set(pool.digests) <= set(whole.task.pool.digests)
    assert len(piece.task.challenge_points) == 2


def test_a_function_that_fails_late_is_found_before_any_model_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "means.py").write_text(MEANS.replace("features = flat(inputs)", "return np.zeros(3) + flat(inputs)"))
    monkeypatch.chdir(tmp_path)
    forget(monkeypatch, "means")
    with pytest.raises(TmiError, match=r"recipe\.query 'means\.query', .* \(means\.py, line \d+\)"):
        run_attack(configured(), tmp_path / "run")
    assert (tmp_path / "calls.txt").read_text().split() == ["pretrain", "finetune"]
    assert not (tmp_path / "run" / "pretrained").exists()


def test_a_network_that_fails_on_a_batch_is_found_before_any_model_is_made(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "narrow_network.py").write_text(
        "from torch import nn\n"
        "def network(input_shape, classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(63, 4), nn.ReLU(), nn.Linear(4, classes))\n"
    )
    monkeypatch.chdir(tmp_path)
    config = tiny(model__kind="python", model__architecture="narrow_network.network")
    with pytest.raises(TmiError, match=r"narrow_network.network|fails on a piece of the data: RuntimeError: "):
        run_attack(config, tmp_path / "run")
    assert not (tmp_path / "run" / "pretrained").exists()


def test_variants_and_private_finetuning_are_tried(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(tiny(variants={"all": {"finetune": {"transfer": "full", "private": {"epsilon": 8.0}}}}), tmp_path)
    made: list[str] = []
    for name in ("pretrain", "finetune", "query", "query_pretrained"):
        original = getattr(type(run.maker), name)

        def noted(maker: object, models: range, name: str = name, original: Callable[..., None] = original) -> None:
            made.append(name)
            original(maker, models)

        monkeypatch.setattr(type(run.maker), name, noted)
    try_piece(run, [run, *run.variants])
    assert made == ["pretrain", "query_pretrained", *["finetune", "query"] * 3]
    assert not list(tmp_path.iterdir())


def test_what_is_made_is_not_tried_again(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny(attack__names=["gaussian"])
    run_attack(config, tmp_path / "run")
    tried: list[str] = []
    monkeypatch.setattr(
        trial, "try_piece", lambda _, finetunings: tried.extend(run.directory.variant_name for run in finetunings)
    )
    try_before_training(run_of(config, tmp_path / "run"))
    assert tried == []
    more = tiny(attack__names=["gaussian"], variants={"slow": {"finetune": {"epochs": 4}}})
    try_before_training(run_of(more, tmp_path / "run"))
    assert tried == ["slow"]


def test_an_endpoint_is_asked_once_before_training_and_not_again_about_that_point(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", TOKEN)
    server = Server()
    try:
        server.answer = lambda number, _: (200, {}, json.dumps({"scores": [0.5, 1, 2, 3, number]}))
        asked = target(server).model_dump(exclude_none=True)
        config = tiny(attack__names=["gaussian"], query__count=1, query__reference_points=0, target=asked)
        run = run_of(config, tmp_path / "run")
        with pipeline.opened(run):
            try_before_training(run)
            try_before_training(run)
        assert len(server.asked) == 1
        run_attack(config, tmp_path / "run", force=True)
        assert len(server.asked) == 40
        server.answer = lambda *_: (401, {}, "who are you?")
        with pytest.raises(TmiError, match="status 401: who are you"):
            try_before_training(run_of(config, tmp_path / "other"))
    finally:
        server.close()
    with pytest.raises(TmiError, match="2 requests failed, the last with ConnectError"):
        try_before_training(run_of(config, tmp_path / "other"))
    assert not (tmp_path / "other" / "pretrained").exists()


def test_the_disk_that_a_run_takes_is_foretold(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny(attack__names=["gaussian", "direct"], variants={"all": {"finetune": {"transfer": "full"}}})
    run = run_of(config, tmp_path / "run")
    needs = needs_of(run, 1)
    run_attack(config, tmp_path / "run")
    kinds = ("*.safetensors", "predictions/*.npy", "pretrained_predictions/*.npy", "scores/*.npy")
    taken = sum(file.stat().st_size for kind in kinds for file in (tmp_path / "run").rglob(kind))
    assert 0.8 * taken < needs.disk < 1.2 * taken
    assert needs.seconds["pretraining"] > 0
    assert needs.seconds["attacks"] > 0
    assert needs.memory > 100 << 20


@pytest.mark.parametrize("models", [6, 40])
def test_the_smallest_auc_is_that_of_independent_scores(tiny: Tiny, tmp_path: Path, models: int) -> None:
    run = Run(tiny(models=models, evaluation__resamples=1000), RunDirectory(tmp_path))
    members = int(run.experiment.membership.sum())
    others = models * TINY["pool.size"] - members
    # The variance of the Mann-Whitney statistic; 1.96 and 0.84 are the quantiles for 95% and for four of five.
    expected = 2.8 * math.sqrt((members + others + 1) / (12 * members * others))
    # Few targets also make the width uncertain, for which the interval allows.
    assert 0.85 * expected < smallest_auc(run, 1) - 0.5 < (2.0 if models == 6 else 1.3) * expected


def test_more_models_may_be_finetuned_side_by_side_than_pretrained(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny(model__kind="cnn", model__channels=[4], compute__device="cpu")
    run = Run(config, RunDirectory(tmp_path / "run"))
    assert len(run.maker.groups("pretrain")) > len(run.maker.groups("finetune"))
    assert needs_of(run, 1).seconds["finetuning"] > 0


def test_operations_are_those_of_the_matrix_products(tiny: Tiny, tmp_path: Path) -> None:
    run = Run(tiny(query__reference_points=3, pool__challenge_points=30), RunDirectory(tmp_path / "run"))
    inputs, hidden, pool, task, classes = 64, 16, 40, 60, len(run.task.downstream.class_names)
    backbone, head, own = 2 * inputs * hidden, 2 * hidden * classes, 2 * hidden * 10
    epochs = run.config.pretrain.epochs, run.config.finetune.epochs
    # Back through the first layer there is no gradient of its input; accuracies are measured at the end.
    pretraining = (pool // 2) * epochs[0] * (2 * backbone + 3 * own) + pool * (backbone + own)
    # The frozen backbone answers once, and once more to be measured.
    finetuning = 30 * epochs[1] * 2 * head + 2 * task * (backbone + head)
    assert run.maker.operations("pretrain") == pretraining
    assert run.maker.operations("finetune") == finetuning
    assert run.maker.operations("query") == (30 + 3) * run.config.query.count * (backbone + head)
    assert run.maker.operations("query_pretrained") == 30 * run.config.query.count * (backbone + own)


def test_what_is_sent_to_a_machine_is_foretold(tiny: Tiny, tmp_path: Path) -> None:
    run = Run(tiny(query__reference_points=3, pool__challenge_points=30), RunDirectory(tmp_path / "run"))
    needs, experiment = needs_of(run, 1), run.experiment
    queries = [each for each in experiment.encoded_queries if each is not None]
    sent = (experiment.pool_inputs, experiment.downstream_inputs, experiment.membership, *queries)
    assert needs.data == sum(array.nbytes for array in sent)
    # What a process has for itself is what it has had less what it would be sent of it, labels and the like included.
    assert 0 < _peak_memory() - needs.memory < 2 * needs.data + (1 << 20)
    assert [stage.jobs for stage in needs.stages.values()] == [2, 2, 4]
    assert all(stage.wall == pytest.approx(stage.busy) for stage in needs.stages.values())
    assert all(stage.operations > 0 for stage in needs.stages.values())
