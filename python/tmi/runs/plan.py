"""What a run will take and what it can find, measured on pieces of it."""

from __future__ import annotations

import math
import pickle
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from tmi import _core
from tmi.attacks.scoring import LEAST_POINTS_PER_PART, Part, parts, score_part
from tmi.config import Config
from tmi.metrics.bootstrap import Bootstrap
from tmi.metrics.estimate import Estimate, detectable
from tmi.predictions.arrays import Predictions
from tmi.predictions.attack_input import AttackInput, Reference
from tmi.predictions.tokens import TOKEN, token_records
from tmi.runs.adversaries import all_adversaries, attack_of, attacks_by
from tmi.runs.run import Run
from tmi.runs.trial import POINTS_OF_FUNCTIONS, Trial
from tmi.shadows.makers.maker import ShadowMaker, Step
from tmi.system.files import size_of
from tmi.system.machine import total_memory
from tmi.system.seeding import stream
from tmi.system.worker import sending

# How long the shorter of two trainings is to take that are timed, within which numbers of epochs, and how much longer
# the other one takes: the difference is free of what is done once.
SECONDS_OF_TRAINING = 0.5
EPOCHS = (2, 60)
LONGER = 4
# Points that the models of the longer one are asked about.
ASKED = 16
# What the steps of a maker are called here.
STAGES: dict[Step, str] = {
    "pretrain": "pretraining",
    "finetune": "finetuning",
    "query": "queries",
    "query_pretrained": "queries",
}
# Points of made-up answers, on which attacks are timed; their time grows about as the number of points.
POINTS_OF_ATTACKS = 150


@dataclass
class Stage:
    """What a stage takes, over the run and its variants.

    Attributes:
        jobs: each on a core or an accelerator.
        busy: seconds of all jobs one after another.
        wall: seconds with as many at a time as there are places.
        step: seconds that a job takes for a batch of each of its models; 0 where none is trained.
        operations: in floating point; 0 where nobody can count them.
        files: bytes that jobs read and write as files.
    """

    jobs: int = 0
    busy: float = 0.0
    wall: float = 0.0
    step: float = 0.0
    operations: float = 0.0
    files: int = 0


@dataclass(frozen=True)
class Needs:
    """What a run takes, in seconds and bytes, and what it can find.

    Attributes:
        stages: what the jobs that make and ask models take.
        data: bytes that every machine is sent of points, queries and membership.
        seconds: wall-clock time by stage.
        processes: that train at the same time.
        memory: of each of these, without the data; 0 where it is not known.
        memory_here: what this machine or container has; 0 where it is not known.
        device_memory: of an accelerator; 0 without one.
        disk: that models, answers and scores take.
        disk_here: what is free where they are written.
        auc: the smallest AUC that four of five such runs would tell from one half, if rows were independent.
    """

    stages: dict[str, Stage]
    data: int
    seconds: dict[str, float]
    processes: int
    memory: int
    memory_here: int
    device_memory: int
    disk: int
    disk_here: int
    auc: float


def needs_of(run: Run, processes: int, scoring: int | None = None) -> Needs:
    """Measure what a run takes on pieces of it, one trained for longer than the other; everything was tried before.

    Args:
        run: the run.
        processes: that train or query at the same time, here or elsewhere.
        scoring: that attack at the same time; as many if left out.

    Raises:
        TmiError: a step fails, for instance because memory runs out with a whole batch.
    """
    every, recipe = [run, *run.variants], run.config.recipe is not None
    # What a worker process does first, this one has done until now: it loaded the libraries and the data.
    start = time.process_time()
    points = 2 * max(run.config.pretrain.batch_size, run.config.finetune.batch_size)
    if recipe:
        points = max(POINTS_OF_FUNCTIONS, *(2 * len(each.class_names) for each in (run.task.pool, run.task.downstream)))
    with TemporaryDirectory() as folder:
        # The first time with whole batches, libraries choose their kernels.
        first = Trial(run, every, Path(folder, "first"), points, together=True).make()
        longest = max(first[0]["pretrain"], first[0]["finetune"], 1e-3)
        epochs = int(np.clip(SECONDS_OF_TRAINING / longest, *EPOCHS))
        short = Trial(run, every, Path(folder, "short"), points, epochs, together=True)
        of_short = short.make()
        # The user's functions may train for as long as they like, so that only more points take longer.
        points, epochs = (LONGER * points, epochs) if recipe else (points, LONGER * epochs)
        long = Trial(run, every, Path(folder, "long"), points, epochs, ASKED, together=True)
        of_long = long.make()
        stages = {"pretraining": Stage(), "finetuning": Stage(), "queries": Stage()}
        disk = sum(8 * run.config.targets * run.points * len(each.score_files) for each in every)
        for index, each in enumerate(every):
            for step, busy, of_step in _step_seconds(each, (short, long), (of_short, of_long), index):
                stage, maker = stages[STAGES[step]], long.pretraining if "pretrain" in step else long.finetunings[index]
                jobs = len(maker.groups(step))
                read, written = _files(each, maker, step)
                stage.jobs += jobs
                stage.busy += jobs * busy
                stage.wall += math.ceil(jobs / processes) * busy
                stage.step = max(stage.step, of_step)
                stage.operations += run.config.models * each.maker.operations(step)
                stage.files += read + written
                disk += written
        seconds = {"start": start if processes > 1 else 0.0} | {name: stage.wall for name, stage in stages.items()}
        of_pretrained = long.pretraining.files.pretrained_predictions(0)
        answered = np.load(of_pretrained, mmap_mode="r").shape[-1] if of_pretrained.exists() else 0
        seconds["attacks"] = sum(_attack_seconds(each, answered) for each in every) / (scoring or processes)
    return Needs(
        stages,
        _data(run),
        seconds,
        processes,
        max(0, _peak_memory() - _known_data(every)),
        total_memory() or 0,
        _device_memory(run.config),
        disk,
        _free(run.directory.root),
        smallest_auc(run, processes),
    )


