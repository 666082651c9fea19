"""Which models are trained and queried as one group, and the work that is left on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tmi.config import Config
from tmi.run import Run
from tmi.workers import Workers


def groups(config: Config) -> list[range]:
    """Consecutive models in groups of ``compute.models_at_once``.

    The grouping depends on the configuration alone, never on what an interrupted run has left: a group is trained
    again as a whole, and so ends in the same bits.
    """
    size = config.compute.models_at_once
    return [range(start, min(start + size, config.models)) for start in range(0, config.models, size)]


def run_groups(
    run: Run,
    workers: Workers,
    stage: str,
    function: Callable[[Run, range], None],
    artefacts: Callable[[int], list[Path]],
) -> None:
    """Call a stage's function for every group in which a model's artefacts are missing, outdated or damaged.

    Args:
        run: the run.
        workers: where the groups are worked on.
        stage: name of the stage; its key decides what is current.
        function: writes the artefacts of one group.
        artefacts: the files of one model.
    """
    key, directory = run.keys[stage], run.directory
    missing = []
    for group in groups(run.config):
        stale = [path for model in group for path in artefacts(model) if not directory.is_current(path, key)]
        if stale:
            missing.append(group)
        for path in stale:
            if directory.is_damaged(path, key):
                workers.progress.note(f"{directory.relative(path)} is damaged (its checksum is wrong): made anew")
    workers.map(stage, function, [(run, group) for group in missing], [len(group) for group in missing])
