"""Stage 1: draw the membership, unless it is known."""

from __future__ import annotations

from tmi.runs.run import Run
from tmi.system.executor import Executor


def run_stage(run: Run, executor: Executor) -> None:
    """Write ``membership.npy`` (of the challenge points) and ``challenge_points.npy``."""
    key = run.keys["membership"]
    challenge_points = run.task.challenge_points
    for path, array in (
        (run.directory.challenge_points, challenge_points),
        (run.directory.membership, run.experiment.membership[:, challenge_points]),
    ):
        if not run.directory.is_current(path, key):
            run.directory.save_array(path, array, key)
