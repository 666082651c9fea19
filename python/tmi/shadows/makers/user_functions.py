"""Shadow models of the user's own functions, which pretrain, finetune and query them, and what these must return."""

from __future__ import annotations

import inspect
import json
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import nn

from tmi.config import Config, RecipeConfig
from tmi.data.points import Points
from tmi.errors import TmiError
from tmi.shadows.keys import artefact_keys
from tmi.shadows.makers.maker import Made, ShadowMaker, Step
from tmi.shadows.training.measure import measured
from tmi.system.devices import own_device
from tmi.system.files import content_hash
from tmi.system.seeding import torch_seed
from tmi.system.user_code import call_named, function_named

# Points that a model is asked about in one call.
BATCH = 1000
# The arguments of every function besides the settings.
ARGUMENTS = {
    "pretrain": ("inputs", "labels", "seed", "directory", "device"),
    "finetune": ("inputs", "labels", "pretrained", "seed", "directory", "device"),
    "query": ("inputs", "directory", "device"),
    "query_pretrained": ("inputs", "directory", "device"),
}
# Seeds that NumPy, scikit-learn, torch and the standard library all take.
SEEDS = 1 << 32
# What is told about a training of the tool's own, and may be told about another one.
ACCURACIES = ("train_accuracy", "test_accuracy")

# The content of the files that hold the functions, when this process first looked.
_hashes: dict[Path, str] = {}


class UserFunctions(ShadowMaker):
    """The functions that the configuration names; every model is a directory that they write as they like."""

    @staticmethod
    def key_inputs(config: Config, step: str) -> list[Any]:
        """The name of the step's function, its settings and the content of its file."""
        recipe = config.recipe
        if recipe is None or (name := _named(recipe).get(step)) is None:
            return []
        file = _source_file(name, f"recipe.{step} {name!r}")
        if file not in _hashes:
            _hashes[file] = content_hash(file)
        return [name, _settings(recipe, step), _hashes[file]]

    def check(self) -> None:
        """Find out whether all functions are there, unedited, and take their arguments, and the points fit."""
        check_functions(self._recipe)
        require_unedited(self._recipe)
        self.experiment.queries(self.experiment.task.challenges.take(np.arange(1)))

    def groups(self, step: Step) -> list[range]:
        """Every model by itself: what is finished is never made again."""
        if step == "query_pretrained" and self._recipe.query_pretrained is None:
            return []
        return [range(model, model + 1) for model in range(self.experiment.config.models)]

    def prepare(self, step: Step) -> None:
        """Draw the membership, and make the queries."""
        _ = self.experiment.membership
        if step in ("query", "query_pretrained"):
            _ = self.experiment.raw_queries

    def pretrained(self, model: int) -> Path:
        """The directory that ``pretrain`` writes."""
        return super().pretrained(model).with_suffix("")

    def finetuned(self, model: int) -> Path:
        """The directory that ``finetune`` writes."""
        return super().finetuned(model).with_suffix("")

    def pretrain(self, models: range) -> None:
        """Let the user's function pretrain models, each on its half of the pool."""
        experiment = self.experiment
        for model in models:
            points = experiment.task.pool.take(np.flatnonzero(experiment.membership[model]))
            seed = torch_seed(experiment.config.seed, "pretraining order", model)
            self._train("pretrain", model, self.pretrained(model), points, seed)

    def finetune(self, models: range) -> None:
        """Let the user's function finetune pretrained models, each on its finetuning set."""
        experiment = self.experiment
        for model in models:
            points = experiment.task.downstream.take(experiment.finetuning_set(model))
            seed = torch_seed(experiment.config.seed, "finetuning order", model)
            pretrained = self.pretrained(model)
            self._train("finetune", model, self.finetuned(model), points, seed, pretrained=pretrained)
            self._require_untouched("finetune", model, "pretrain", pretrained)

    def query(self, models: range) -> None:
        """Write what finetuned models say, and measure them on their own task."""
        downstream, files = self.experiment.task.downstream, self.files
        challenges, references = self.experiment.raw_queries
        for model in models:
            key = self.keys["query"]
            predictions = partial(self._predictions, "query", model, classes=len(downstream.class_names))
            on_task = predictions(downstream.raw[:, None])
            facts = _accuracies(on_task, downstream, self.experiment.finetuning_set(model))
            files.save_array(files.predictions(model), predictions(challenges), key, facts)
            if references is not None:
                files.save_array(files.reference_predictions(model), predictions(references), key)
            self._require_untouched("query", model, "finetune", self.finetuned(model))

    def query_pretrained(self, models: range) -> None:
        """Write what pretrained models say, and measure them on the pool if they tell its classes apart."""
        pool, files = self.experiment.task.pool, self.files
        challenges, _ = self.experiment.raw_queries
        for model in models:
            predictions = partial(self._predictions, "query_pretrained", model)
            found, facts = predictions(challenges), {}
            if found.shape[-1] == len(pool.class_names):
                on_pool = predictions(pool.raw[:, None])
                facts = _accuracies(on_pool, pool, np.flatnonzero(self.experiment.membership[model]))
            files.save_array(files.pretrained_predictions(model), found, self.keys["query_pretrained"], facts)
            self._require_untouched("query_pretrained", model, "pretrain", self.pretrained(model))

    def describe(self) -> Made:
        """The functions may tell accuracies of pretrained models; those of finetuned ones were measured by queries."""
        made, files, models = super().describe(), self.files, range(self.experiment.config.models)
        # Empty where no function queries pretrained models.
        measured_by_queries = [files.facts(path) for path in self.artefacts("query_pretrained")] or [{} for _ in models]
        return replace(
            made,
            pretrained=[told | measured for told, measured in zip(made.pretrained, measured_by_queries, strict=True)],
            finetuned=[files.facts(files.predictions(model)) for model in models],
            transfer=f"by {self._recipe.finetune}",
        )

    @property
    def _recipe(self) -> RecipeConfig:
        recipe = self.experiment.config.recipe
        assert recipe is not None
        return recipe

    @property
    def _device(self) -> str:
        return str(own_device(self.experiment.config.compute.device))

    def _require_same_code(self, step: Step) -> None:
        """This process has the code that the keys were computed from."""
        if artefact_keys(self.experiment, self.key_inputs)[step] != self.keys[step]:
            raise TmiError("the file of a function of the recipe was edited while the run went on; run it again")

    def _train(self, step: Step, model: int, path: Path, points: Points, seed: int, **arguments: Any) -> None:
        """Write the directory of a model, and then its sidecar."""
        self._require_same_code(step)
        facts: dict[str, Any] = {}
        with self.files.saving_tree(path, self.keys[step], facts, _where(self._recipe, step, model)) as directory:
            # Copies of points, which the function may change.
            known = {"inputs": points.raw, "labels": points.labels, "directory": directory, "device": self._device}
            facts |= call_training(self._recipe, step, model, seed, **known, **arguments)

    def _predictions(
        self, step: Step, model: int, queries: NDArray[Any], classes: int | None = None
    ) -> NDArray[np.float32]:
        """Logits ``[points, augmentations, classes]`` of raw queries ``[points, augmentations, ...]``."""
        self._require_same_code(step)
        directory = self.finetuned(model) if step == "query" else self.pretrained(model)
        flat = queries.reshape(-1, *queries.shape[2:])
        logits = call_query(self._recipe, step, model, flat, classes, directory, self._device)
        return logits.reshape(*queries.shape[:2], -1)

    def _require_untouched(self, step: Step, model: int, made_by: Step, path: Path) -> None:
        """What later steps trust has the content that it was written with."""
        if not self.files.is_current(path, self.keys[made_by]):
            raise TmiError(
                f"{_where(self._recipe, step, model)}: the function changed {self.files.relative(path)}, which it is "
                "given to read"
            )


