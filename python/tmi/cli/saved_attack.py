"""`tmi attack --predictions`: no training, no torch."""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from tmi.cli.gate import MORE_RATES, Gate
from tmi.cli.options import bars, changes
from tmi.cli.showing import show_results
from tmi.errors import TmiError

# Options that say how models are trained, which saved predictions have behind them.
OF_TRAINING = ("preset", "data", "models", "device", "variants", "epsilons", "show_points")
OF_SAVED = ("membership", "labels", "pretraining_labels", "pretrained_predictions", "ids", "texts", "meaning", "layout")
# What of the training and the attacks makes sense without shadow models.
WITHOUT_SHADOWS = ("name", "seed", "views", "fpr", "workers")


def attack_saved(
    context: click.Context,
    predictions: tuple[Path, ...],
    *,
    target: tuple[Path, ...],
    out: Path | None,
    fresh: bool,
    force: bool,
    settings: dict[str, Any],
    attacks: tuple[str, ...],
    gate: Gate,
    as_json: bool,
    **options: Any,
) -> None:
    """Attack saved predictions and report.

    Raises:
        TmiError: an option of training was given, another number of targets than of predictions, or the arrays are
            wrong.
    """
    for name in OF_TRAINING:
        if context.get_parameter_source(name) not in (ParameterSource.DEFAULT, None):
            raise TmiError(f"--predictions attacks what is saved and trains nothing: leave {_flag(name)} out")
        options.pop(name)
    if options.pop("non_members"):
        raise TmiError("--non-members is for audits without shadow models, which --predictions has: leave it out")
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

    named: dict[str, Any] = {name: value for name, value in whole.items() if value is not None}
    named |= {"companions": companions}
    audit = audit_of(files | named, settings | changes(**options), out, fresh=fresh, added=attacks)
    gate.require(audit.config.evaluation.false_positive_rates, how=MORE_RATES)
    with pipeline.opened(audit, fresh=fresh, force=force), pipeline.crew(audit, bars(audit.directory.root)) as workers:
        pipeline.run_stages(audit, workers, force=force)
        show_results(pipeline.report(audit, workers), audit.directory.root, gate, as_json=as_json)


def attack_without_shadows(
    context: click.Context,
    *,
    target: tuple[Path, ...],
    pretraining_labels: Path | None,
    non_members: Path | None,
    ids: Path | None,
    out: Path | None,
    fresh: bool,
    force: bool,
    settings: dict[str, Any],
    gate: Gate,
    as_json: bool,
    **options: Any,
) -> None:
    """Attack the saved answers of one model without shadow models, and report.

    Raises:
        TmiError: an option is missing or makes no sense here, or the arrays are wrong.
    """
    if not target or pretraining_labels is None:
        missing = "--pretraining-labels" if target else "--target"
        raise TmiError(f"{missing} is missing; without --predictions, answers and their points' labels are attacked")
    if gate.conditions:
        raise TmiError("--fail-if judges attacks with shadow models, which this audit has none of: leave it out")
    for name in [*options]:
        if name not in WITHOUT_SHADOWS:
            if context.get_parameter_source(name) not in (ParameterSource.DEFAULT, None):
                raise TmiError(f"{_flag(name)} makes no sense without shadow models: leave it out")
            options.pop(name)
    from tmi.runs.directory import RunDirectory, usual_place
    from tmi.runs.growing import earlier_config, refuse_other_configuration
    from tmi.runs.without_shadows import ATTACK, audit_of_files, audited_files
    from tmi.system.files import sidecar
    from tmi.system.machine import available_cores

    files = {"target": [_absolute(path) for path in target], "pretraining_labels": _absolute(pretraining_labels)}
    further = {"non_members": _absolute(non_members), "ids": _absolute(ids)}
    known = {name: path for name, path in further.items() if path is not None}
    config = audit_of_files(files | known, settings | changes(**options))
    directory = RunDirectory(out or usual_place(config.name))
    directory.refuse_foreign()
    audit = audited_files(config, threads=config.compute.workers or available_cores(), force=force)
    directory.prepare()
    with directory.locked():
        if fresh:
            directory.clear()
        refuse_other_configuration(directory.root, earlier_config(directory), config)
        scores = directory.target_scores(ATTACK)
        directory.begin([scores, sidecar(scores), *directory.documents], config.to_toml())
        for note in directory.notes:
            click.echo(note, err=True)
        audit.save(directory.root)
    show_results(audit.found, directory.root, gate, as_json=as_json)


def _flag(option: str) -> str:
    """What an option is called on the command line."""
    named = {"preset": "a preset", "attacks": "--attack", "options": "--option", "settings": "--set", "views": "--view"}
    return named.get(option, f"--{option.replace('_', '-')}")


def refuse_saved_options(options: dict[str, Any]) -> None:
    """Remove the options of saved predictions, none of which may be given without them.

    Raises:
        TmiError: one is.
    """
    for name in (*OF_SAVED, "target", "non_members"):
        if options.pop(name):
            hint = ", or --pretraining-labels for an audit without shadow models" if name == "target" else ""
            raise TmiError(f"{_flag(name)} belongs to saved predictions: --predictions is missing{hint}")


def _absolute(value: Path | str | None) -> str | None:
    return str(value.resolve()) if isinstance(value, Path) else value
