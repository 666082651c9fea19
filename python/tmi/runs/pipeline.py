"""The stages in their order, over one run directory."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from tmi import __version__
from tmi.config import AttackedConfig, Config, SavedConfig, differences, load_any_config
from tmi.errors import TmiError
from tmi.report.results import ExposedPoint, Provenance, Results, Suspect
from tmi.runs.adversaries import require_known
from tmi.runs.directory import RunDirectory
from tmi.runs.run import Run
from tmi.runs.saved import SavedPredictions
from tmi.runs.subject import Description
from tmi.system.executor import Executor, executor_here
from tmi.system.files import read_json, write_json, write_text
from tmi.system.progress import Progress, Silent
from tmi.system.versions import provenance

if TYPE_CHECKING:
    from tmi.report.exhibits import Exhibit

AnyCase: TypeAlias = Run | SavedPredictions

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
    "target.",
    "files.target",
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
    "target",
    "target_scores",
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
    "points.csv",
    "report.html",
    "report.md",
    "roc.png",
    "roc.svg",
    "histogram.png",
    "histogram.svg",
    "views.png",
    "views.svg",
    "shadows.png",
    "shadows.svg",
    "variants.png",
    "variants.svg",
)
# The stages that a variant has of its own.
VARIED_STAGES = ("finetune", "query", "score")

Stage: TypeAlias = Callable[[Any, Executor], None]


def _stage(name: str) -> Stage:
    """The stage in the module of that name, which is imported when the stage is run: some need torch."""

    def run_stage(case: Any, executor: Executor) -> None:
        import_module(f"tmi.runs.stages.{name}").run_stage(case, executor)

    return run_stage


TRAINING = {name: _stage(name) for name in ("membership", "pretrain", "finetune")}
QUERY = {"query": _stage("query"), "target": _stage("target")}
SCORE = {"score": _stage("score")}
# Where nothing is trained: the membership is copied into the directory, and attacked.
SAVED = {"read": _stage("read"), "score": _stage("score")}


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
        return report(run, workers).to_dict()


@contextmanager
def opened(config: Config, out: Path, *, fresh: bool = False) -> Iterator[Run]:
    """A locked run directory for a configuration; see `run_attack`."""
    require_known(config)
    from tmi.shadows.experiment import on_this_machine

    with _locked(Run(on_this_machine(config), RunDirectory(out)), fresh=fresh) as run:
        yield run


@contextmanager
def opened_saved(config: SavedConfig, out: Path, *, fresh: bool = False) -> Iterator[SavedPredictions]:
    """A locked directory for an audit of saved predictions."""
    require_known(config)
    with _locked(SavedPredictions(config, RunDirectory(out)), fresh=fresh) as case:
        yield case


@contextmanager
def reopened(out: Path, changes: dict[str, Any] | None = None) -> Iterator[AnyCase]:
    """The run or audit in a directory, with ``changes`` to what may change."""
    path = RunDirectory(out).config
    if not path.is_file():
        raise TmiError(f"{out}: is no run directory (it has no config.toml); `tmi train` makes one")
    config = load_any_config(path, changes)
    if isinstance(config, SavedConfig):
        with opened_saved(config, out) as case:
            yield case
    else:
        with opened(config, out) as run:
            yield run


@contextmanager
def trained(out: Path) -> Iterator[Run]:
    """The run in a directory, for commands that need its models.

    Raises:
        TmiError: it is an audit of saved predictions, which has none.
    """
    with reopened(out) as case:
        if not isinstance(case, Run):
            raise TmiError(f"{out}: is an audit of saved predictions, expected a run, which has models of its own")
        yield case


@contextmanager
def crew(run: AnyCase, progress: Progress | None) -> Iterator[Executor]:
    """The worker processes that a run's configuration asks for."""
    device = run.config.compute.device if isinstance(run, Run) else None
    with executor_here(progress or Silent(), run.config.compute.workers, device) as executor:
        yield executor


def run_stages(run: AnyCase, executor: Executor, stages: dict[str, Stage]) -> None:
    """Run stages and record their time; what exists and is current is not made again."""
    for name, stage in stages.items():
        if name == "target" and run.target_key is None:
            continue
        for each in _with_variants(run) if name in VARIED_STAGES else [run]:
            started = time.monotonic()
            try:
                stage(each, executor)
            finally:
                _record(run, each.label(name), time.monotonic() - started)