def _accuracies(answers: NDArray[np.float32], points: Points, trained_on: NDArray[np.int64]) -> dict[str, Any]:
    """Facts about a model from its logits ``[points, 1, classes]`` at all points of a task."""
    seen = torch.zeros(len(points), dtype=torch.bool)
    seen[torch.from_numpy(trained_on)] = True
    return measured(nn.Identity(), torch.from_numpy(answers[:, 0]), torch.from_numpy(points.labels), seen)


def check_functions(recipe: RecipeConfig) -> None:
    """Find out whether all functions are there and take their arguments, before anything is trained."""
    for role, name in _named(recipe).items():
        arguments = [*ARGUMENTS[role], *_settings(recipe, role)]
        where = f"recipe.{role} {name!r}"
        function = function_named(name, where)
        try:
            signature = inspect.signature(function)
        except (TypeError, ValueError):  # not every function written in C tells
            continue
        try:
            signature.bind(**dict.fromkeys(arguments))
        except TypeError as error:
            raise TmiError(
                f"{where}: takes {signature}, expected the keyword arguments {', '.join(arguments)}: {error}"
            ) from None


def require_unedited(recipe: RecipeConfig) -> None:
    """Find out whether the functions of this process are those that were in their files when these were hashed."""
    for role, name in _named(recipe).items():
        file = _source_file(name, f"recipe.{role} {name!r}")
        if _hashes.setdefault(file, content_hash(file)) != content_hash(file):
            raise TmiError(
                f"recipe.{role} {name!r}: {file} was edited after this process had imported it; start again, so that "
                "one version of it makes all models"
            )


