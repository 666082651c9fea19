"""The stages in their order, over one run directory."""

from __future__ import annotations

import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tmi import __version__
from tmi.attacks import attack_named
from tmi.config import Config, differences, load_config
from tmi.devices import on_this_machine
from tmi.errors import TmiError
from tmi.report import write_report
from tmi.run import Run
from tmi.rundir import RunDirectory, read_json, write_json, write_text
from tmi.stages import evaluate, finetune, membership, pretrain, query, score
from tmi.workers import Progress, Silent, Workers, available_cores

# What may differ from the configuration that a run directory was made with: nothing that was trained depends on it.
FREE_TO_CHANGE = (
    "name",
    "description",
    "attack.",
    "evaluation.",
    "compute.workers",
    "compute.memory",
    "compute.checkpoint_minutes",
    "variants.",
)
# Everything that a run writes.
FOLDERS = (
    "checkpoints",
    "pretrained",
    "finetuned",
    "predictions",
    "pretrained_predictions",
    "reference_predictions",
    "scores",
    "variants",
)
FILES = (
    "config.toml",
    "manifest.json",
    "membership.npy",
    "membership.json",
    "challenge_points.npy",
    "challenge_points.json",
    "results.json",
    "report.html",
    "roc.png",
    "roc.svg",
    "views.png",
    "views.svg",
    "shadows.png",
    "shadows.svg",
    "variants.png",
    "variants.svg",
)
# The stages that a variant has of its own.
VARIED_STAGES = ("finetune", "query", "score")

Stage = Callable[[Run, Workers], None]
TRAINING: dict[str, Stage] = {
    "membership": membership.run_stage,
    "pretrain": pretrain.run_stage,
    "finetune": finetune.run_stage,
}
QUERY: dict[str, Stage] = {"query": query.run_stage}
SCORE: dict[str, Stage] = {"score": score.run_stage}


def run_attack(
    config: Config, out: Path | str, *, fresh: bool = False, progress: Progress | None = None
) -> dict[str, Any]:
    """Do everything: train, finetune, query, attack, judge and report; go on where an earlier call stopped.

    Args:
        config: what to do.
        out: the run directory, made if it is missing.
        fresh: throw away what is there instead of going on.
        progress: shows how far the work is.

    Returns:
        The content of ``results.json``.

    Raises:
        TmiError: bad input, or a run directory of another configuration.
    """
    with opened(config, Path(out), fresh=fresh) as run, crew(run, progress) as workers:
        run_stages(run, workers, TRAINING | QUERY | SCORE)
        return report(run, workers)


@contextmanager
def opened(config: Config, out: Path, *, fresh: bool = False) -> Iterator[Run]:
    """A locked run directory for a configuration; see `run_attack`."""
    for name in config.attack.names:
        attack_named(name)
    config = on_this_machine(config)
    directory = RunDirectory(out)
    run = Run(config, directory)
    _refuse_foreign(directory)
    run.check()
    directory.prepare()
    with directory.locked():
        if fresh:
            _clear(directory)
        _refuse_other_configuration(directory, config)
        write_text(directory.config, config.to_toml())
        yield run


@contextmanager
def reopened(out: Path, changes: dict[str, Any] | None = None) -> Iterator[Run]:
    """The run in a directory, with ``changes`` to what may change."""
    path = RunDirectory(out).config
    if not path.is_file():
        raise TmiError(f"{out}: is no run directory (it has no config.toml); `tmi train` makes one")
    with opened(load_config(str(path), changes), out) as run:
        yield run


@contextmanager
def crew(run: Run, progress: Progress | None) -> Iterator[Workers]:
    """The worker processes that a run's configuration asks for."""
    with Workers(run.config.compute.workers or available_cores(), progress or Silent()) as workers:
        yield workers


