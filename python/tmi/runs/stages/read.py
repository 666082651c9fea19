"""The first stage of an audit of saved predictions: their membership, where all later stages look for it."""

from __future__ import annotations

import numpy as np

from tmi.runs.saved import SavedPredictions, read_arrays
from tmi.system.executor import Executor


def run_stage(case: SavedPredictions, executor: Executor) -> None:
    """Write ``membership.npy`` and ``challenge_points.npy``; the answers themselves stay where they are."""
    arrays, directory, key = read_arrays(case.config.files), case.directory, case.answers_key
    for sentence in arrays.read_as:
        executor.progress.note(sentence)
    contents = {directory.membership: arrays.membership, directory.challenge_points: np.arange(case.points)}
    for path, array in contents.items():
        if not directory.is_current(path, key):
            directory.save_array(path, array, key)
