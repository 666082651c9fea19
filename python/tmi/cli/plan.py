"""``tmi plan``: is everything there and does it work, what will it take, and what can be found?"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tmi.cli.helping import Grouped
from tmi.cli.options import configured, debuggable, scoring_options, training_options
from tmi.errors import TmiError

if TYPE_CHECKING:
    from tmi.runs.plan import Needs
    from tmi.runs.run import Run

OK = "✓"
# Half a minute: less is told by the milliseconds of the jobs.
LEAST_HOURS = 0.01
GIB = 1 << 30


@click.command(cls=Grouped)
@training_options
@scoring_options
@click.option(
    "--measure/--no-measure",
    default=True,
    help="Train a few steps, to tell the time and the memory that everything takes; else only check.",
)
@click.option(
    "--nodes", type=click.IntRange(min=1), help="Reckon with so many machines like this one, or like the cluster's."
)
@debuggable
def plan(
    preset: str,
    out: Path | None,
    fresh: bool,
    force: bool,
    attacks: tuple[str, ...],
    measure: bool,
    nodes: int | None,
    **options: Any,
) -> None:
    """Check everything before anything is trained, and say what it will take and what it can find.

    PRESET and the options are those of `tmi attack`, which makes the same checks before it trains: configuration, data,
    functions, a step of the network, a request to the target. Nothing is written. The exit code is 2 if something is
    wrong.
    """
    from tempfile import TemporaryDirectory

    from tmi.report.wording import counted
    from tmi.runs import pipeline
    from tmi.runs.directory import usual_place
    from tmi.runs.plan import needs_of
    from tmi.runs.run import Run
    from tmi.runs.trial import ask_target, try_piece
    from tmi.system.devices import is_here
    from tmi.system.screen import Screen

    config = configured(preset, **options)
    console = Screen()
    run = pipeline.subject_of(config, out or usual_place(config.name), fresh=fresh, added=attacks)
    assert isinstance(run, Run)
    run.directory.refuse_foreign()
    config = run.config
    attacking = counted(len(config.attack.names), "attack", "attacks")
    _line(console, OK, "configuration", f"{preset}: {_models(run)}, {attacking}")
    task = run.task
    asked, more = len(task.challenge_points), len(task.reference_points)
    _line(
        console, OK, "pool", f"{task.pool.description}, {asked:,} attacked{f', {more:,} for reference' if more else ''}"
    )
    left_out = f"; {counted(task.left_out, 'point', 'points')} of the pool left out" if task.left_out else ""
    _line(console, OK, "task", f"{task.downstream.description}{left_out}")
    run.check()
    if not is_here(run.device):
        raise TmiError(
            f"this machine has no {run.device!r}, on which a piece of the run would be tried and measured: run "
            "`tmi plan` on a node of the cluster"
        )
    with console.status("trying a piece"):
        try_piece(run, [run, *run.variants])
    _line(console, OK, "models", _tried(run))
    if config.target is not None:
        with console.status("asking the target"), TemporaryDirectory() as folder:
            ask_target(run, Path(folder, "answers.sqlite"))
        _line(console, OK, "target", f"{config.target.name} ({config.target.kind}) answers as it should")
    if not measure:
        return
    with console.status("measuring"), pipeline.crew(run, None) as executor:
        train, score = executor.at_once("train"), executor.at_once("score")
        if nodes is not None:
            train, score = nodes * executor.on_a_machine("train"), nodes * executor.on_a_machine("score")
        needs = needs_of(run, train, score)
        there = executor.nodes() if nodes is None else counted(nodes, "machine", "machines")
        if there:
            at_once = f"{train:,} jobs train and {score:,} score at a time"
            sent = "" if run.config.compute.shared_files else f"; {_bytes(needs.data)} are sent to each once"
            _line(console, OK, "cluster", f"{there}: {at_once}{sent}")
    console.print()
    for name, text in (_work(run, needs) | _estimates(run, needs, elsewhere=bool(there))).items():
        _line(console, "", name, text)


def _line(console: Any, mark: str, name: str, text: str) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(width=1)
    table.add_column(width=13)
    table.add_column()
    table.add_row(Text(mark, "green"), name, text)
    console.print(table, highlight=False)


def _models(run: Run) -> str:
    config = run.config
    if config.given:
        return f"{config.models} finetunings of {config.model.checkpoint}"
    targets = "each the target once" if config.targets == config.models else f"{config.targets} of them targets"
    return f"{config.models} models, {targets}"


def _tried(run: Run) -> str:
    config = run.config
    if config.recipe is not None:
        return f"{config.recipe.pretrain}, {config.recipe.finetune} and {config.recipe.query} work on a few points"
    kind = config.model.checkpoint or config.model.architecture or config.model.kind
    transfers = list(dict.fromkeys(each.config.finetune.transfer for each in (run, *run.variants)))
    first = "" if config.given else "pretrained and "
    return f"{kind}, {first}finetuned ({', '.join(transfers)}) for a step on {config.compute.device} and queried"


def _work(run: Run, needs: Needs) -> dict[str, str]:
    """What the jobs of every stage take: of cores, or of the GPUs that those that train hold meanwhile."""
    from tmi.report.wording import counted

    on_gpu = run.device.startswith("cuda")
    texts = {}
    for name, stage in needs.stages.items():
        if not stage.jobs:
            continue
        texts[name] = f"{counted(stage.jobs, 'job', 'jobs')} of {_duration(stage.busy / stage.jobs)}"
        if stage.step:
            texts[name] += f", {1000 * stage.step:,.3g} ms a step"
        if stage.operations:
            texts[name] += f", {stage.operations:.1e} operations"
        hours = stage.busy * (run.config.compute.job_gpus if on_gpu else 1.0) / 3600
        spent = f"{hours:,.3g}" if hours >= LEAST_HOURS else f"less than {LEAST_HOURS}"
        texts[name] += f", {_bytes(stage.files)} of files: {spent} {'GPU' if on_gpu else 'core'}-hours"
    return texts


def _estimates(run: Run, needs: Needs, *, elsewhere: bool) -> dict[str, str]:
    from tmi.report.wording import counted
    from tmi.system.shared import SHARES

    stages = ", ".join(f"{name} {_duration(each)}" for name, each in needs.seconds.items() if each >= 1)
    # Processes of one machine look at the same data, of which the one that has read it keeps a copy.
    copies = needs.processes if elsewhere or not SHARES else min(needs.processes, 2)
    whole = needs.processes * needs.memory + copies * needs.data
    of_each = needs.memory + (needs.data if copies == needs.processes else 0)
    memory = f"about {_bytes(whole)}: {counted(needs.processes, 'process', 'processes')} of {_bytes(of_each)}"
    if copies < needs.processes:
        memory += f", and {_bytes(needs.data)} of data for all of them and once more where it is read"
    if needs.device_memory:
        memory += f", and {_bytes(needs.device_memory)} of {run.device}"
    if not elsewhere and needs.memory_here and whole > 0.9 * needs.memory_here:
        memory += f"; this machine has {_bytes(needs.memory_here)}, so try fewer --workers"
    disk = f"about {_bytes(needs.disk)} in {run.directory.root}"
    if needs.disk > needs.disk_here:
        disk += f", where {_bytes(needs.disk_here)} are free"
    confidence = f"{run.config.evaluation.confidence:.0%}"
    return {
        "time": f"about {_duration(sum(needs.seconds.values()))}{f' ({stages})' if stages else ''}, and the report",
        **({"memory": memory} if needs.memory else {}),
        "disk": disk,
        "can tell": f"an AUC of {needs.auc:.3f} or more from 0.5, in four of five runs: so wide is the report's "
        f"{confidence} interval for that many models and points if all scores are independent; real ones are less so",
    }


def _duration(seconds: float) -> str:
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    units = ((90, 1, "s"), (5400, 60, "min"), (172_800, 3600, "h"), (math.inf, 86_400, "days"))
    size, unit = next((size, unit) for limit, size, unit in units if seconds < limit)
    value = seconds / size
    return f"{value:.1f} {unit}" if value < 10 and unit != "s" else f"{value:.0f} {unit}"


def _bytes(size: float) -> str:
    return f"{size / GIB:.1f} GB" if size >= GIB / 10 else f"{max(size / 2**20, 1):.0f} MB"
