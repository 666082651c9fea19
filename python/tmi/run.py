"""One run: its configuration, its directory, and what its stages share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tmi.adversary import Adversary, all_adversaries, by_view
from tmi.augmentations import make_queries
from tmi.config import Config
from tmi.encoders import encode
from tmi.membership import draw_finetuning_set
from tmi.rundir import RunDirectory, content_key
from tmi.task import Task, load_task

# The stages that leave artefacts, in their order, with a number that is raised when a change of the code changes
# what the stage computes. It is part of the key of the stage and of every later one.
STAGE_VERSIONS = {"membership": 1, "pretrain": 1, "finetune": 1, "query": 1, "score": 1}


@dataclass(frozen=True)
class Run:
    """A configuration and the directory of its files; cheap to send to a worker process."""

    config: Config
    directory: RunDirectory

    @property
    def task(self) -> Task:
        """The pool, challenge points and downstream task, loaded once per process."""
        return _cached_task(self.config.model_dump_json())

    @property
    def keys(self) -> dict[str, str]:
        """The artefact key of every stage."""
        return _cached_keys(self.config.model_dump_json())

    def query_files(self, model: int) -> list[Path]:
        """What the query stage writes about a model."""
        files = [self.directory.predictions(model), self.directory.pretrained_predictions(model)]
        return [*files, self.directory.reference_predictions(model)] if self.config.query.reference_points else files

    def check(self) -> None:
        """Find out whether the configuration fits its data, before anything is written.

        Raises:
            TmiError: it does not.
        """
        for adversary in by_view(self.config).values():
            adversary.view.require_classes(len(self.task.downstream.class_names))
        challenges = self.task.challenges.take(np.arange(1))
        queries = make_queries(challenges, self.config.query, self.config.seed)
        encode(queries[:, 0], challenges.kind, self.config.encoder)

    def score_key(self, attack: str, adversary: Adversary) -> str:
        """The artefact key of the scores of an adversary's attack."""
        return content_key(self.keys["score"], attack, adversary.view.name, adversary.shadows)

    @property
    def score_files(self) -> dict[Path, str]:
        """All files of scores with their artefact keys."""
        return {
            self.directory.scores(attack, adversary.folder): self.score_key(attack, adversary)
            for adversary in all_adversaries(self.config)
            for attack in self.config.attack.names
        }

    def finetuning_set(self, model: int) -> NDArray[np.int64]:
        """The downstream points that a model is finetuned on, ascending; half of them unless configured otherwise."""
        points = len(self.task.downstream)
        size = self.config.downstream.points_per_model or points // 2
        return draw_finetuning_set(self.config.seed, model, points, size)


@lru_cache(maxsize=2)
def _cached_task(config_json: str) -> Task:
    return load_task(Config.model_validate_json(config_json))


@lru_cache(maxsize=2)
def _cached_keys(config_json: str) -> dict[str, str]:
    """Every key covers the configuration that its stage reads and, through the key before it, all earlier stages."""
    config = Config.model_validate_json(config_json)
    task = _cached_task(config_json)
    compute = {"device": config.compute.device, "models_at_once": config.compute.models_at_once}
    inputs = {
        "membership": [config.seed, config.models, config.pool.model_dump(), task.pool.fingerprint],
        "pretrain": [
            config.encoder.model_dump(),
            config.model.model_dump(),
            config.pretrain.model_dump(),
            compute,
        ],
        "finetune": [
            config.downstream.model_dump(),
            config.finetune.model_dump(),
            task.downstream.fingerprint,
        ],
        "query": [config.query.model_dump()],
        "score": [config.targets],
    }
    keys: dict[str, str] = {}
    key = ""
    for stage, version in STAGE_VERSIONS.items():
        key = keys[stage] = content_key(stage, version, inputs[stage], key)
    return keys
