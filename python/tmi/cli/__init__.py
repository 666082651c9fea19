"""The command line: one Click command per verb.

Torch, LightGBM and everything that imports them are imported inside the commands, so that ``--help`` is immediate.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tmi.cli.bench import bench
from tmi.cli.compare import compare
from tmi.cli.doctor import doctor
from tmi.cli.gate import JSON_LINE, MORE_RATES, RATES_OF_RUN, Gate, gate_options
from tmi.cli.helping import Grouped
from tmi.cli.init import init
from tmi.cli.options import (
    CLUSTER,
    RUN,
    SHOW_POINTS,
    bars,
    changes,
    configured,
    debuggable,
    saved_options,
    scoring_options,
    training_options,
)
from tmi.cli.plan import plan
from tmi.cli.saved import check, convert
from tmi.cli.showing import show_results


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tmi-audit", prog_name="tmi")
def tmi() -> None:
    """Measure how much a finetuned model leaks about the data its pretrained base was trained on.

    `tmi attack` does everything on handwritten digits in a minute or two. `tmi presets` lists what else is ready
    to run; `tmi presets show NAME` prints one to start your own configuration from.
    """


for command in (bench, check, compare, convert, doctor, init, plan):
    tmi.add_command(command)


@tmi.command(cls=Grouped)
@training_options
@scoring_options
@saved_options
@SHOW_POINTS
@gate_options
@JSON_LINE
@debuggable
@click.pass_context
def attack(context: click.Context, /, predictions: tuple[Path, ...], **options: Any) -> None:
    """Train shadow models, finetune and query them, run every attack, and report.

    PRESET is the name of a preset (digits if left out) or a TOML file. The same command goes on where an interrupted
    one stopped, and ends in the same scores. With --predictions nothing is trained: saved answers are attacked. With
    --target and --pretraining-labels alone, the answers of one model are attacked without any shadow model.
    """
    from tmi.cli.saved_attack import attack_saved, attack_without_shadows, refuse_saved_options

    if predictions:
        attack_saved(context, predictions, **options)
    elif options["pretraining_labels"] or options["non_members"]:
        attack_without_shadows(context, **options)
    else:
        refuse_saved_options(options)
        _attack(**options)


def _attack(
    preset: str,
    out: Path | None,
    fresh: bool,
    force: bool,
    show_points: bool,
    attacks: tuple[str, ...],
    gate: Gate,
    as_json: bool,
    **options: Any,
) -> None:
    config = configured(preset, **options)
    gate.require(config.evaluation.false_positive_rates, has_epsilon=not config.given, how=MORE_RATES)
    from tmi.runs import pipeline
    from tmi.runs.directory import usual_place

    out = out or usual_place(config.name)
    subject = pipeline.subject_of(config, out, fresh=fresh, added=attacks)
    with pipeline.opened(subject, fresh=fresh) as run, pipeline.crew(run, bars(run.directory.root)) as workers:
        pipeline.run_stages(run, workers, force=force)
        results = pipeline.report(run, workers, show_points=show_points)
        show_results(results, out, gate, as_json=as_json)


@tmi.command()
@training_options
@debuggable
def train(preset: str, out: Path | None, fresh: bool, **options: Any) -> None:
    """Draw the membership, pretrain all models and finetune them."""
    config = configured(preset, **options)
    from tmi.runs import pipeline
    from tmi.runs.directory import usual_place

    out = out or usual_place(config.name)
    subject = pipeline.subject_of(config, out, fresh=fresh)
    with pipeline.opened(subject, fresh=fresh) as run, pipeline.crew(run, bars(run.directory.root)) as workers:
        pipeline.run_stages(run, workers, pipeline.TRAINING)
    click.echo(f"Trained. Next: tmi query {out}")


@tmi.command()
@RUN
@CLUSTER
@debuggable
def query(directory: Path, cluster: str | None) -> None:
    """Ask every finetuned model in RUN about every challenge point."""
    from tmi.runs import pipeline

    with (
        pipeline.trained(directory, changes(cluster=cluster)) as run,
        pipeline.crew(run, bars(run.directory.root)) as workers,
    ):
        pipeline.require(run, pipeline.TRAINING, _training(directory))
        pipeline.run_stages(run, workers, pipeline.QUERYING)
    click.echo(f"Queried. Next: tmi score {directory}")


@tmi.command()
@RUN
@CLUSTER
@scoring_options
@debuggable
def score(directory: Path, force: bool, attacks: tuple[str, ...], **options: Any) -> None:
    """Run the attacks on the answers in RUN."""
    from tmi.runs import pipeline

    with (
        pipeline.reopened(directory, changes(**options), attacks) as run,
        pipeline.crew(run, bars(run.directory.root)) as workers,
    ):
        pipeline.require(run, pipeline.DRAWING, _training(directory))
        pipeline.require(run, pipeline.QUERYING, f"tmi query {directory}")
        pipeline.run_stages(run, workers, pipeline.SCORING, force=force)
    click.echo(f"Scored. Next: tmi report {directory}")


@tmi.command()
@RUN
@SHOW_POINTS
@gate_options
@JSON_LINE
@debuggable
def report(directory: Path, show_points: bool, gate: Gate, as_json: bool) -> None:
    """Judge the scores in RUN and write the tables, the figures and the report."""
    from tmi.config import Config
    from tmi.runs import pipeline

    with pipeline.reopened(directory) as run, pipeline.crew(run, bars(run.directory.root), only_here=True) as workers:
        known = isinstance(run.config, Config) and run.config.given
        gate.require(run.config.evaluation.false_positive_rates, has_epsilon=not known, how=RATES_OF_RUN)
        pipeline.require(run, pipeline.DRAWING, _training(directory))
        pipeline.require(run, pipeline.SCORING, f"tmi score {directory}")
        results = pipeline.report(run, workers, show_points=show_points)
        show_results(results, directory, gate, as_json=as_json)


@tmi.command()
@RUN
@click.argument("directory_to_make", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--model", type=click.IntRange(min=0), default=0, show_default=True, help="Which of the models.")
@debuggable
def export(directory: Path, directory_to_make: Path, model: int) -> None:
    """Write a pretrained model of RUN as a transformers checkpoint into DIR, with its tokenizer and its known members.

    The checkpoint can be finetuned by anyone, and attacked as a given model (`pool.non_members`).
    """
    from tmi.runs import pipeline
    from tmi.runs.export import export_pretrained

    with pipeline.trained(directory) as run:
        pipeline.require(run, pipeline.TRAINING, _training(directory))
        export_pretrained(run, model, directory_to_make)
    click.echo(f"Wrote {directory_to_make}")


# An attack for every question: all that is known, the paper's baseline, the two that are published most, one without
# shadow models, the simplest, and one with more than an adversary has.
ATTACKS_THAT_MATTER = ("tmi", "adapted-lira", "lira-online", "rmia", "label-probe", "confidence", "direct")


@tmi.command()
@click.option("--all", "everything", is_flag=True, help="List ablations, variants and attacks on given models as well.")
def attacks(everything: bool) -> None:
    """List the attacks that matter, or all of them."""
    from rich.table import Table

    from tmi.attacks.registry import Needs, all_attacks, broken_plugins, options_of
    from tmi.report.wording import options_text
    from tmi.system.screen import Screen

    known = all_attacks()
    names = list(known) if everything else list(ATTACKS_THAT_MATTER)
    table = Table("attack", "what it does", box=None, pad_edge=False)
    for name in names:
        options = options_text(options_of(known[name]))
        needs = known[name].needs
        facts = [
            *([f"Needs {needs.value}."] if needs is not Needs.NOTHING else []),
            *([f"Options: {options}."] if options else []),
        ]
        table.add_row(name, f"{known[name].summary}. {' '.join(facts)}")
    Screen().print(table, highlight=False)
    if not everything:
        click.echo(f"\n`tmi attacks --all` lists {len(known) - len(names)} more: ablations, variants and others.")
    for problem in broken_plugins().values():
        click.echo(f"Left out: {problem}", err=True)


@tmi.group(invoke_without_command=True)
@click.pass_context
def presets(context: click.Context) -> None:
    """List the presets, or show one."""
    if context.invoked_subcommand is None:
        from rich.table import Table

        from tmi.config import preset_description, preset_names
        from tmi.system.screen import Screen

        table = Table("preset", "what it attacks", box=None, pad_edge=False)
        for name in preset_names():
            table.add_row(name, preset_description(name))
        Screen().print(table)


@presets.command("show")
@click.argument("name")
def show_preset(name: str) -> None:
    """Print the preset NAME as TOML, to start your own from."""
    from tmi.config import preset_text

    click.echo(preset_text(name), nl=False)


def _training(directory: Path) -> str:
    """The command that makes what is missing of a run's models."""
    return f"tmi train {directory / 'config.toml'} --out {directory}"
