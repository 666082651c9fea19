"""Options that several commands share, and what their values mean."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tmi.system.files import TEMPORARY

if TYPE_CHECKING:
    from tmi.config import Config
    from tmi.system.progress import Progress

# Where a command's context has the run directory that it works in.
WORKED_IN = "tmi.worked_in"
Command = TypeVar("Command", bound=Callable[..., Any])
RUN = click.argument("directory", metavar="RUN", type=click.Path(path_type=Path))
SHOW_POINTS = click.option(
    "--show-points",
    is_flag=True,
    help="Show the most exposed points as they are; the report is then as confidential as the pretraining data.",
)

MEANING = click.option(
    "--meaning",
    type=click.Choice(["logits", "tokens"]),
    help="What the numbers of saved predictions are; tokens: log-probabilities of the tokens of texts [models, points, "
    "augmentations, tokens], NaN behind the end of each text.",
)
CLUSTER = click.option(
    "--cluster",
    metavar="ADDRESS",
    help="Run jobs on a Ray cluster: auto, local, HOST:6379, or none. Changes no result.",
)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in a command; has an argument where something was finished that the same command goes on from."""


def _parse_settings(_: click.Context, __: click.Parameter, settings: tuple[str, ...]) -> dict[str, Any]:
    from tmi.config import parse_value

    values: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{setting!r} is not of the form key=value, for instance pretrain.epochs=10")
        values[key] = parse_value(text)
    return values