def report(case: AnyCase, executor: Executor) -> Results:
    """Judge the scores and write the results, the figures and the report, of a run and of its variants."""
    from tmi.runs.stages import evaluate
    from tmi.runs.variants import variant_results

    seconds = _manifest(case)["seconds"]
    made_with = Provenance(**_provenance(case))
    variants = case.variants if isinstance(case, Run) else []
    of_variants = {}
    for variant in variants:
        found = evaluate.run_stage(variant, executor, _described(variant, made_with, seconds))
        of_variants[variant.directory.variant_name] = found
        _write(variant, found)
    results = evaluate.run_stage(case, executor, _described(case, made_with, seconds))
    if of_variants and isinstance(case, Run):
        results = results.model_copy(update={"variants": variant_results(case, results, of_variants)})
    _write(case, results)
    return results


def _described(case: AnyCase, made_with: Provenance, seconds: dict[str, float]) -> Description:
    from tmi.runs.describe import describe

    return describe(case, made_with, seconds) if isinstance(case, Run) else case.describe(made_with, seconds)


def _write(case: AnyCase, results: Results) -> None:
    from tmi.report.document import write_report

    results.save(case.directory.results)
    suspected = results.target.most_suspected if results.target else []
    exhibits = [_exhibits(case, points) for points in (results.points.most_exposed, suspected)]
    write_report(case.directory.root, results, exhibits[0], case.config.to_toml(), exhibits[1])


def _exhibits(case: AnyCase, points: Sequence[ExposedPoint | Suspect]) -> list[Exhibit]:
    """What points look like, where that is known."""
    from tmi.report.exhibits import Exhibit

    if not isinstance(case, Run):
        return []
    pool = case.task.pool
    return [Exhibit(pool.kind, pool.raw[point.point]) for point in points]


def require(case: AnyCase, stage: str, command: str) -> None:
    """Refuse to go on without what an earlier command makes.

    Args:
        case: the run or audit.
        stage: ``finetune``, ``query`` or ``score``.
        command: the command that makes it.

    Raises:
        TmiError: a file is missing, damaged or of another configuration.
    """
    for each in _with_variants(case):
        for path, key in _needed(each, stage).items():
            if not each.directory.is_current(path, key):
                state = "is missing" if not path.exists() else "is damaged or of another configuration"
                raise TmiError(f"{path} {state}; run `{command}` first")


def _needed(case: AnyCase, stage: str) -> dict[Path, str]:
    """The files that a stage leaves, with their keys."""
    if stage == "score":
        return case.score_files
    if not isinstance(case, Run):
        return {}
    if stage == "finetune":
        return case.maker.artefacts("pretrain", "finetune")
    return case.maker.artefacts("query", "query_pretrained") | case.target_files


def _with_variants(case: AnyCase) -> list[AnyCase]:
    return [case, *(case.variants if isinstance(case, Run) else [])]


@contextmanager
def _locked(case: AnyCase, *, fresh: bool) -> Iterator[Any]:
    """The case itself, when its directory is known to be its own and nobody else works there."""
    directory = case.directory
    _refuse_foreign(directory)
    case.check()
    directory.prepare()
    with directory.locked():
        if fresh:
            _clear(directory)
        _refuse_other_configuration(directory, case.config)
        write_text(directory.config, case.config.to_toml())
        yield case


def _refuse_foreign(directory: RunDirectory) -> None:
    """Never write into a directory that holds something else."""
    root = directory.root
    if root.is_dir() and not directory.config.exists() and any(path.name != ".lock" for path in root.iterdir()):
        raise TmiError(f"{root}: is neither empty nor a run directory (it has no config.toml); choose another --out")


def _refuse_other_configuration(directory: RunDirectory, config: AttackedConfig) -> None:
    if not directory.config.exists():
        return
    try:
        earlier = load_any_config(directory.config)
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


def _manifest(case: AnyCase) -> dict[str, Any]:
    return read_json(case.directory.manifest) or {"seconds": {}}


def _record(case: AnyCase, stage: str, seconds: float) -> None:
    """Add a stage's time to the manifest; the times of an interrupted run add up."""
    times = _manifest(case).get("seconds", {})
    times[stage] = round(times.get(stage, 0.0) + seconds, 3)
    manifest = {"schema": 1, "version": __version__, "seed": case.config.seed, "seconds": times}
    write_json(case.directory.manifest, manifest | _provenance(case))


def _provenance(case: AnyCase) -> dict[str, Any]:
    return provenance(case.fingerprints, case.keys if isinstance(case, Run) else {"answers": case.answers_key})
