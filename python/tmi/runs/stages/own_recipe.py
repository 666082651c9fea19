"""Stages 2 to 4 with the user's own functions: each model by itself, in directories of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tmi.config import RecipeConfig
from tmi.data.membership import draw_membership
from tmi.data.points import Points
from tmi.data.queries import make_queries
from tmi.errors import TmiError
from tmi.runs.run import Run
from tmi.runs.stages.outcome import measured
from tmi.shadows.makers.user_functions import call_query, call_training, require_unedited
from tmi.system.devices import own_device, training_processes
from tmi.system.executor import Workers
from tmi.system.files import content_key, sidecar, tree_hash, whole_tree, write_json
from tmi.system.seeding import torch_seed

Job = Callable[[Run, int], None]


def pretrain(run: Run, workers: Workers) -> None:
    """Write ``pretrained/NNN/`` of all models that have no current one."""
    _each_model(run, workers, "pretrain", pretrain_model, lambda model: {run.pretrained(model): run.keys["pretrain"]})


def finetune(run: Run, workers: Workers) -> None:
    """Write ``finetuned/NNN/`` of all models that have no current one."""
    _each_model(run, workers, "finetune", finetune_model, lambda model: {run.finetuned(model): run.keys["finetune"]})


def query(run: Run, workers: Workers) -> None:
    """Write the predictions of all models that have no current ones.

    Raises:
        TmiError: two models answer with different numbers of classes.
    """
    _each_model(run, workers, "query", query_model, run.query_files)
    for path in run.query_files(0):
        first = run.directory.load_array(path).shape
        for model in range(1, run.config.models):
            other = path.with_name(f"{model:03d}.npy")
            if (shape := run.directory.load_array(other).shape) != first:
                raise TmiError(
                    f"{run.directory.relative(other)} has shape {shape}, expected {first} as of model 0: all models "
                    "must answer with the same number of classes"
                )


def pretrain_model(run: Run, model: int) -> None:
    """Let the user's function pretrain a model on its half of the pool."""
    config, pool = run.config, run.task.pool
    members = np.flatnonzero(draw_membership(config.seed, config.models, len(pool))[model])
    seed = torch_seed(config.seed, "pretraining order", model)
    _train(run, "pretrain", model, run.pretrained(model), pool.take(members), seed)


def finetune_model(run: Run, model: int) -> None:
    """Let the user's function finetune a pretrained model on its finetuning set."""
    points = run.task.downstream.take(run.finetuning_set(model))
    seed = torch_seed(run.config.seed, "finetuning order", model)
    pretrained = run.pretrained(model)
    _train(run, "finetune", model, run.finetuned(model), points, seed, pretrained=pretrained)
    _require_untouched(run, "finetune", model, pretrained)


def query_model(run: Run, model: int) -> None:
    """Ask a finetuned model about the challenge points and its own task, and its pretrained base if that is wanted."""
    directory, key, task = run.directory, run.keys["query"], run.task
    classes = len(task.downstream.class_names)
    challenges, references = _all_queries(run)
    finetuned = run.finetuned(model)

    def answers(queries: NDArray[Any], role: str = "query") -> NDArray[np.float32]:
        of, expected = (finetuned, classes) if role == "query" else (run.pretrained(model), None)
        flat = queries.reshape(-1, *queries.shape[2:])
        logits = call_query(_recipe(run), role, model, flat, expected, of, _device(run))
        return logits.reshape(*queries.shape[:2], -1)

    facts = _accuracies(answers(task.downstream.raw[:, None]), task.downstream, run.finetuning_set(model))
    directory.save_array(directory.predictions(model), answers(challenges), key, facts)
    if references is not None:
        directory.save_array(directory.reference_predictions(model), answers(references), key)
    _require_untouched(run, "query", model, finetuned)
    path = directory.pretrained_predictions(model)
    if path in run.query_files(model) and not directory.is_current(path, run.pretrained_query_key):
        base = answers(challenges, "query_pretrained")
        facts = {}
        if base.shape[-1] == len(task.pool.class_names):
            members = draw_membership(run.config.seed, run.config.models, len(task.pool))[model]
            facts = _accuracies(answers(task.pool.raw[:, None], "query_pretrained"), task.pool, np.flatnonzero(members))
        directory.save_array(path, base, run.pretrained_query_key, facts)
        _require_untouched(run, "query_pretrained", model, run.pretrained(model))


