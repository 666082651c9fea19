"""``tmi convert`` and ``tmi check``: predictions that another tool, or the user's own code, has saved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tmi.cli.options import MEANING, debuggable

if TYPE_CHECKING:
    from tmi.predictions.intake import Meaning

Command = TypeVar("Command", bound=Callable[..., Any])

FOUND_ERRORS = 2
MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "error": ("✗", "red")}


def _layout_option(command: Command) -> Command:
    return click.option(
        "--layout",
        metavar="NAME",
        help="Layout of the files, if it cannot be told: tmi, tensorflow-privacy, lira-pytorch, privacy-meter, "
        "leakpro, tmi-pets24 or privacyguard.",
    )(command)


def _labels_options(command: Command) -> Command:
    path = click.Path(path_type=Path)
    pretraining = "Class that each point had in pretraining, any integers, a file."
    command = click.option("--pretraining-labels", type=path, help=pretraining)(command)
    return click.option("--labels", type=path, help="Class of each point, a file.")(command)


@click.command()
@click.argument("predictions", metavar="IN", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Folder for the arrays.")
@_layout_option
@click.option("--membership", type=click.Path(path_type=Path), help="Who was trained on what, a file.")
@_labels_options
@MEANING
@click.option("--force", is_flag=True, help="Replace arrays that are there.")
@debuggable
def convert(
    predictions: Path,
    out: Path,
    layout: str | None,
    membership: Path | None,
    labels: Path | None,
    pretraining_labels: Path | None,
    meaning: Meaning | None,
    force: bool,
) -> None:
    """Write the predictions in IN, of another tool's layout, as .npy files into DIR.

    IN is a file or a folder. What is written, predictions.npy, membership.npy and labels.npy, pretraining_labels.npy or
    target.npy if there are any, is read by `tmi attack --predictions DIR` and by numpy.load.
    """
    from tmi.predictions.formats import read_saved, write_saved

    of_points, numbers = pretraining_labels, meaning or "logits"
    arrays = read_saved(predictions, membership, labels, layout, pretraining_labels=of_points, meaning=numbers)
    written = write_saved(arrays, out, force=force)
    for sentence in arrays.read_as:
        click.echo(sentence)
    click.echo(f"Wrote {', '.join(file.name for file in written)} to {out}")


@click.command()
@click.argument("predictions", type=click.Path(path_type=Path))
@click.argument("membership", required=False, type=click.Path(path_type=Path))
@_labels_options
@click.option("--target", type=click.Path(path_type=Path), help="Saved answers of one more model: does it belong?")
@_layout_option
@MEANING
@debuggable
def check(
    predictions: Path,
    membership: Path | None,
    labels: Path | None,
    pretraining_labels: Path | None,
    target: Path | None,
    layout: str | None,
    meaning: Meaning | None,
) -> None:
    """Say what is wrong with saved PREDICTIONS and their MEMBERSHIP before they are attacked.

    MEMBERSHIP may be left out where it lies beside the predictions. The exit code is 2 if there are errors.
    """
    from rich.table import Table
    from rich.text import Text

    from tmi.attacks.checks import Finding, check_arrays
    from tmi.predictions.formats import read_saved, read_target
    from tmi.system.screen import Screen

    of_points, numbers = pretraining_labels, meaning or "logits"
    arrays = read_saved(predictions, membership, labels, layout, pretraining_labels=of_points, meaning=numbers)
    findings = [Finding("ok", "read as", sentence) for sentence in arrays.read_as]
    unknown = arrays.target if target is None else read_target(target, arrays.point_ids, numbers)
    findings += check_arrays(
        arrays.models, arrays.membership, arrays.labels, unknown, pretraining_labels=arrays.pretraining_labels
    )
    table = Table.grid(padding=(0, 2))
    for finding in findings:
        table.add_row(Text(*MARKS[finding.severity]), finding.subject, finding.message)
    Screen().print(table)
    errors, warnings = (sum(finding.severity == wanted for finding in findings) for wanted in ("error", "warning"))
    click.echo(f"\n{_counted(errors, 'error')}, {_counted(warnings, 'warning')}")
    if errors:
        raise click.exceptions.Exit(FOUND_ERRORS)


def _counted(number: int, thing: str) -> str:
    return f"{number or 'no'} {thing}{'' if number == 1 else 's'}"
