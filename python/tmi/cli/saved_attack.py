"""`tmi attack --predictions`: no training, no torch."""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from tmi.cli.options import bars, changes
from tmi.cli.showing import show_results
from tmi.errors import TmiError

# Options that say how models are trained, which saved predictions have behind them.
OF_TRAINING = ("preset", "data", "models", "device", "variants", "epsilons")
OF_SAVED = ("membership", "labels", "pretrained_predictions", "layout")


def attack_saved(
    context: click.Context,
    predictions: tuple[Path, ...],
    *,
    target: tuple[Path, ...],
    out: Path | None,
    fresh: bool,
    force: bool,
    settings: dict[str, Any],
    **options: Any,
) -> None:
    """Attack saved predictions and report.

    Raises:
        TmiError: an option of training was given, another number of targets than of predictions, or the arrays are
            wrong.
    """
    for name in OF_TRAINING:
        if context.get_parameter_source(name) not in (ParameterSource.DEFAULT, None):
            given = "a preset" if name == "preset" else f"--{name}"
            raise TmiError(f"--predictions attacks what is saved and trains nothing: leave {given} out")
        options.pop(name)
    if len(target) not in (0, 1, len(predictions)):
        raise TmiError(
            f"--target is given {len(target)} times, expected once, or for each of the {len(predictions)} --predictions"
        )
    whole = {name: _absolute(options.pop(name)) for name in OF_SAVED}
    asked = zip_longest(map(_absolute, predictions), map(_absolute, target))
    files, *companions = (
        {"predictions": answers} | ({} if of_target is None else {"target": of_target}) for answers, of_target in asked
    )
    from tmi.runs import pipeline
    from tmi.runs.saved import audit_of

    named = {name: value for name, value in whole.items() if value is not None}
    audit = audit_of(files | named | {"companions": companions}, settings | changes(**options), out)
    with pipeline.opened(audit, fresh=fresh, force=force), pipeline.crew(audit, bars()) as workers:
        pipeline.run_stages(audit, workers, force=force)
        show_results(pipeline.report(audit, workers), audit.directory.root)


def refuse_saved_options(options: dict[str, Any]) -> None:
    """Remove the options of saved predictions, none of which may be given without them.

    Raises:
        TmiError: one is.
    """
    for name in (*OF_SAVED, "target"):
        if options.pop(name):
            raise TmiError(f"--{name.replace('_', '-')} belongs to saved predictions: --predictions is missing")


def _absolute(value: Path | str | None) -> str | None:
    return str(value.resolve()) if isinstance(value, Path) else value
