"""Stage 4b: ask the target of the configuration what the models of the run were asked."""

from __future__ import annotations

from tmi.runs.run import Run
from tmi.system.devices import own_device
from tmi.system.executor import Executor
from tmi.targets import query_target


def run_stage(run: Run, executor: Executor) -> None:
    """Write the answers of the target unless they are current; nothing without a target."""
    target, files = run.config.target, run.target_files
    if target is None or not run.directory.stale(files, executor.progress.note):
        return
    asked = ((run.task.challenges, "queries"), (run.task.references, "reference queries"))
    for (path, key), (points, purpose) in zip(files.items(), asked, strict=False):
        answers = query_target(
            target,
            run.experiment.queries(points, purpose),
            points.kind,
            len(run.task.downstream.class_names),
            run.directory.target_cache,
            executor.progress,
            device=str(own_device(run.config.compute.device)),
            texts=run.experiment.texts,
        )
        run.directory.save_array(path, answers, key)
