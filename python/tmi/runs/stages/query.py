"""Stage 4: ask every model about every challenge point, and about the reference points if there are any."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tmi.data.points import Points
from tmi.runs.run import Run
from tmi.runs.stages import own_recipe
from tmi.runs.stages.groups import run_groups
from tmi.runs.weights import load_finetuned, load_pretrained
from tmi.shadows.networks import Classifier, Likelihoods
from tmi.shadows.training.measure import logits_of
from tmi.system.devices import on_one_thread, own_device
from tmi.system.executor import Workers


def run_stage(run: Run, workers: Workers) -> None:
    """Write the predictions of all models that have no current ones."""
    if run.config.recipe is not None:
        own_recipe.query(run, workers)
        return
    run_groups(run, workers, "query", query_group, run.query_files)


@on_one_thread
def query_group(run: Run, models: range) -> None:
    """Write the logits of a group of finetuned models, and those of their pretrained bases for the upper bound."""
    directory, key = run.directory, run.keys["query"]
    challenges, references = _all_queries(run)
    for model in models:
        finetuned = load_finetuned(run, model)
        directory.save_array(directory.predictions(model), challenges.put_to(finetuned), key)
        if references is not None:
            directory.save_array(directory.reference_predictions(model), references.put_to(finetuned), key)
        pretrained = directory.pretrained_predictions(model)
        if not run.config.given and not directory.is_current(pretrained, run.pretrained_query_key):
            base = as_queried(run, load_pretrained(run, model))
            directory.save_array(pretrained, challenges.put_to(base), run.pretrained_query_key)


def as_queried(run: Run, pretrained: Classifier) -> nn.Module:
    """A pretrained model under its own head, or for a language model its likelihoods."""
    if run.config.pretrain.objective == "classification":
        return pretrained
    return Likelihoods(pretrained, run.tokenizer and run.tokenizer.mask_id, run.config.pretrain.mask_fraction)


_made: dict[str, tuple[_Queries, _Queries | None]] = {}


def _all_queries(run: Run) -> tuple[_Queries, _Queries | None]:
    """About the challenge points and the reference points, made once per process for a run and its variants."""
    key = run.pretrained_query_key
    if key not in _made:
        _made.clear()
        references = _Queries(run, run.task.references, "reference queries") if len(run.task.references) else None
        _made[key] = _Queries(run, run.task.challenges, "queries"), references
    return _made[key]


class _Queries:
    """All queries about some points, encoded and on the device."""

    def __init__(self, run: Run, points: Points, purpose: str) -> None:
        encoded, self._shape = run.queries(points, purpose)
        self._inputs = torch.from_numpy(encoded).to(own_device(run.config.compute.device))

    def put_to(self, classifier: nn.Module) -> NDArray[np.float32]:
        """Logits ``[points, augmentations, classes]``."""
        logits: NDArray[np.float32] = logits_of(classifier, self._inputs).float().cpu().numpy()
        return logits.reshape(*self._shape, -1)
