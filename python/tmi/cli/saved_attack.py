"""`tmi attack --predictions`: no training, no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from tmi.cli.options import bars, changes
from tmi.cli.showing import show_results
from tmi.errors import TmiError

# Options that say how models are trained, which saved predictions have behind them.
OF_TRAINING = ("preset", "data", "models", "device", "variants", "epsilons")
OF_SAVED = ("membership", "labels", "pretrained_predictions", "target", "layout")


def attack_saved(
    context: click.Context,
    predictions: Path,
    *,
    out: Path | None,
    fresh: bool,
    force: bool,
    settings: dict[str, Any],
    **options: Any,
) -> None:
    """Attack saved predictions and report.

    Raises:
        TmiError: an option of training was given, or the arrays are wrong.
    """
    for name in OF_TRAINING:
        if context.get_parameter_source(name) not in (ParameterSource.DEFAULT, None):
            given = "a preset" if name == "preset" else f"--{name}"
            raise TmiError(f"--predictions attacks what is saved and trains nothing: leave {given} out")
        options.pop(name)
    files = {name: _absolute(options.pop(name)) for name in OF_SAVED}
    from tmi.runs import pipeline
    from tmi.runs.saved import audit_of

    named = {name: value for name, value in files.items() if value is not None}
    audit = audit_of({"predictions": str(predictions.resolve())} | named, settings | changes(**options), out)
    with pipeline.opened(audit, fresh=fresh, force=force), pipeline.crew(audit, bars()) as workers:
        pipeline.run_stages(audit, workers, force=force)
        show_results(pipeline.report(audit, workers), audit.directory.root)


def refuse_saved_options(options: dict[str, Any]) -> None:
    """Remove the options of saved predictions, none of which may be given without them.

    Raises:
        TmiError: one is.
    """
    for name in OF_SAVED:
        if options.pop(name) is not None:
            raise TmiError(f"--{name.replace('_', '-')} belongs to saved predictions: --predictions is missing")


def _absolute(value: Path | str | None) -> str | None:
    return str(value.resolve()) if isinstance(value, Path) else value
