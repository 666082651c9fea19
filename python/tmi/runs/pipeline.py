"""The stages in their order, over one run directory."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from tmi import __version__
from tmi.attacks.checks import require_sound
from tmi.config import AttackedConfig, Config, SavedConfig, WithoutShadowsConfig, load_any_config
from tmi.errors import TmiError
from tmi.report.results import Results
from tmi.report.tables import Provenance
from tmi.runs.adversaries import AnyConfig, main_adversary, with_attacks
from tmi.runs.directory import RunDirectory
from tmi.runs.growing import attack_names, earlier_config, refuse_other_configuration, with_more_models
from tmi.runs.point_table import point_table
from tmi.runs.run import Run
from tmi.runs.saved import SavedPredictions
from tmi.runs.subject import Description, StoredSubject
from tmi.system.executor import Executor, executor_here
from tmi.system.files import file_hash
from tmi.system.memory import parse_memory
from tmi.system.progress import Progress, shown
from tmi.system.versions import provenance

# The stages that each command runs. The membership of saved predictions is copied again before they are scored.
DRAWING = ("membership",)
TRAINING = (*DRAWING, "pretrain", "finetune")
QUERYING = ("query", "target")
SCORING = ("read", "score")


def run_attack(
    config: Config,
    out: Path | str,
    *,
    fresh: bool = False,
    force: bool = False,
    show_points: bool = False,
    workers: int | None = None,
    cluster: str | None = None,
    progress: Progress | bool | None = None,
) -> dict[str, Any]:
    """Do everything: train, finetune, query, attack, judge and report; go on where an earlier call stopped.

    Args:
        config: what to do.
        out: the run directory, made if it is missing.
        fresh: throw away what is there instead of going on.
        force: attack a target of unknown membership although it does not belong to the models of the run.
        show_points: see `report`.
        workers: processes, 0 for one per core; as the configuration says if left out. Changes no result.
        cluster: the Ray cluster where jobs run, see ``compute.cluster``; the one that this process uses already, if it
            uses one. Changes no result.
        progress: shows how far the work is; True for bars, or lines in a log file, on the error stream.

    Returns:
        The content of ``results.json``.

    Raises:
        TmiError: bad input, a target that does not belong, or a run directory of another configuration.
    """
    given = {name: value for name, value in (("workers", workers), ("cluster", cluster)) if value is not None}
    compute = config.compute.model_copy(update=given)
    config = config.model_copy(update={"compute": compute})
    with opened(subject_of(config, Path(out), fresh=fresh), fresh=fresh) as run, crew(run, progress) as executor:
        run_stages(run, executor, force=force)
        return report(run, executor, show_points=show_points).to_dict()


def subject_of(config: AttackedConfig, out: Path, *, fresh: bool = False, added: Sequence[str] = ()) -> StoredSubject:
    """A run or an audit of saved predictions, as its configuration says, going on with what is in its directory.

    Args:
        config: what is wanted.
        out: the directory.
        fresh: what is there will be thrown away.
        added: attacks besides those of what is there; alone where there is nothing.

    Raises:
        TmiError: there is no such device or attack, an attack needs what there is not, it is an audit without shadow
            models, or the directory is of another configuration.
    """
    directory = RunDirectory(out)
    earlier = None if fresh else earlier_config(directory)
    if isinstance(config, WithoutShadowsConfig):
        raise TmiError(f"{out}: is an audit without shadow models, which `tmi attack --target` makes anew as a whole")
    names = attack_names(config.attack.names, [], added, earlier if added else None)
    if isinstance(config, SavedConfig):
        return SavedPredictions(_attacked_by(config, names), directory)
    assert isinstance(config, Config)
    from tmi.shadows.experiment import on_this_machine

    config = on_this_machine(with_more_models(config, earlier))
    # Before anything of it is taken over, or any data is read.
    refuse_other_configuration(out, earlier, config)
    run = Run(with_attacks(_attacked_by(config, names)), directory)
    return run if names else run.with_usual_attacks([] if earlier is None else earlier.attack.names)


def _attacked_by(config: AnyConfig, names: Sequence[str]) -> AnyConfig:
    return config.model_copy(update={"attack": config.attack.model_copy(update={"names": list(names)})})


@contextmanager
def opened(subject: StoredSubject, *, fresh: bool = False, force: bool = False) -> Iterator[StoredSubject]:
    """The subject itself, when its directory is known to be its own and nobody else works there.

    Args:
        subject: what is attacked.
        fresh: throw away what is there instead of going on.
        force: go on with input that is found to be wrong.

    Raises:
        TmiError: bad input, or a directory of another configuration or of something else.
    """
    directory, config = subject.directory, subject.config
    directory.refuse_foreign()
    subject.check(force=force)
    directory.prepare()
    with directory.locked():
        if fresh:
            directory.clear()
        refuse_other_configuration(directory.root, earlier_config(directory), config)
        directory.begin(subject.leaves, config.to_toml())
        yield subject


@contextmanager
def reopened(out: Path, changes: dict[str, Any] | None = None, added: Sequence[str] = ()) -> Iterator[StoredSubject]:
    """The run or audit in a directory, with ``changes`` to what may change and with further attacks."""
    directory = RunDirectory(out)
    directory.restore()
    if not directory.config.is_file():
        raise TmiError(f"{out}: is no run directory (it has no config.toml); `tmi train` makes one")
    found = subject_of(load_any_config(directory.config, changes), out, added=added)
    found.directory.notes.extend(directory.notes)
    # What is wrong with the input is said where it is attacked and where it is reported.
    with opened(found, force=True) as subject:
        yield subject


@contextmanager
def trained(out: Path, changes: dict[str, Any] | None = None) -> Iterator[Run]:
    """The run in a directory, for commands that need its models, with ``changes`` to what may change.

    Raises:
        TmiError: it is an audit of saved predictions, which has none.
    """
    with reopened(out, changes) as subject:
        if not isinstance(subject, Run):
            raise TmiError(f"{out}: is an audit of saved predictions, expected a run, which has models of its own")
        yield subject


@contextmanager
def crew(subject: StoredSubject, progress: Progress | bool | None, *, only_here: bool = False) -> Iterator[Executor]:
    """The worker processes, or the workers on a cluster, that a configuration asks for.

    Args:
        subject: what is attacked.
        progress: shows how far the work is.
        only_here: there are no jobs left that a cluster could do.
    """
    compute = subject.config.compute
    if compute.cluster is None or only_here:
        with executor_here(shown(progress), compute.workers, subject.device) as executor:
            yield executor
        return
    from tmi.system.cluster import Cluster

    with Cluster(
        shown(progress),
        compute.cluster,
        subject.directory.root,
        compute.workers,
        gpus=compute.job_gpus if (subject.device or "").startswith("cuda") else 0.0,
        memory=0 if compute.job_memory is None else parse_memory(compute.job_memory),
        shared=compute.shared_files,
    ) as cluster:
        yield cluster


def run_stages(
    subject: StoredSubject, executor: Executor, only: Collection[str] | None = None, *, force: bool = False
) -> None:
    """Run stages and record their time; what exists and is current is not made again.

    Args:
        subject: the run or audit.
        executor: runs the jobs.
        only: the stages that are run; all if left out.
        force: attack what checks of the input find to be wrong, and train although a piece was not tried.

    Raises:
        TmiError: whatever a stage raises; the input is wrong.
    """
    _say_what_was_found(subject, executor.progress)
    if isinstance(subject, Run) and (only is None or "finetune" in only):
        from tmi.runs.trial import try_before_training

        try_before_training(subject, force=force)
    for name in subject.stages():
        if only is not None and name not in only:
            continue
        if name == "score":
            _require_sound(subject, executor.progress, force)
        # Imported when the stage is run: some need torch.
        run_stage = import_module(f"tmi.runs.stages.{name}").run_stage
        for each in (subject, *subject.variants):
            if name in each.stages():
                started = time.monotonic()
                try:
                    # The number of threads could change the last bits of a sum. Jobs may be run in several threads of
                    # this process, and only one of them can set a limit of it all.
                    with threadpool_limits(1):
                        run_stage(each, executor)
                finally:
                    _record(subject, each.label(name), time.monotonic() - started)


def report(subject: StoredSubject, executor: Executor, *, show_points: bool = False) -> Results:
    """Judge the scores and write the results, the figures and the report, of a run and of its variants.

    Args:
        subject: the run or audit.
        executor: for its progress display and its number of threads.
        show_points: the report shows the most exposed points as they are, which makes it confidential.

    Raises:
        TmiError: points are to be shown of an audit of saved predictions, which has none.
    """
    if show_points and not isinstance(subject, Run):
        raise TmiError(f"{subject.directory.root}: has no points to show, only what models answered about them")
    from tmi.runs.stages import evaluate

    _say_what_was_found(subject, executor.progress)
    directory = subject.directory
    seconds, made_with = directory.read_manifest().get("seconds", {}), Provenance(**_provenance(subject))
    of_variants = {}
    for variant in subject.variants:
        description = variant.describe(made_with, seconds)
        found = evaluate.run_stage(variant, executor, description)
        of_variants[variant.directory.variant_name] = found
        _write(variant, description, found, show_points)
    description = subject.describe(made_with, seconds)
    results = subject.with_variants(evaluate.run_stage(subject, executor, description), of_variants)
    _write(subject, description, results, show_points)
    written = {each.directory.variant_name: file_hash(each.directory.results) for each in (subject, *subject.variants)}
    directory.write_manifest(results=written)
    return results


def require(subject: StoredSubject, stages: Sequence[str], command: str) -> None:
    """Refuse to go on without what an earlier command makes.

    Args:
        subject: the run or audit.
        stages: those of the earlier command whose files are needed.
        command: the command that makes it.

    Raises:
        TmiError: a file is missing, damaged or of another configuration.
    """
    for each in (subject, *subject.variants):
        for stage in each.stages():
            for path, key in each.stage_files(stage).items() if stage in stages else ():
                if (state := each.directory.state(path, key)) != "current":
                    found = "of another configuration" if state == "outdated" else state
                    raise TmiError(f"{path} is {found}; run `{command}` first")


def _write(subject: StoredSubject, description: Description, results: Results, show_points: bool) -> None:
    from tmi.report.blocks import Material
    from tmi.report.document import write_report

    results.save(subject.directory.results)
    config, main = subject.config, main_adversary(subject.config)
    of_target = subject.target_attacks
    point_table(
        results,
        {name: subject.scores(name, main) for name in config.attack.names},
        subject.membership,
        description.points,
        description.ids,
        description.labels,
        {name: subject.target_scores(name) for name in of_target},
        {name: subject.scores(name, subject.target_adversary(name)) for name in of_target},
    ).save(subject.directory)
    suspected = results.target.most_suspected if results.target else []
    exhibits, of_suspected = (
        subject.exhibits([point.point for point in points]) if show_points else []
        for points in (results.points.most_exposed, suspected)
    )
    write_report(subject.directory.root, Material(results, exhibits, of_suspected, config.to_toml()))


def _require_sound(subject: StoredSubject, progress: Progress, force: bool) -> None:
    """Refuse what checks of the input find to be wrong, and say what may be."""
    findings = subject.findings
    require_sound(findings, force=force)
    for finding in findings:
        if finding.severity != "ok":
            mark = "!" if finding.severity == "warning" else "✗"
            progress.note(f"{mark} {finding.subject}: {finding.message}")


def _say_what_was_found(subject: StoredSubject, progress: Progress) -> None:
    notes = subject.directory.notes
    while notes:
        progress.note(notes.pop(0))


def _record(subject: StoredSubject, stage: str, seconds: float) -> None:
    """Add a stage's time to the manifest; the times of an interrupted run add up."""
    times = subject.directory.read_manifest().get("seconds", {})
    times[stage] = round(times.get(stage, 0.0) + seconds, 3)
    made_with = _provenance(subject)
    subject.directory.write_manifest(version=__version__, seed=subject.config.seed, seconds=times, **made_with)


def _provenance(subject: StoredSubject) -> dict[str, Any]:
    return provenance(subject.fingerprints, subject.keys)
