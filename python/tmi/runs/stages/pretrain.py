"""Stage 2: pretrain every model on its half of the pool."""

from __future__ import annotations

from tmi.runs.run import Run
from tmi.runs.stages.making import make_missing
from tmi.system.executor import Executor


def run_stage(run: Run, executor: Executor) -> None:
    """Write ``pretrained/`` for all models that have none or no current one; nothing if the model is given."""
    make_missing(run, executor, "pretrain")
