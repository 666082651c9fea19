"""``tmi bench``: how fast this machine is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tmi.cli.options import bars, changes, debuggable


@click.group(invoke_without_command=True)
@click.pass_context
@click.option("--models", type=click.IntRange(min=3), default=65, show_default=True, help="Models.")
@click.option("--points", type=click.IntRange(min=2), default=1000, show_default=True, help="Challenge points.")
@click.option("--augmentations", type=click.IntRange(min=1), default=8, show_default=True, help="Queries per point.")
@click.option("--classes", type=click.IntRange(min=2), default=10, show_default=True, help="Classes.")
@click.option(
    "--dtype", type=click.Choice(["float32", "float16"]), default="float32", show_default=True, help="Of the logits."
)
@click.option(
    "--attack",
    "attacks",
    multiple=True,
    default=("tmi", "gaussian", "adapted-lira"),
    show_default=True,
    metavar="NAME",
    help="Time this attack as a whole. Repeatable.",
)
@click.option("--targets", type=click.IntRange(min=1), default=3, show_default=True, help="Targets of the attacks.")
@click.option(
    "--threads", type=click.IntRange(min=1, max=1024), default=1, show_default=True, help="Threads of the kernels."
)
@click.option("--repeat", type=click.IntRange(min=1), default=7, show_default=True, help="How often each is timed.")
@click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Also write the times there."
)
@debuggable
def bench(
    context: click.Context,
    /,
    attacks: tuple[str, ...],
    targets: int,
    threads: int,
    repeat: int,
    json_file: Path | None,
    **size: Any,
) -> None:
    """Time the kernels on this machine, next to good NumPy and to a copy of their input.

    `tmi bench train` times the training of shadow models instead.
    """
    if context.invoked_subcommand is not None:
        return

    from tmi.bench.cases import Size
    from tmi.bench.run import document, run_bench, write
    from tmi.bench.table import EXPLANATION, bench_table, machine_line
    from tmi.system.memory import require_room
    from tmi.system.screen import Screen

    made_up = Size(**size)
    answers = made_up.models * made_up.points * made_up.augmentations * made_up.classes
    require_room(4 * answers, f"{answers:,} made-up logits")
    results = run_bench(made_up, attacks=attacks, targets=targets, threads=threads, repeat=repeat, progress=bars())
    console = Screen()
    console.print(machine_line(), highlight=False)
    console.print(bench_table(results, threads, console.width))
    console.print(EXPLANATION, style="dim", markup=False, highlight=False)
    if json_file is not None:
        write(json_file, document(results, made_up, threads))


@bench.command("train")
@click.argument("preset", metavar="[PRESET|FILE.toml]", default="cifar100-coarse")
@click.option("--models", type=click.IntRange(min=1), default=4, show_default=True, help="Models trained by tmi.")
@click.option("--points", type=click.IntRange(min=1), default=2048, show_default=True, help="Points of an epoch.")
@click.option("--epochs", type=click.IntRange(min=1), default=1, show_default=True, help="Epochs that are timed.")
@click.option("--repeat", type=click.IntRange(min=1), default=3, show_default=True, help="How often each is timed.")
@click.option("--device", help="cpu, cuda, cuda:1, mps or auto.")
@click.option("--workers", type=click.IntRange(min=0), help="Worker processes; 0: one per core.")
@click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Also write the times there."
)
@debuggable
def bench_train(
    preset: str,
    models: int,
    points: int,
    epochs: int,
    repeat: int,
    device: str | None,
    workers: int | None,
    json_file: Path | None,
) -> None:
    """Time the pretraining of a preset's network on made-up points, next to training as it is usually written.

    Images are compared with a plain PyTorch loop, texts as tokens with the Trainer of the transformers library. Either
    trains one model at a time in float32, with a DataLoader whose worker processes prepare the batches. Models that
    write are asked about every token besides, next to one text after another. The preset's own data is not needed.
    """
    from tmi.bench.run import write
    from tmi.bench.table import machine_line, querying_line, training_table
    from tmi.bench.training import Load, bench_training, training_document
    from tmi.config import load_config
    from tmi.system.screen import Screen

    config = load_config(preset, changes(device=device, workers=workers), data=Path(), variants=[])
    load = Load(config, models, points, epochs)
    console = Screen()
    console.print(machine_line(), highlight=False)
    rounds = bench_training(load, repeat, bars())
    console.print(training_table(load, rounds))
    if config.finetune.objective == "causal":
        from tmi.bench.querying import bench_querying

        console.print(querying_line(bench_querying(load, repeat)), highlight=False)
    if json_file is not None:
        write(json_file, training_document(load, rounds))
