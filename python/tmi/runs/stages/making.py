"""What stages 2 to 4 have in common: what is missing of the models is made by the run's maker."""

from __future__ import annotations

from pathlib import Path

from tmi.runs.run import Run
from tmi.shadows.makers.maker import Step, make
from tmi.system.executor import Executor, Job
from tmi.system.files import sidecar


def make_missing(run: Run, executor: Executor, *steps: Step) -> None:
    """Make every group in which a model's artefacts are missing, outdated or damaged."""
    maker, directory = run.maker, run.directory
    jobs, samples = [], 0
    for step in steps:
        for models in maker.groups(step):
            files = {path: key for model in models for path, key in maker.writes(step, model).items()}
            if directory.stale(files, executor.progress.note):
                unfinished = maker.unfinished(step, models)
                needed = [path for model in models for path in maker.reads(step, model)]
                reads, writes = _with_sidecars(needed + unfinished), _with_sidecars([*files, *unfinished])
                jobs.append(Job((step, models), len(models), reads, writes))
                samples += maker.samples(step) * len(models)
    for step in {job.arguments[0] for job in jobs}:
        maker.prepare(step)
    noted = executor.map("train", run.label(steps[0]), make, maker, jobs, samples)
    for note in sorted({note for notes in noted for note in notes}):
        executor.progress.note(note)


def _with_sidecars(paths: list[Path]) -> list[Path]:
    return [*paths, *map(sidecar, paths)]