def _parse_attack_options(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> dict[str, Any]:
    from tmi.config import parse_value

    values: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or key.count(".") != 1 or not all(key.split(".")):
            raise click.BadParameter(f"{text!r} is not of the form ATTACK.OPTION=VALUE, for instance rmia.gamma=2")
        values[f"attack.options.{key}"] = parse_value(value)
    return values


def _parse_targets(_: click.Context, __: click.Parameter, text: str | None) -> int | str | None:
    if text is None or text == "all":
        return text
    if not _is_count(text) or int(text) < 1:
        raise click.BadParameter(f"{text!r} is neither 'all' nor a number of models from 1")
    return int(text)


def _is_count(text: str) -> bool:
    """Whether it is a number of models, and not one of more digits than Python reads."""
    return text.isdecimal() and len(text) <= 18


def _parse_list(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> list[str]:
    """The entries of an option that may be repeated and takes commas."""
    return [entry.strip() for text in texts for entry in text.split(",")]


def _parse_numbers(context: click.Context, option: click.Parameter, texts: tuple[str, ...]) -> list[int]:
    entries = _parse_list(context, option, texts)
    for entry in entries:
        if not _is_count(entry):
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
            click.option("--name", help="Title of the report, and of the directory in runs/ if there is no --out."),
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
            CLUSTER,
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
                help="Run only this attack; in a directory that has a run, also this one. Repeatable; `tmi attacks` "
                "lists them.",
            ),
            click.option(
                "--option",
                "options",
                multiple=True,
                metavar="ATTACK.OPTION=VALUE",
                callback=_parse_attack_options,
                help="Option of an attack, for instance rmia.gamma=2. Repeatable; `tmi attacks` lists them.",
            ),
            click.option(
                "--view",
                "views",
                multiple=True,
                metavar="VIEW",
                callback=_parse_list,
                help="What the adversary sees: logits, probabilities, top-K, top-K-unnamed, label or rounded-D; of "
                "models that write, tokens, top-K, loss or text. Repeatable, or with commas: the first is the main "
                "one, the others are compared with it.",
            ),
            click.option(
                "--shadows",
                multiple=True,
                metavar="N",
                callback=_parse_numbers,
                help="Also attack with only N of the shadow models. Repeatable, or with commas: 8,16,32.",
            ),
            click.option(
                "--together",
                multiple=True,
                metavar="VARIANT|all",
                callback=_parse_names,
                help="Also attack the run's own finetuning together with these of its variants, one more at a time. "
                "Repeatable, or with commas; or none. A target of unknown membership is attacked by itself.",
            ),
            click.option(
                "--targets",
                callback=_parse_targets,
                metavar="all|N",
                help="Let only the first N models be targets.",
            ),
            click.option(
                "--fpr",
                type=click.FloatRange(0, 1, min_open=True, max_open=True),
                help="False positive rate at which points of a target of unknown membership are called members.",
            ),
            click.option(
                "--force",
                is_flag=True,
                help="Attack predictions or a target although a check finds them to be wrong; the report says so. "
                "Train without trying a piece before.",
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


def saved_options(command: Command) -> Command:
    """Options of `tmi attack` for predictions that were saved by other tools."""
    path = click.Path(path_type=Path)
    for option in reversed(
        [
            click.option(
                "--predictions",
                type=path,
                multiple=True,
                help="Attack saved predictions instead of training: a file or folder, raw logits "
                "[models, points, augmentations, classes] or the layout of another tool. Repeatable: other "
                "finetunings of the same models, which are also attacked together with the first.",
            ),
            click.option("--membership", type=path, help="Of the saved predictions: bool [models, points]."),
            click.option("--labels", type=path, help="Of the saved predictions: the class of each point, [points]."),
            click.option(
                "--pretraining-labels",
                type=path,
                help="Of the saved predictions: the class that each point had in pretraining, [points], any integers.",
            ),
            click.option(
                "--pretrained-predictions",
                type=path,
                help="Of the saved predictions: answers of the pretrained models themselves, for direct access.",
            ),
            click.option(
                "--target",
                type=path,
                multiple=True,
                help="Saved answers [points, augmentations, classes] of one more model, whose membership nobody knows; "
                "where there are several --predictions, in the first finetuning, or repeated in their order.",
            ),
            click.option(
                "--non-members",
                type=path,
                help="Without --predictions: which points of --target are known to be no members, bool [points].",
            ),
            click.option(
                "--ids",
                type=path,
                help="What you call each point, in tables and reports: integers or strings [points], .npy, .npz or a "
                "line each in .txt.",
            ),
            click.option(
                "--texts",
                type=path,
                help="The texts that models that write were asked about, for attacks that look at them: strings "
                "[points], .npy or .npz, or a JSON object with a text a line.",
            ),
            MEANING,
            click.option("--layout", help="Layout of the saved predictions by name; found out if left out."),
        ]
    ):
        command = option(command)
    return command


def debuggable(command: Command) -> Command:
    """The option ``--debug``, which is read by the entry point."""

    @click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except KeyboardInterrupt:
            root = click.get_current_context().meta.get(WORKED_IN)
            raise Interrupted(*["kept"] if root is not None and _holds_work(root) else []) from None

    return wrapped  # type: ignore[return-value]


def changes(
    name: str | None = None,
    seed: int | None = None,
    models: int | None = None,
    device: str | None = None,
    workers: int | None = None,
    cluster: str | None = None,
    targets: int | str | None = None,
    memory: str | None = None,
    views: Sequence[str] = (),
    shadows: Sequence[int] = (),
    together: list[str] | None = None,
    fpr: float | None = None,
    options: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Options as configuration keys, those that were not given left out."""
    values = {
        "name": name,
        "seed": seed,
        "models": models,
        "compute.device": device,
        "compute.workers": workers,
        "compute.cluster": cluster,
        "evaluation.targets": targets,
        "evaluation.accusation_rate": fpr,
        "compute.memory": memory,
        "attack.views": list(views) or None,
        "attack.shadows": list(shadows) or None,
        "attack.together": "all" if together == ["all"] else together,
    }
    return {key: value for key, value in values.items() if value is not None} | (options or {})


def configured(
    preset: str,
    settings: dict[str, Any],
    data: Path | None,
    variants: list[str] | None,
    epsilons: list[float],
    **options: Any,
) -> Config:
    """The configuration of a preset or file with what the options of training change."""
    from tmi.config import load_config

    return load_config(preset, settings | changes(**options), data, variants=variants, epsilons=epsilons)


def bars(worked_in: Path | None = None) -> Progress:
    """Bars on the standard error stream, of work in a run directory, ``worked_in``, or in none."""
    from tmi.system.progress import shown

    if worked_in is not None:
        click.get_current_context().meta[WORKED_IN] = worked_in
    return shown(True)


def _holds_work(root: Path) -> bool:
    """Whether a run directory holds more than a run begins with: models, predictions, scores or kept answers."""
    return any(path.suffix != TEMPORARY for path in root.glob("*/*"))
