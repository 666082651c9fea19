"""The keys of artefacts: hashes of everything that they are made from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tmi.config import Config
from tmi.shadows.experiment import Experiment
from tmi.system.files import content_key, file_hash

# The stages that leave artefacts, in their order, with a number that is raised when a change of the code changes
# what the stage computes. It is part of the key of the stage and of every later one.
STAGE_VERSIONS = {"membership": 1, "pretrain": 1, "finetune": 1, "query": 1, "score": 1}


def artefact_keys(experiment: Experiment, of_maker: Callable[[Config, str], list[Any]]) -> dict[str, str]:
    """The key of every stage, and under ``query_pretrained`` that of the predictions of the pretrained models.

    Each covers the configuration that its stage reads and, through the key before it, all earlier stages. ``of_maker``
    is `ShadowMaker.key_inputs`: what the models of a step are made from besides.

    No model depends on how many there are. The number is part of the first key nevertheless, the one that a run was
    begun with: what was made of it stays current when the run is given more models.
    """
    config, task, tokenizer = experiment.config, experiment.task, experiment.tokenizer
    compute = {"device": config.compute.device, "models_at_once": config.compute.models_at_once}
    # The content of a given checkpoint, if it is a directory; a model of the hub goes by its name.
    weights = sorted(Path(config.model.checkpoint).glob("*.safetensors")) if config.model.checkpoint else []
    # Nothing where models tell classes apart, as all did in earlier versions.
    writes = [] if config.finetune.objective == "classification" else [config.finetune.objective]
    windows = [] if config.encoder.stride is None else [config.encoder.stride]
    inputs = {
        "membership": [
            config.seed,
            config.grown_from or config.models,
            config.pool.model_dump(exclude={"id"}),
            task.pool.fingerprint,
        ],
        "pretrain": [
            config.encoder.model_dump(exclude={"stride"}),
            config.model.model_dump(),
            config.pretrain.model_dump(),
            compute,
            tokenizer and tokenizer.fingerprint,
            [file_hash(path) for path in weights],
            *of_maker(config, "pretrain"),
        ],
        "finetune": [
            # What is left out is told by the points themselves, and earlier runs have keys without it.
            config.downstream.model_dump(exclude={"drop_shared", "response"}),
            config.finetune.model_dump(exclude={"objective"}),
            task.downstream.fingerprint,
            *writes,
            *of_maker(config, "finetune"),
        ],
        "query": [config.query.model_dump(), *windows, *of_maker(config, "query")],
        # With the same targets, attacks have more shadow models.
        "score": [config.targets, *([config.models] if config.grown_from else [])],
    }
    keys: dict[str, str] = {}
    key = ""
    for stage, version in STAGE_VERSIONS.items():
        key = keys[stage] = content_key(stage, version, inputs[stage], key)
    # No finetuning changes these, so that all variants share them.
    asked = [config.query.model_dump(), *writes, *windows, *of_maker(config, "query_pretrained")]
    return keys | {"query_pretrained": content_key("pretrained query", keys["pretrain"], *asked)}
