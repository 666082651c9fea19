"""Which models are trained and queried as one group, and the work that is left on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from tmi.errors import TmiError
from tmi.runs.run import Run
from tmi.shadows.groups import groups
from tmi.system.devices import training_processes
from tmi.system.executor import Workers

Group = Callable[[Run, range], None]


def run_groups(
    run: Run,
    workers: Workers,
    stage: str,
    function: Group,
    artefacts: Callable[[int], dict[Path, str]],
    samples_per_model: int = 0,
) -> None:
    """Call a stage's function for every group in which a model's artefacts are missing, outdated or damaged.

    Args:
        run: the run.
        workers: where the groups are worked on.
        stage: name of the stage.
        function: writes the artefacts of one group.
        artefacts: the files of one model with their keys.
        samples_per_model: how many samples the function trains each model on.
    """
    directory = run.directory
    missing = []
    for group in groups(run.config, stage):
        files = {path: key for model in group for path, key in artefacts(model).items()}
        stale = {path: key for path, key in files.items() if not directory.is_current(path, key)}
        if stale:
            missing.append(group)
        for path, key in stale.items():
            if directory.is_damaged(path, key):
                workers.progress.note(f"{directory.relative(path)} is damaged (its checksum is wrong): made anew")
    jobs = [(function, run, group) for group in missing]
    models = [len(group) for group in missing]
    processes = training_processes(run.config.compute.device, workers.processes)
    if processes == workers.processes:
        noted = workers.map(run.label(stage), work_on, jobs, models, sum(models) * samples_per_model)
    else:
        with Workers(processes, workers.progress) as crew:
            noted = crew.map(run.label(stage), work_on, jobs, models, sum(models) * samples_per_model)
    for note in sorted({note for notes in noted for note in notes}):
        workers.progress.note(note)


def work_on(function: Group, run: Run, models: range) -> list[str]:
    """Call a stage's function, with fewer models at a time where the device's memory does not hold them all.

    Returns:
        What the user should know about it.

    Raises:
        TmiError: the memory does not hold one model.
    """
    try:
        function(run, models)
    except torch.OutOfMemoryError:
        if len(models) == 1:
            raise TmiError(
                f"the memory of {run.config.compute.device} does not hold the training of one model; "
                "try a smaller batch_size or a smaller model"
            ) from None
    else:
        return []
    # Only here is the error gone, and with it its frames, which hold the tensors.
    torch.cuda.empty_cache()
    middle = models.start + len(models) // 2
    note = f"the memory of the device does not hold {len(models)} models: {len(models) // 2} at once now"
    halves = (range(models.start, middle), range(middle, models.stop))
    return [note, *(note for half in halves for note in work_on(function, run, half))]