def run_stages(run: Run, workers: Workers, stages: dict[str, Stage]) -> None:
    """Run stages and record their time; what exists and is current is not made again."""
    for name, stage in stages.items():
        for each in [run, *run.variants] if name in VARIED_STAGES else [run]:
            started = time.monotonic()
            try:
                stage(each, workers)
            finally:
                _record(run, each.label(name), time.monotonic() - started)


def report(run: Run, workers: Workers) -> dict[str, Any]:
    """Judge the scores and write the results, the figures and the report, of the run and of its variants."""
    seconds = _manifest(run)["seconds"]
    of_variants = {}
    for variant in run.variants:
        of_variants[variant.directory.variant_name] = evaluate.run_stage(variant, workers, seconds)
        write_report(variant, of_variants[variant.directory.variant_name])
    results = evaluate.run_stage(run, workers, seconds, of_variants)
    write_report(run, results)
    return results


def require(run: Run, stage: str, command: str) -> None:
    """Refuse to go on without what an earlier command makes.

    Args:
        run: the run.
        stage: ``finetune``, ``query`` or ``score``.
        command: the command that makes it.

    Raises:
        TmiError: a file is missing, damaged or of another configuration.
    """
    for each in [run, *run.variants]:
        directory, keys, models = each.directory, each.keys, range(run.config.models)
        needed = {
            "finetune": dict.fromkeys(map(directory.pretrained, [] if run.config.given else models), keys["pretrain"])
            | dict.fromkeys(map(directory.finetuned, models), keys["finetune"]),
            "query": {path: key for model in models for path, key in each.query_files(model).items()},
            "score": each.score_files,
        }[stage]
        for path, key in needed.items():
            if not directory.is_current(path, key):
                state = "is missing" if not path.exists() else "is damaged or of another configuration"
                raise TmiError(f"{path} {state}; run `{command}` first")


def _refuse_foreign(directory: RunDirectory) -> None:
    """Never write into a directory that holds something else."""
    root = directory.root
    if root.is_dir() and not directory.config.exists() and any(path.name != ".lock" for path in root.iterdir()):
        raise TmiError(f"{root}: is neither empty nor a run directory (it has no config.toml); choose another --out")


def _refuse_other_configuration(directory: RunDirectory, config: Config) -> None:
    if not directory.config.exists():
        return
    try:
        earlier = load_config(str(directory.config))
    except TmiError as error:
        raise TmiError(f"{error} (--fresh throws the run away and starts anew)") from None
    differing = [difference for difference in differences(earlier, config) if not difference.startswith(FREE_TO_CHANGE)]
    if differing:
        raise TmiError(
            f"{directory.root}: holds a run of another configuration: {'; '.join(differing)}; "
            "choose another --out, or --fresh to throw that run away"
        )


def _clear(directory: RunDirectory) -> None:
    """Remove what a run writes, and nothing else."""
    for name in FOLDERS:
        shutil.rmtree(directory.root / name, ignore_errors=True)
    for name in FILES:
        (directory.root / name).unlink(missing_ok=True)


def _manifest(run: Run) -> dict[str, Any]:
    return read_json(run.directory.manifest) or {"seconds": {}}


def _record(run: Run, stage: str, seconds: float) -> None:
    """Add a stage's time to the manifest; the times of an interrupted run add up."""
    times = _manifest(run).get("seconds", {})
    times[stage] = round(times.get(stage, 0.0) + seconds, 3)
    write_json(
        run.directory.manifest,
        {
            "schema": 1,
            "version": __version__,
            "seed": run.config.seed,
            "keys": run.keys,
            "fingerprints": {
                "pool": run.task.pool.fingerprint,
                "downstream": run.task.downstream.fingerprint,
            },
            "packages": {name: version(name) for name in ("numpy", "torch", "lightgbm", "scikit-learn")},
            "python": platform.python_version(),
            "machine": {
                "system": platform.platform(),
                "processor": platform.machine(),
                "cores": os.cpu_count(),
            },
            "seconds": times,
        },
    )
