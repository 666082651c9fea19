"""Stage 3: finetune every pretrained model on the downstream task."""

from __future__ import annotations

from tmi.runs.run import Run
from tmi.runs.stages.making import make_missing
from tmi.system.executor import Executor


def run_stage(run: Run, executor: Executor) -> None:
    """Write ``finetuned/`` for all models that have none or no current one."""
    make_missing(run, executor, "finetune")
