"""Stage 4: query every model about the challenge points, and the reference points if there are any."""

from __future__ import annotations

from tmi.errors import TmiError
from tmi.runs.run import Run
from tmi.runs.stages.making import make_missing
from tmi.system.executor import Executor


def run_stage(run: Run, executor: Executor) -> None:
    """Write the predictions of all models that have no current ones.

    Raises:
        TmiError: two models answer with different numbers of classes.
    """
    make_missing(run, executor, "query", "query_pretrained")
    firsts: dict[str, tuple[int, ...]] = {}
    for path in run.maker.artefacts("query", "query_pretrained"):
        shape = run.directory.load_array(path).shape
        if shape != (first := firsts.setdefault(path.parent.name, shape)):
            raise TmiError(
                f"{run.directory.relative(path)} has shape {shape}, expected {first} as of model 0: all models must "
                "answer with the same number of classes"
            )
