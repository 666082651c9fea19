"""The first stage of an audit of saved predictions: their membership, where all later stages look for it."""

from __future__ import annotations

import numpy as np

from tmi.runs.saved import SavedPredictions
from tmi.system.executor import Executor


def run_stage(subject: SavedPredictions, executor: Executor) -> None:
    """Write ``membership.npy`` and ``challenge_points.npy``; the answers themselves stay where they are."""
    arrays, directory = subject.arrays, subject.directory
    for sentence in arrays.read_as:
        executor.progress.note(sentence)
    if arrays.pretraining_labels is None:
        executor.progress.note("Labels that the points had in pretraining are not known (--pretraining-labels).")
    contents = {directory.membership: arrays.membership, directory.challenge_points: np.arange(subject.points)}
    for path, key in directory.stale(subject.stage_files("read"), executor.progress.note).items():
        directory.save_array(path, contents[path], key)
