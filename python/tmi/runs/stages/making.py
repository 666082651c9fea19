"""What stages 2 to 4 have in common: what is missing of the models is made by the run's maker."""

from __future__ import annotations

from tmi.runs.run import Run
from tmi.shadows.makers.maker import Step, make
from tmi.system.devices import training_processes
from tmi.system.executor import Workers


def make_missing(run: Run, workers: Workers, *steps: Step) -> None:
    """Make every group in which a model's artefacts are missing, outdated or damaged."""
    maker, directory = run.maker, run.directory
    jobs = []
    for step in steps:
        for models in maker.groups(step):
            files = {path: key for model in models for path, key in maker.writes(step, model).items()}
            stale = {path: key for path, key in files.items() if not directory.is_current(path, key)}
            if stale:
                jobs.append((maker, step, models))
            for path, key in stale.items():
                if directory.is_damaged(path, key):
                    workers.progress.note(f"{directory.relative(path)} is damaged (its checksum is wrong): made anew")
    sizes = [len(models) for _, _, models in jobs]
    samples = sum(maker.samples(step) * len(models) for _, step, models in jobs)
    processes = training_processes(run.config.compute.device, workers.processes)
    if processes == workers.processes:
        noted = workers.map(run.label(steps[0]), make, jobs, sizes, samples)
    else:
        with Workers(processes, workers.progress) as crew:
            noted = crew.map(run.label(steps[0]), make, jobs, sizes, samples)
    for note in sorted({note for notes in noted for note in notes}):
        workers.progress.note(note)