def _step_seconds(
    run: Run,
    trials: tuple[Trial, Trial],
    seconds: tuple[Sequence[dict[Step, float]], ...],
    index: int,
) -> Iterator[tuple[Step, float, float]]:
    """The time of a job of every step of a finetuning, and of a step of its training.

    What takes longer in the longer trial grows with the work.
    """
    experiment, own, count = run.experiment, run.config.recipe is None, run.config.query.count
    task, forward = experiment.task, 0.0
    # Queries come first: they tell how long it takes to look at a point, as is also done after a training.
    for step in sorted(seconds[0][index], key=lambda step: "query" not in step):
        makers = [trial.pretraining if "pretrain" in step else trial.finetunings[index] for trial in trials]
        models = trials[0].models(makers[0], step)
        if not models:
            continue
        short, long = (len(models) * _work(maker, step) for maker in makers)
        asked = len(task.challenge_points) + (len(task.reference_points) if step == "query" else 0)
        if step in ("query", "query_pretrained"):
            looked_at = len(task.downstream if step == "query" else task.pool)
            whole = asked * count + (0 if own else looked_at)
        elif own:
            whole = run.maker.samples(step)
        else:
            whole = len(task.pool) // 2 if step == "pretrain" else len(experiment.finetuning_set(0))
        slope = max(0.0, seconds[1][index][step] - seconds[0][index][step]) / (long - short) if long > short else 0.0
        fixed = max(0.0, seconds[0][index][step] - slope * short)
        if step == "query" and own:
            forward = slope
        if step in ("pretrain", "finetune") and own:
            looks = 2 if step == "finetune" and run.config.finetune.transfer == "head" else 1
            seen = len(makers[0].experiment.task.pool if step == "pretrain" else makers[0].experiment.task.downstream)
            all_seen = len(task.pool if step == "pretrain" else task.downstream)
            fixed = max(0.0, fixed - looks * len(models) * seen * forward) + looks * len(models) * all_seen * forward
        batch = {"pretrain": run.config.pretrain.batch_size, "finetune": run.config.finetune.batch_size}.get(step, 0)
        yield step, fixed + slope * len(models) * whole, slope * len(models) * batch if own else 0.0


def _work(maker: ShadowMaker, step: Step) -> int:
    """What one model's time of a step grows with: samples it is trained on, or points it is asked about."""
    piece = maker.experiment
    config, own = piece.config, piece.config.recipe is None
    if step in ("query", "query_pretrained"):
        others = 0 if own else len(piece.task.downstream if step == "query" else piece.task.pool)
        return len(piece.task.challenge_points) * config.query.count + others
    if own:
        return maker.samples(step)
    return int(piece.membership[0].sum()) if step == "pretrain" else len(piece.finetuning_set(0))


