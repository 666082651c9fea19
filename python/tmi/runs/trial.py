"""A piece of a run's data on which everything is tried once, so that whatever would fail after hours fails now.

The piece is trained, finetuned and queried by the maker of the run's own models, in a folder that is thrown away.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from tmi.config import FinetuneConfig, TrainingConfig
from tmi.data.split import Task
from tmi.data.tokens import Tokenizer
from tmi.errors import TmiError, first_line
from tmi.runs.run import Run
from tmi.shadows.artefacts import Artefacts
from tmi.shadows.experiment import Experiment
from tmi.shadows.keys import artefact_keys
from tmi.shadows.makers import maker_of
from tmi.shadows.makers.maker import ShadowMaker, Step
from tmi.system.progress import Silent

# Points of the smallest piece: a step of a batch that every network can be trained on, and as many to test it with. The
# user's functions have batches of their own, which are to be full.
FEWEST_POINTS = 16
POINTS_OF_FUNCTIONS = 256
# A refused connection or a wrong token is found at once, and a moment's failure is forgiven.
RETRIES = 1


@dataclass(frozen=True)
class Piece(Experiment):
    """A few points of an experiment; for functions of the user, which may count the classes, some of every class.

    Attributes:
        whole: the experiment that it is a piece of.
        points: of pool and task at least, if they have so many.
        asked: points that are queried.
    """

    whole: Experiment | None = None
    points: int = 0
    asked: int = 1

    @classmethod
    def of(cls, whole: Experiment, points: int, epochs: int, asked: int) -> Piece:
        """A piece that is trained for so many epochs."""
        config, batch = whole.config, max(1, points // 2)
        finetune = _short(config.finetune, epochs, batch)
        if isinstance(finetune, FinetuneConfig) and finetune.private is not None:
            # Which noise a budget asks for depends on the number of points, and takes seconds to find out.
            private, noise = finetune.private, finetune.private.noise_multiplier
            fixed = {"epsilon": None, "noise_multiplier": 1.0 if noise is None else noise}
            finetune = finetune.model_copy(update={"private": private.model_copy(update=fixed)})
        short = {
            "pretrain": _short(config.pretrain, epochs, batch),
            "finetune": finetune,
            "downstream": config.downstream.model_copy(update={"points_per_model": None}),
        }
        return cls(config.model_copy(update=short), None, whole, points, asked)

    @property
    def _whole(self) -> Experiment:
        assert self.whole is not None
        return self.whole

    @cached_property
    def task(self) -> Task:
        """Points from all over the pool and the task, of which the first are challenged."""
        task = self._whole.task
        known = task.known_members
        of_pool = self._chosen(task.pool.labels if known is None else known, known is not None)
        pool, downstream = task.pool.take(of_pool), task.downstream.take(self._chosen(task.downstream.labels))
        known = None if known is None else known[of_pool]
        none = np.empty(0, dtype=np.int64)
        return Task(pool, downstream, np.arange(min(self.asked, len(pool))), none, 0, 0, known)

    @property
    def tokenizer(self) -> Tokenizer | None:
        """That of the whole."""
        return self._whole.tokenizer

    @cached_property
    def membership(self) -> NDArray[np.bool_]:
        """Every other point, the same ones for every model."""
        known = self.task.known_members
        row = self._every_other(self.task.pool.labels) if known is None else known
        return np.tile(row, (self.config.models, 1))

    def finetuning_set(self, model: int) -> NDArray[np.int64]:
        """Every other point."""
        return np.flatnonzero(self._every_other(self.task.downstream.labels))

    def _chosen(self, labels: NDArray[Any], of_every_class: bool = False) -> NDArray[np.int64]:
        """Ascending indices of the piece's points: so many, or two of every class where that is more."""
        if self.config.recipe is None and not of_every_class:
            return np.unique(np.linspace(0, len(labels) - 1, self.points).astype(np.int64))
        ranks = _ranks(labels)
        return np.sort(np.argsort(ranks, kind="stable")[: max(self.points, int((ranks < 2).sum()))])

    def _every_other(self, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Half of the points; for functions of the user, of every class, the first point of each among them."""
        places = np.arange(len(labels)) if self.config.recipe is None else _ranks(labels)
        even: NDArray[np.bool_] = places % 2 == 0
        return even


def _short(recipe: TrainingConfig, epochs: int, batch: int) -> TrainingConfig:
    return recipe.model_copy(update={"epochs": epochs, "batch_size": min(recipe.batch_size, batch)})


def _ranks(labels: NDArray[Any]) -> NDArray[np.int64]:
    """The how-manieth of its class each point is."""
    order = np.argsort(labels, kind="stable")
    ordered = labels[order]
    ranks = np.empty(len(labels), dtype=np.int64)
    ranks[order] = np.arange(len(labels)) - np.searchsorted(ordered, ordered)
    return ranks


def try_before_training(run: Run, *, force: bool = False) -> None:
    """Ask the target about one point, and train, finetune and query a piece, unless that is done already.

    Args:
        run: what is about to be trained.
        force: train although a piece might fail, for functions that need all points.

    Raises:
        TmiError: something fails that would fail later.
    """
    from tmi.system.devices import is_here

    directory = run.directory
    if not all(directory.is_current(path, key) for path, key in run.target_files.items()):
        ask_target(run, directory.target_cache)
    untried = [each for each in (run, *run.variants) if not each.maker.finetuned(0).exists()]
    # What was pretrained was tried before.
    if run in untried and run.maker.pretrained(0).exists():
        untried.remove(run)
    # What a cluster alone has is not tried here.
    if untried and not force and is_here(run.device):
        try_piece(run, untried)


def try_piece(run: Run, finetunings: Sequence[Run]) -> None:
    """Pretrain a model on a piece of the pool, and finetune and query it as each of the finetunings says.

    Raises:
        TmiError: it fails.
    """
    with TemporaryDirectory() as folder:
        points = FEWEST_POINTS if run.config.recipe is None else POINTS_OF_FUNCTIONS
        Trial(run, finetunings, Path(folder), points, together=False).make()


def ask_target(run: Run, cache: Path) -> None:
    """Ask the target of the configuration, if there is one, about the first challenge point.

    Args:
        run: names the target.
        cache: where the answer is kept.

    Raises:
        TmiError: it cannot be asked, or answers something else than was expected.
    """
    from tmi.system.devices import own_device
    from tmi.targets import query_target

    target, task = run.config.target, run.task
    if target is None:
        return
    if target.kind == "predictions":
        # Only how many there are is looked at.
        queries: NDArray[Any] = np.zeros((len(task.challenge_points), run.config.query.count), dtype=np.uint8)
    else:
        queries = run.experiment.queries(task.challenges.take(np.arange(1)))[:, :1]
    impatient = target.model_copy(update={"retries": min(target.retries, RETRIES)})
    device = str(own_device(run.config.compute.device))
    classes = len(task.downstream.class_names)
    query_target(
        impatient, queries, task.pool.kind, classes, cache, Silent(), device=device, texts=run.experiment.texts
    )


class Trial:
    """Models that are made of a piece in a folder: those of a run and of other finetunings of it.

    Args:
        run: the run itself.
        finetunings: which of it and its variants are finetuned and queried.
        folder: where the models are written.
        points, epochs, asked: see `Piece`.
        together: as many models are made as the run trains side by side, for their time; else one.
    """

    def __init__(
        self,
        run: Run,
        finetunings: Sequence[Run],
        folder: Path,
        points: int,
        epochs: int = 1,
        asked: int = 1,
        *,
        together: bool,
    ) -> None:
        self._together = together
        self.pretraining = self._maker(run, Artefacts(folder), points, epochs, asked)
        self.finetunings = [
            self._maker(each, Artefacts(folder / f"{number}", folder), points, epochs, asked)
            for number, each in enumerate(finetunings)
        ]

    @staticmethod
    def _maker(run: Run, files: Artefacts, points: int, epochs: int, asked: int) -> ShadowMaker:
        piece, of_config = Piece.of(run.experiment, points, epochs, asked), maker_of(run.config)
        # The user's functions compare the keys, which takes reading a given model as a whole elsewhere.
        keys = artefact_keys(piece, of_config.key_inputs) if run.config.recipe else dict.fromkeys(run.keys, "")
        return of_config(piece, {"query_pretrained": ""} | keys, files)

    def make(self) -> list[dict[Step, float]]:
        """Make the models; the seconds of the steps of every finetuning, of which the first has those of pretraining.

        Raises:
            TmiError: a step fails.
        """
        seconds: list[dict[Step, float]] = []
        first: tuple[Step, ...] = ("pretrain", "query_pretrained")
        for maker in self.finetunings:
            shared = {} if seconds else {step: self._time(self.pretraining, step) for step in first}
            own: tuple[Step, ...] = ("finetune", "query")
            seconds.append(shared | {step: self._time(maker, step) for step in own})
        return seconds

    def models(self, maker: ShadowMaker, step: Step) -> range:
        """The models that a job of a step makes; none where the step makes nothing."""
        groups = maker.groups(step)
        return groups[0] if groups and self._together else range(min(1, len(groups)))

    def _time(self, maker: ShadowMaker, step: Step) -> float:
        models = self.models(maker, step)
        if not models:
            return 0.0
        for model in models:
            # More models may be made side by side than in the step before: the first one stands for the others.
            for first, own in zip(maker.reads(step, 0), maker.reads(step, model), strict=True):
                if first.is_file() and not own.exists():
                    maker.files.copy(first, own)
        # What others do on this machine meanwhile is no time of a processor that trains on one thread.
        config = maker.experiment.config
        is_own = config.recipe is None and config.compute.device == "cpu"
        clock = time.process_time if is_own else time.perf_counter
        started = clock()
        try:
            with threadpool_limits(1):
                getattr(maker, step)(models)
        except TmiError:
            raise
        except Exception as error:  # of the network or a library, on this data
            raise TmiError(f"{step} fails on a piece of the data: {first_line(error)}") from error
        return clock() - started
