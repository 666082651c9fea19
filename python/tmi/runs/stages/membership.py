"""Stage 1: draw the membership, unless it is known."""

from __future__ import annotations

from tmi.runs.run import Run
from tmi.system.executor import Executor


def run_stage(run: Run, executor: Executor) -> None:
    """Write what is known of the challenge and of the reference points, see `RunDirectory.drawn`."""
    task, directory, membership = run.task, run.directory, run.experiment.membership
    drawn = {
        directory.challenge_points: task.challenge_points,
        directory.membership: membership[:, task.challenge_points],
        directory.pretraining_labels: task.challenges.labels,
        directory.reference_membership: membership[:, task.reference_points],
        directory.reference_labels: task.references.labels,
    }
    for path, key in directory.stale(run.stage_files("membership"), executor.progress.note).items():
        directory.save_array(path, drawn[path], key)