def work_on(function: Job, run: Run, model: int, key: str, stage: str) -> None:
    """Call a stage's function for a model, if this process has the code that the run was begun with.

    Raises:
        TmiError: a file was edited before this process imported it.
    """
    if run.keys[stage] != key:
        raise TmiError("the file of a function of the recipe was edited while the run went on; run it again")
    function(run, model)


def _each_model(
    run: Run, workers: Workers, stage: str, function: Job, artefacts: Callable[[int], dict[Path, str]]
) -> None:
    """Call a stage's function for every model whose artefacts are missing, outdated or damaged.

    Unlike groups of the tool's own networks, which are trained as a whole, every model is a job of its own: what is
    finished is never made again.
    """
    require_unedited(_recipe(run))
    directory = run.directory
    missing = []
    for model in range(run.config.models):
        stale = {path: key for path, key in artefacts(model).items() if not directory.is_current(path, key)}
        if stale:
            missing.append(model)
        for path, key in stale.items():
            if directory.is_damaged(path, key):
                workers.progress.note(f"{directory.relative(path)} is damaged (its checksum is wrong): made anew")
    jobs = [(function, run, model, run.keys[stage], stage) for model in missing]
    processes = training_processes(run.config.compute.device, workers.processes)
    if processes == workers.processes:
        workers.map(run.label(stage), work_on, jobs, [1] * len(jobs))
    else:
        with Workers(processes, workers.progress) as crew:
            crew.map(run.label(stage), work_on, jobs, [1] * len(jobs))


def _train(run: Run, role: str, model: int, path: Path, points: Points, seed: int, **arguments: Any) -> None:
    """Write the directory of a model, and then its sidecar."""
    recipe = _recipe(run)
    with whole_tree(path, f"recipe.{role} {getattr(recipe, role)!r}, model {model}") as directory:
        facts = call_training(
            recipe,
            role,
            model,
            seed,
            # Copies, which the function may change.
            inputs=points.raw,
            labels=points.labels,
            directory=directory,
            device=_device(run),
            **arguments,
        )
    write_json(sidecar(path), {"key": run.keys[role], "sha256": tree_hash(path), "facts": facts})


def _accuracies(answers: NDArray[np.float32], points: Points, trained_on: NDArray[np.int64]) -> dict[str, Any]:
    """Facts about a model from its answers ``[points, 1, classes]`` to all points of a task."""
    seen = torch.zeros(len(points), dtype=torch.bool)
    seen[torch.from_numpy(trained_on)] = True
    return measured(nn.Identity(), torch.from_numpy(answers[:, 0]), torch.from_numpy(points.labels), seen)


def _require_untouched(run: Run, role: str, model: int, path: Path) -> None:
    """What later stages trust has the content that it was written with."""
    stage = "pretrain" if path == run.pretrained(model) else "finetune"
    if not run.directory.is_current(path, run.keys[stage]):
        raise TmiError(
            f"recipe.{role} {getattr(run.config.recipe, role)!r}, model {model}: the function changed "
            f"{run.directory.relative(path)}, which it is given to read"
        )


_made: dict[str, tuple[NDArray[Any], NDArray[Any] | None]] = {}


def _all_queries(run: Run) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Raw queries ``[points, augmentations, ...]`` about the challenge and reference points, made once per process."""
    config, task = run.config, run.task
    key = content_key(run.keys["membership"], config.query.model_dump())
    if key not in _made:
        _made.clear()
        references = None
        if len(task.references):
            references = make_queries(task.references, config.query, config.seed, "reference queries")
        _made[key] = make_queries(task.challenges, config.query, config.seed), references
    return _made[key]


def _recipe(run: Run) -> RecipeConfig:
    recipe = run.config.recipe
    assert recipe is not None
    return recipe


def _device(run: Run) -> str:
    return str(own_device(run.config.compute.device))