def _attack_seconds(run: Run, answered: int) -> float:
    """The time of all attacks on one processor, from a part of each on made-up answers.

    Args:
        run: the run or a variant.
        answered: numbers in an answer of a pretrained model; 0 if none is asked.
    """
    config, task, membership = run.config, run.task, run.experiment.membership
    challenges, references = (some[:POINTS_OF_ATTACKS] for some in (task.challenge_points, task.reference_points))
    random, count, writes = stream(config.seed, "plan"), config.query.count, run.answers_type == TOKEN
    classes = run.experiment.longest_query - 1 if writes else len(task.downstream.class_names)

    def made_up(points: int, numbers: int) -> Predictions:
        drawn = [random.standard_normal((points, count, numbers), dtype=np.float32) for _ in range(config.models)]
        return Predictions([token_records(each, np.zeros(each.shape), each) for each in drawn] if writes else drawn)

    def labels(points: NDArray[np.int64]) -> NDArray[np.int64] | None:
        return task.pool.labels[points] if len(task.pool.class_names) > 1 else None

    reference = Reference(made_up(len(references), classes), membership[:, references], labels(references))
    answers = AttackInput(
        made_up(len(challenges), classes),
        membership[:, challenges],
        made_up(len(challenges), answered) if answered else None,
        config.seed,
        reference=reference if len(references) else None,
        pretraining_labels=labels(challenges),
        inputs=task.challenges.take(np.arange(len(challenges))).raw if config.given or writes else None,
    )
    times = dict.fromkeys(config.attack.names, 0.0)
    with threadpool_limits(1):
        for name in times:
            attack = attack_of(config, name)
            part = parts(attack, config.models, config.targets, len(challenges), 1)[0]
            # What is loaded or compiled at the first time is no time of every part.
            score_part(attack, answers, Part(range(1), range(min(LEAST_POINTS_PER_PART, len(challenges)))))
            started = time.process_time()
            score_part(attack, answers, part)
            whole = config.targets * len(task.challenge_points)
            times[name] = (time.process_time() - started) * whole / part.size
    return sum(times[name] for adversary in all_adversaries(config) for name in attacks_by(config, adversary))


def _files(run: Run, maker: ShadowMaker, step: Step) -> tuple[int, int]:
    """Bytes that all models of a step read and write, as those of a trial are large."""
    task, asked = run.task, len(maker.experiment.task.challenge_points)
    read, written = (sum(map(size_of, some)) for some in (maker.reads(step, 0), maker.writes(step, 0)))
    if step in ("query", "query_pretrained"):
        # References are asked as well, but not by the trial.
        points = len(task.challenge_points) + (len(task.reference_points) if step == "query" else 0)
        written = written * points // asked
    return run.config.models * read, run.config.models * written


def _data(run: Run) -> int:
    """Bytes of what every machine is sent once: points as networks read them, queries and membership."""
    experiment, task = run.experiment, run.task
    if run.config.finetune.objective == "causal":
        # Texts differ in length, and those of models that write are encoded by now.
        known = (experiment.pool_inputs, experiment.downstream_inputs, *experiment.encoded_queries)
        return sum(each.nbytes for each in known if each is not None) + experiment.membership.nbytes
    asked = len(task.challenge_points) + len(task.reference_points)
    of_point = experiment.encode(task.downstream.raw[:1]).nbytes
    of_queries = experiment.encode_queries(experiment.queries(task.challenges.take(np.arange(1)))).nbytes
    return (len(task.pool) + len(task.downstream)) * of_point + asked * of_queries + experiment.membership.nbytes


def _known_data(every: Sequence[Run]) -> int:
    """Bytes of the arrays that this process has by now, and that others would be sent."""
    sizes = dict[str, int]()

    def send(key: str, content: Callable[[], Any]) -> None:
        arrays: list[pickle.PickleBuffer] = []
        pickle.dumps(content(), protocol=5, buffer_callback=arrays.append)
        sizes[key] = sum(array.raw().nbytes for array in arrays)

    with sending(send):
        pickle.dumps([run.maker for run in every])
    return sum(sizes.values())


def smallest_auc(run: Run, threads: int) -> float:
    """The AUC from which on four of five such runs would exclude one half, see `detectable`.

    The interval is the one of the report, of scores without any leak and with this run's membership. Real scores of a
    point resemble one another between targets, which makes real intervals wider.
    """
    config = run.config
    labels = run.experiment.membership[: config.targets][:, run.task.challenge_points]
    members = int(labels.sum())
    scores, rates = stream(config.seed, "plan").normal(size=labels.shape), np.empty(0)
    bootstrap = Bootstrap(config.evaluation.resamples, config.evaluation.confidence, config.seed, threads)
    estimates = _core.roc_metrics(scores, labels, rates, threads=threads)
    rows = np.array([min(members, labels.size - members), members], dtype=np.float64)
    low, high, _ = bootstrap.draw(scores, labels, rates).intervals(
        estimates, rows, np.array([0.5, 0.5]), bootstrap.confidence
    )
    found = Estimate(float(estimates[0]), float(low[0]), float(high[0]))
    return min(1.0, 0.5 + detectable(found, bootstrap.confidence))


def _peak_memory() -> int:
    """The most memory that this process has had, which holds the data and has trained with whole batches."""
    try:
        import resource
    except ImportError:  # not on Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _device_memory(config: Config) -> int:
    if not config.compute.device.startswith("cuda"):
        return 0
    import torch

    return torch.cuda.max_memory_reserved(config.compute.device)


def _free(directory: Path) -> int:
    """Bytes that are free where a directory will be."""
    there = next(path for path in (directory.absolute(), *directory.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free
