"""The command line: one Click command per verb.

Torch, LightGBM and everything that imports them are imported inside the commands, so that ``--help`` is immediate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from tmi.config import Config

Command = TypeVar("Command", bound=Callable[..., Any])
RUN = click.argument("directory", metavar="RUN", type=click.Path(path_type=Path))


def _parse_settings(_: click.Context, __: click.Parameter, settings: tuple[str, ...]) -> dict[str, Any]:
    from tmi.config import parse_value

    values: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{setting!r} is not of the form key=value, for instance pretrain.epochs=10")
        values[key] = parse_value(text)
    return values


def _parse_targets(_: click.Context, __: click.Parameter, text: str | None) -> int | str | None:
    if text is None or text == "all":
        return text
    if not text.isdigit() or int(text) < 1:
        raise click.BadParameter(f"{text!r} is neither 'all' nor a number of models from 1")
    return int(text)


def _parse_list(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> list[str]:
    """The entries of an option that may be repeated and takes commas."""
    return [entry.strip() for text in texts for entry in text.split(",")]


def _parse_numbers(context: click.Context, option: click.Parameter, texts: tuple[str, ...]) -> list[int]:
    entries = _parse_list(context, option, texts)
    for entry in entries:
        if not entry.isdecimal():
            raise click.BadParameter(f"{entry!r} is no number of shadow models; expected for instance 8,16,32")
    return [int(entry) for entry in entries]


def _parse_names(context: click.Context, option: click.Parameter, texts: tuple[str, ...]) -> list[str] | None:
    names = _parse_list(context, option, texts)
    return None if not texts else [] if names == ["none"] else names


def _parse_epsilons(context: click.Context, option: click.Parameter, texts: tuple[str, ...]) -> list[float]:
    epsilons = []
    for entry in _parse_list(context, option, texts):
        try:
            epsilon = float(entry)
        except ValueError:
            epsilon = math.nan
        if not epsilon > 0:
            raise click.BadParameter(f"{entry!r} is no privacy budget; expected for instance 1,8,inf")
        epsilons.append(epsilon)
    return epsilons


def training_options(command: Command) -> Command:
    """Options of the commands that train."""
    for option in reversed(
        [
            click.argument("preset", metavar="[PRESET|FILE.toml]", default="digits"),
            click.option(
                "--data",
                type=click.Path(path_type=Path),
                help="Directory of the data that a preset leaves to you; relative paths start there.",
            ),
            click.option("--out", type=click.Path(path_type=Path), help="Run directory; runs/NAME if left out."),
            click.option("--seed", type=click.IntRange(min=0), help="Seed of every random draw."),
            click.option(
                "--models",
                type=int,
                help="Number of models; each is the target once, the others its shadows.",
            ),
            click.option("--device", help="cpu, cuda, cuda:1, mps or auto."),
            click.option(
                "--workers",
                type=click.IntRange(min=0),
                help="Worker processes; 0: one per core. Changes no result.",
            ),
            click.option(
                "--set",
                "settings",
                multiple=True,
                metavar="KEY=VALUE",
                callback=_parse_settings,
                help="Any other key of the configuration, for instance pretrain.epochs=10. Repeatable.",
            ),
            click.option(
                "--variants",
                multiple=True,
                metavar="NAME",
                callback=_parse_names,
                help="Which of the configuration's other finetunings to do as well; all if left out, or none.",
            ),
            click.option(
                "--epsilons",
                multiple=True,
                metavar="E",
                callback=_parse_epsilons,
                help="Also finetune with differential privacy, with these budgets and always without noise: 1,8,inf.",
            ),
            click.option("--fresh", is_flag=True, help="Throw away the run in the directory and start anew."),
        ]
    ):
        command = option(command)
    return command


def scoring_options(command: Command) -> Command:
    """Options of the commands that attack."""
    for option in reversed(
        [
            click.option(
                "--attack",
                "attacks",
                multiple=True,
                metavar="NAME",
                help="Run only this attack. Repeatable; `tmi attacks` lists them.",
            ),
            click.option(
                "--view",
                "views",
                multiple=True,
                metavar="VIEW",
                callback=_parse_list,
                help="What the adversary sees: logits, probabilities, top-K, top-K-unnamed, label or rounded-D. "
                "Repeatable, or with commas: the first is the main one, the others are compared with it.",
            ),
            click.option(
                "--shadows",
                multiple=True,
                metavar="N",
                callback=_parse_numbers,
                help="Also attack with only N of the shadow models. Repeatable, or with commas: 8,16,32.",
            ),
            click.option(
                "--targets",
                callback=_parse_targets,
                metavar="all|N",
                help="Let only the first N models be targets.",
            ),
            click.option(
                "--memory",
                metavar="SIZE",
                help="Working memory of the attacks, all workers together, for instance 500M or 4G. Changes no result.",
            ),
        ]
    ):
        command = option(command)
    return command


def debuggable(command: Command) -> Command:
    """The option ``--debug``, which is read by the entry point."""

    @click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return command(*args, **kwargs)

    return wrapped  # type: ignore[return-value]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tmi-audit", prog_name="tmi")
def tmi() -> None:
    """Measure how much a finetuned model leaks about the data its pretrained base was trained on.

    `tmi attack` does everything on handwritten digits in less than a minute. `tmi presets` lists what else is ready
    to run; `tmi presets show NAME` prints one to start your own configuration from.
    """


@tmi.command()
@training_options
@scoring_options
@debuggable
def attack(preset: str, out: Path | None, fresh: bool, **options: Any) -> None:
    """Train shadow models, finetune and query them, run every attack, and report.

    PRESET is the name of a preset (digits if left out) or a TOML file. The same command goes on where an interrupted
    one stopped, and ends in the same scores.
    """
    config = _configured(preset, **options)
    from tmi import pipeline

    out = out or Path("runs") / config.name
    with pipeline.opened(config, out, fresh=fresh) as run, pipeline.crew(run, _progress()) as workers:
        pipeline.run_stages(run, workers, pipeline.TRAINING | pipeline.QUERY | pipeline.SCORE)
        _show(pipeline.report(run, workers), out)


@tmi.command()
@training_options
@debuggable
def train(preset: str, out: Path | None, fresh: bool, **options: Any) -> None:
    """Draw the membership, pretrain all models and finetune them."""
    config = _configured(preset, **options)
    from tmi import pipeline

    out = out or Path("runs") / config.name
    with pipeline.opened(config, out, fresh=fresh) as run, pipeline.crew(run, _progress()) as workers:
        pipeline.run_stages(run, workers, pipeline.TRAINING)
    click.echo(f"Trained. Next: tmi query {out}")


@tmi.command()
@RUN
@debuggable
def query(directory: Path) -> None:
    """Ask every finetuned model in RUN about every challenge point."""
    from tmi import pipeline

    with pipeline.reopened(directory) as run, pipeline.crew(run, _progress()) as workers:
        pipeline.require(run, "finetune", f"tmi train {directory / 'config.toml'} --out {directory}")
        pipeline.run_stages(run, workers, pipeline.QUERY)
    click.echo(f"Queried. Next: tmi score {directory}")


@tmi.command()
@RUN
@scoring_options
@debuggable
def score(directory: Path, **options: Any) -> None:
    """Run the attacks on the answers in RUN."""
    from tmi import pipeline

    with pipeline.reopened(directory, _changes(**options)) as run, pipeline.crew(run, _progress()) as workers:
        pipeline.require(run, "query", f"tmi query {directory}")
        pipeline.run_stages(run, workers, pipeline.SCORE)
    click.echo(f"Scored. Next: tmi report {directory}")


@tmi.command()
@RUN
@debuggable
def report(directory: Path) -> None:
    """Judge the scores in RUN and write the table, the ROC figure and the HTML report."""
    from tmi import pipeline

    with pipeline.reopened(directory) as run, pipeline.crew(run, _progress()) as workers:
        pipeline.require(run, "score", f"tmi score {directory}")
        _show(pipeline.report(run, workers), directory)


@tmi.command()
@RUN
@click.argument("directory_to_make", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--model", type=click.IntRange(min=0), default=0, show_default=True, help="Which of the models.")
@debuggable
def export(directory: Path, directory_to_make: Path, model: int) -> None:
    """Write a pretrained model of RUN as a transformers checkpoint into DIR, with its tokenizer and its known members.

    The checkpoint can be finetuned by anyone, and attacked as a given model (`pool.non_members`).
    """
    from tmi import pipeline
    from tmi.export import export_pretrained

    with pipeline.reopened(directory) as run:
        pipeline.require(run, "finetune", f"tmi train {directory / 'config.toml'} --out {directory}")
        export_pretrained(run, model, directory_to_make)
    click.echo(f"Wrote {directory_to_make}")


@tmi.command()
def attacks() -> None:
    """List the attacks."""
    from rich.console import Console
    from rich.table import Table

    from tmi.attacks import all_attacks

    table = Table("attack", "what it does", "needs", box=None, pad_edge=False)
    for name, entry in all_attacks().items():
        table.add_row(name, entry.summary, entry.needs)
    Console().print(table)


@tmi.group(invoke_without_command=True)
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
@click.option("--targets", type=click.IntRange(min=1), default=2, show_default=True, help="Targets of the attacks.")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads of the kernels.")
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
    from rich.console import Console

    from tmi.bench.cases import Size
    from tmi.bench.run import document, run_bench, write
    from tmi.bench.table import EXPLANATION, bench_table, machine_line

    made_up = Size(**size)
    results = run_bench(made_up, attacks=attacks, targets=targets, threads=threads, repeat=repeat, progress=_progress())
    console = Console()
    console.print(machine_line(), highlight=False)
    console.print(bench_table(results, threads, console.width))
    console.print(EXPLANATION, style="dim", markup=False, highlight=False)
    if json_file is not None:
        write(json_file, document(results, made_up, threads))


@bench.command("train")
@click.argument("preset", metavar="[PRESET|FILE.toml]", default="cifar100-coarse")
@click.option("--models", type=click.IntRange(min=1), default=4, show_default=True, help="Models trained by tmi.")
@click.option("--points", type=click.IntRange(min=1), default=2048, show_default=True, help="Images of an epoch.")
@click.option("--epochs", type=click.IntRange(min=1), default=1, show_default=True, help="Epochs that are timed.")
@click.option("--repeat", type=click.IntRange(min=1), default=3, show_default=True, help="How often each is timed.")
@click.option("--device", help="cpu, cuda, cuda:1, mps or auto.")
@click.option("--workers", type=click.IntRange(min=0), help="Worker processes; 0: one per core.")
@debuggable
def bench_train(
    preset: str, models: int, points: int, epochs: int, repeat: int, device: str | None, workers: int | None
) -> None:
    """Time the pretraining of a preset's network on made-up images, next to a plain PyTorch loop.

    The plain loop trains one model at a time in float32, with a DataLoader whose worker processes augment the images.
    """
    from rich.console import Console

    from tmi.bench.table import machine_line, training_table
    from tmi.bench.training import Load, bench_training
    from tmi.config import load_config

    config = load_config(preset, _changes(device=device, workers=workers), data=Path(), variants=[])
    load = Load(config, models, points, epochs)
    console = Console()
    console.print(machine_line(), highlight=False)
    console.print(training_table(load, bench_training(load, repeat, _progress())))


@tmi.group(invoke_without_command=True)
@click.pass_context
def presets(context: click.Context) -> None:
    """List the presets, or show one."""
    if context.invoked_subcommand is None:
        from rich.console import Console
        from rich.table import Table

        from tmi.config import preset_description, preset_names

        table = Table("preset", "what it attacks", box=None, pad_edge=False)
        for name in preset_names():
            table.add_row(name, preset_description(name))
        Console().print(table)


@presets.command("show")
@click.argument("name")
def show_preset(name: str) -> None:
    """Print the preset NAME as TOML, to start your own from."""
    from tmi.config import preset_text

    click.echo(preset_text(name), nl=False)


def _configured(
    preset: str,
    settings: dict[str, Any],
    data: Path | None,
    variants: list[str] | None,
    epsilons: list[float],
    **options: Any,
) -> Config:
    from tmi.config import load_config

    return load_config(preset, settings | _changes(**options), data, variants=variants, epsilons=epsilons)


def _changes(
    seed: int | None = None,
    models: int | None = None,
    device: str | None = None,
    workers: int | None = None,
    attacks: tuple[str, ...] = (),
    targets: int | str | None = None,
    memory: str | None = None,
    views: Sequence[str] = (),
    shadows: Sequence[int] = (),
) -> dict[str, Any]:
    """Options as configuration keys, those that were not given left out."""
    values = {
        "seed": seed,
        "models": models,
        "compute.device": device,
        "compute.workers": workers,
        "attack.names": list(attacks) or None,
        "evaluation.targets": targets,
        "compute.memory": memory,
        "attack.views": list(views) or None,
        "attack.shadows": list(shadows) or None,
    }
    return {key: value for key, value in values.items() if value is not None}


def _progress() -> Any:
    from rich.console import Console

    from tmi.progress import Bars

    return Bars(Console(stderr=True))


def _show(results: dict[str, Any], out: Path) -> None:
    from rich.console import Console

    from tmi.report.adversaries import adversary_tables
    from tmi.report.learning import training_warnings
    from tmi.report.table import results_table, verdict
    from tmi.report.variants import variants_table

    console = Console()
    tables = [results_table(results, console.width), *adversary_tables(results, console.width)]
    if "variants" in results:
        tables.append(variants_table(results, console.width))
    console.print()
    for table in tables:
        console.print(table)
        console.print()
    console.print(verdict(results), markup=False, highlight=False)
    for sentence in training_warnings(results):
        console.print(f"\nCaution. {sentence}", style="yellow", markup=False, highlight=False)
    console.print(f"\nReport: {out / 'report.html'}", highlight=False, soft_wrap=True)