def call_training(recipe: RecipeConfig, role: str, model: int, seed: int, **arguments: Any) -> dict[str, Any]:
    """Call ``pretrain`` or ``finetune`` for a model, with the seed as a number below 2^32; facts about the model.

    Under ``returned`` they have what the function returned, and from it the `ACCURACIES` where they are there.
    """
    seed %= SEEDS
    where = _where(recipe, role, model)
    returned = _call(recipe, role, where, seed, seed=seed, **arguments, **recipe.settings)
    if returned is None:
        return {}
    try:
        facts = json.loads(json.dumps(returned, allow_nan=False, default=_plain))
    except (TypeError, ValueError) as error:
        raise TmiError(f"{where}: the function returned values that are not plain: {error}") from None
    if not isinstance(facts, dict):
        raise TmiError(f"{where}: the function returned a {type(returned).__name__}, expected None or a dictionary")
    for name in ACCURACIES:
        if name in facts and not (isinstance(facts[name], int | float) and 0 <= facts[name] <= 1):
            raise TmiError(f"{where}: the function returned {name} {facts[name]!r}, expected a number from 0 to 1")
    return {"returned": facts} | {name: facts[name] for name in ACCURACIES if name in facts}


def call_query(
    recipe: RecipeConfig, role: str, model: int, inputs: NDArray[Any], classes: int | None, directory: Path, device: str
) -> NDArray[np.float32]:
    """Query a model about raw points ``[points, ...]``, in batches: logits ``[points, classes]``.

    ``classes`` is how many logits are expected of a point; None: two or more.
    """
    where = _where(recipe, role, model)
    answers: list[NDArray[np.float32]] = []
    for start in range(0, len(inputs), BATCH):
        # A copy: what the function does to it changes no other question.
        batch = inputs[start : start + BATCH].copy()
        points = len(batch)
        returned = _call(recipe, role, where, 0, inputs=batch, directory=directory, device=device)
        answers.append(_checked(returned, points, classes, where))
        classes = answers[0].shape[1]
    return np.concatenate(answers)


def _checked(returned: Any, points: int, classes: int | None, where: str) -> NDArray[np.float32]:
    # A tensor may be on a device, in a type that NumPy does not have, or part of a graph.
    array = np.asarray(returned.detach().float().cpu() if hasattr(returned, "detach") else returned)
    if array.ndim != 2 or len(array) != points or array.shape[1] != (classes or max(array.shape[1], 2)):
        expected = f"({points}, {classes if classes else 'two or more'})"
        raise TmiError(
            f"{where}: the function returned shape {array.shape}, expected {expected}: a logit of every class for "
            "every point"
        )
    if array.dtype.kind != "f":
        raise TmiError(f"{where}: the function returned numbers of type {array.dtype}, expected floats")
    with np.errstate(over="ignore"):
        logits = array.astype(np.float32)
    if not np.isfinite(logits).all():
        raise TmiError(
            f"{where}: {int((~np.isfinite(logits)).any(axis=1).sum())} of {points} answers are not finite in float32"
        )
    if points > 1 and (logits >= 0).all() and np.allclose(logits.sum(axis=1), 1, atol=1e-4):
        raise TmiError(
            f"{where}: the function returned probabilities (every row sums to 1), expected logits: return their "
            "logarithms"
        )
    return logits


def _call(recipe: RecipeConfig, role: str, where: str, seed: int, /, **arguments: Any) -> Any:
    """Call a function in the setting that is the same for every model, whatever the number of workers."""
    name = _named(recipe)[role]
    # Imported first, so that the libraries that it loads have one thread as well.
    function_named(name, where)
    try:
        with _alone(seed, arguments["device"]):
            return call_named(name, where, **arguments)
    except SystemExit as error:
        raise TmiError(f"{where}: the function ended Python: SystemExit: {error.code}") from None


@contextmanager
def _alone(seed: int, device: str) -> Iterator[None]:
    """One thread and seeded random numbers, both as before afterwards."""
    # NumPy's one global state, since the user's code may draw from it.
    standard, legacy, threads = random.getstate(), np.random.get_state(), torch.get_num_threads()  # noqa: NPY002
    accelerators = [torch.device(device)] if device.startswith("cuda") else []
    try:
        with torch.random.fork_rng(accelerators), threadpool_limits(1):
            torch.set_num_threads(1)
            random.seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            torch.manual_seed(seed)
            yield
    finally:
        random.setstate(standard)
        np.random.set_state(legacy)  # noqa: NPY002
        torch.set_num_threads(threads)


def _named(recipe: RecipeConfig) -> dict[str, str]:
    return {role: name for role in ARGUMENTS if (name := getattr(recipe, role)) is not None}


def _settings(recipe: RecipeConfig, role: str) -> dict[str, Any]:
    return recipe.settings if role in ("pretrain", "finetune") else {}


def _where(recipe: RecipeConfig, role: str, model: int) -> str:
    return f"recipe.{role} {_named(recipe)[role]!r}, model {model}"


def _source_file(name: str, where: str) -> Path:
    """The file of the module that a function is named after."""
    function_named(name, where)
    module = name.rpartition(".")[0]
    file = getattr(sys.modules[module], "__file__", None)
    if file is None:
        raise TmiError(f"{where}: the module {module!r} has no file, expected one that can be told apart when edited")
    return Path(file).resolve()


def _plain(value: Any) -> Any:
    """NumPy's and torch's numbers as Python's."""
    item: Callable[[], Any] | None = getattr(value, "item", None)
    if item is None:
        raise TypeError(f"{type(value).__name__} is no number, string, list or dictionary")
    return item()
