"""Stage 4: ask every model about every challenge point."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from tmi.augmentations import make_queries
from tmi.encoders import encode
from tmi.models import Classifier
from tmi.run import Run
from tmi.saved import load_finetuned, load_pretrained
from tmi.stages.groups import run_groups
from tmi.training.measure import logits_of, on_one_thread
from tmi.workers import Workers


def run_stage(run: Run, workers: Workers) -> None:
    """Write ``predictions/`` and ``pretrained_predictions/`` for all models that have no current ones."""
    run_groups(
        run,
        workers,
        "query",
        query_group,
        lambda model: [run.directory.predictions(model), run.directory.pretrained_predictions(model)],
    )


@on_one_thread
def query_group(run: Run, models: range) -> None:
    """Write the logits of a group of finetuned models, and those of their pretrained bases for the upper bound."""
    config, challenges, key = run.config, run.task.challenges, run.keys["query"]
    queries = make_queries(challenges, config.query, config.seed)
    points, augmentations = queries.shape[:2]
    flat = encode(queries.reshape(points * augmentations, *queries.shape[2:]), challenges.kind, config.encoder)
    inputs = torch.from_numpy(flat).to(torch.device(config.compute.device))

    def answers(classifier: Classifier) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = logits_of(classifier, inputs).float().cpu().numpy()
        return logits.reshape(points, augmentations, -1)

    for model in models:
        run.directory.save_array(run.directory.predictions(model), answers(load_finetuned(run, model)), key)
        run.directory.save_array(run.directory.pretrained_predictions(model), answers(load_pretrained(run, model)), key)
