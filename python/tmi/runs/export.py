"""A pretrained model of a run as a checkpoint that others can read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tmi.errors import TmiError
from tmi.runs.run import Run
from tmi.shadows.makers.own_networks import OwnNetworks
from tmi.shadows.networks import export_checkpoint
from tmi.system.files import atomic


def export_pretrained(run: Run, model: int, directory: Path) -> None:
    """Write a pretrained backbone in the format of the transformers library, and what is known about its data.

    Args:
        run: whose pretrained models are finished.
        model: which of them.
        directory: made if it is missing. Beside the model it gets ``tokenizer.json`` for text, and ``members.npz`` and
            ``non_members.npz`` with the challenge points that were and were not in the model's pretraining set.

    Raises:
        TmiError: there is no such model, it is none of the transformers library, or the directory holds something.
    """
    if model >= run.config.models:
        raise TmiError(f"--model is {model}, expected 0 to {run.config.models - 1}: the run has so many models")
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise TmiError(f"{directory}: exists and is not empty; expected a directory that can be made")
    if not isinstance(run.maker, OwnNetworks):
        raise TmiError(f"{run.directory.root}: its models are of the functions of recipe, which alone can read them")
    export_checkpoint(run.maker.pretrained_network(model), directory)
    if (tokenizer := run.experiment.tokenizer) is not None:
        tokenizer.save(directory / "tokenizer.json")
    members = np.asarray(run.directory.load_array(run.directory.membership))[model]
    challenges = run.task.challenges
    for name, side in (("members", members), ("non_members", ~members)):
        points = challenges.take(np.flatnonzero(side))
        inputs = points.raw.astype(str) if points.kind == "text" else points.raw
        with atomic(directory / f"{name}.npz") as file:
            np.savez(file, inputs=inputs, labels=points.labels, class_names=np.array(points.class_names))
