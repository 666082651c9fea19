"""One run: its configuration, its directory, and what its stages share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tmi.attacks.registry import attack_named
from tmi.config import Config, PrivacyConfig, variant_of
from tmi.data.encoding import encode, tokenizer_for
from tmi.data.membership import draw_finetuning_set
from tmi.data.points import Points
from tmi.data.queries import make_queries
from tmi.data.split import Task, load_task
from tmi.data.tokens import Tokenizer
from tmi.errors import TmiError
from tmi.predictions.arrays import Predictions
from tmi.predictions.attack_input import AttackInput
from tmi.runs.adversaries import by_view
from tmi.runs.directory import RunDirectory
from tmi.runs.subject import Case
from tmi.shadows.makers.user_functions import check_functions, key_inputs
from tmi.system.files import content_key, file_hash
from tmi.targets import target_hashes

if TYPE_CHECKING:
    from torch import Tensor

    from tmi.shadows.networks import Classifier

# The stages that leave artefacts, in their order, with a number that is raised when a change of the code changes
# what the stage computes. It is part of the key of the stage and of every later one.
STAGE_VERSIONS = {"membership": 1, "pretrain": 1, "finetune": 1, "query": 1, "score": 1}

# Tasks that a process keeps; variants may have downstream tasks of their own.
TASKS_IN_MEMORY = 4


@dataclass(frozen=True)
class Run(Case):
    """A configuration and the directory of its files; cheap to send to a worker process."""

    config: Config
    directory: RunDirectory
    base: Config | None = None
    """The configuration of the run itself, for a variant of it."""

    @property
    def tokenizer(self) -> Tokenizer | None:
        """What turns texts into tokens: the same for a run and its variants, since the pretrained models are."""
        return _cached_tokenizer(self.base or self.config)

    def encode(self, raw: NDArray[Any]) -> NDArray[Any]:
        """Points of the run as the numbers that its networks read; see `tmi.data.encoding.encode`."""
        return encode(raw, self.task.pool.kind, self.config.encoder, self.tokenizer)

    def queries(self, points: Points, purpose: str) -> tuple[NDArray[Any], tuple[int, int]]:
        """All queries about points, encoded one after another, and ``(points, augmentations)``."""
        config = self.config
        mask = self.tokenizer and self.tokenizer.mask_token
        queries = make_queries(points, config.query, config.seed, purpose, mask)
        # A variation of a text may have a token more than the text itself, which is no longer than the models allow.
        encoder = config.encoder.model_copy(update={"truncate": True})
        flat = queries.reshape(-1, *queries.shape[2:])
        return encode(flat, points.kind, encoder, self.tokenizer), (queries.shape[0], queries.shape[1])

    @property
    def task(self) -> Task:
        """The pool, challenge points and downstream task, loaded once per process."""
        return _cached_task(self.config)

    @property
    def keys(self) -> dict[str, str]:
        """The artefact key of every stage."""
        return _cached_keys(self.config.model_dump_json(), self.tokenizer and self.tokenizer.fingerprint)

    @property
    def variants(self) -> list[Run]:
        """The other finetunings of the same pretrained models, each a run of its own from finetuning on."""
        from tmi.shadows.resolve import on_this_machine

        return [
            Run(
                on_this_machine(_as_variant(variant_of(self.config, name))),
                self.directory.variant(name),
                self.base or self.config,
            )
            for name in self.config.variants
        ]

    def label(self, stage: str) -> str:
        """What a stage of this run is called in the progress display."""
        return f"{stage} {self.directory.variant_name}".rstrip()

    def pretrained(self, model: int) -> Path:
        """The weights of a pretrained model, or the directory that the user's function wrote."""
        return self._artefact(self.directory.pretrained(model))

    def finetuned(self, model: int) -> Path:
        """What finetuning changed, or the directory that the user's function wrote."""
        return self._artefact(self.directory.finetuned(model))

    def _artefact(self, weights: Path) -> Path:
        return weights if self.config.recipe is None else weights.with_suffix("")

    @property
    def asks_pretrained(self) -> bool:
        """Whether the pretrained models are asked as well, for the upper bound."""
        recipe = self.config.recipe
        return not self.config.given and (recipe is None or recipe.query_pretrained is not None)

    def query_files(self, model: int) -> dict[Path, str]:
        """What the query stage writes about a model, with the keys of the files."""
        directory, key = self.directory, self.keys["query"]
        files = {directory.predictions(model): key}
        if self.asks_pretrained:
            files[directory.pretrained_predictions(model)] = self.pretrained_query_key
        return files | ({directory.reference_predictions(model): key} if self.config.query.reference_points else {})

    @property
    def pretrained_query_key(self) -> str:
        """The artefact key of the answers of the pretrained models, which no finetuning changes."""
        asked = [self.config.query.model_dump(), *key_inputs(self.config.recipe, "query_pretrained")]
        return content_key("pretrained query", self.keys["pretrain"], *asked)

    def check(self) -> None:
        """Find out whether the configuration fits its data, before anything is written.

        Raises:
            TmiError: it does not.
        """
        runs = (self, *self.variants)
        for each in runs:
            for adversary in by_view(each.config).values():
                adversary.view.require_classes(len(each.task.downstream.class_names))
        for table, recipe in (
            ("pretrain", self.config.pretrain),
            *(("finetune", each.config.finetune) for each in runs),
        ):
            if self.task.pool.kind != "image" and (recipe.flip or recipe.crop):
                raise TmiError(f"{table}.flip and {table}.crop are for images; the points are {self.task.pool.kind}s")
        if self.config.pretrain.objective == "masked" and (self.tokenizer is None or self.tokenizer.mask_id is None):
            raise TmiError("pretrain.objective is 'masked', but the tokenizer has no mask token; expected one that has")
        if self.config.recipe is not None:
            check_functions(self.config.recipe)
            make_queries(self.task.challenges.take(np.arange(1)), self.config.query, self.config.seed)
            return
        encoded, _ = self.queries(self.task.challenges.take(np.arange(1)), "queries")
        if self.tokenizer is not None:
            # Texts that are too long are found now, not when the first model reads them.
            for points in (self.task.pool, *(each.task.downstream for each in runs)):
                self.encode(points.raw)
        self._check_network(encoded)

    def build(self, input_shape: tuple[int, ...], seed: int) -> Classifier:
        """A network of the run as it is before pretraining."""
        from tmi.shadows.networks import build_classifier

        config = self.config
        return build_classifier(
            config.model,
            config.encoder,
            input_shape,
            len(self.task.pool.class_names),
            seed,
            vocabulary=self.tokenizer and self.tokenizer.vocabulary,
            objective=config.pretrain.objective,
        )

    def _check_network(self, encoded: NDArray[Any]) -> None:
        import torch

        from tmi.shadows.networks import apply_transfer

        config, task = self.config, self.task
        for finetune in (config.finetune, *(variant.config.finetune for variant in self.variants)):
            classifier = self.build(encoded.shape[1:], seed=config.seed)
            apply_transfer(classifier, finetune, len(task.downstream.class_names), config.seed)
            if finetune.private is not None:
                _check_private(classifier, torch.from_numpy(encoded), finetune.private)

    @property
    def fingerprints(self) -> dict[str, str]:
        """Hashes of the points of the pool and of the downstream task."""
        return {"pool": self.task.pool.fingerprint, "downstream": self.task.downstream.fingerprint}

    @property
    def points(self) -> int:
        """Number of challenge points."""
        return len(self.task.challenge_points)

    @property
    def answers_key(self) -> str:
        """The artefact key of the score stage."""
        return self.keys["score"]

    @property
    def target_key(self) -> str | None:
        """The artefact key of the answers of the target that the configuration names; variants have none."""
        if self.config.target is None or self.base is not None:
            return None
        asked = (
            self.keys["membership"],
            self.config.query.model_dump(),
            self.config.target.identity,
            target_hashes(self.config.target),
        )
        return content_key("target query", *asked)

    @property
    def target_files(self) -> dict[Path, str]:
        """What the target stage writes, with the keys of the files."""
        if (key := self.target_key) is None:
            return {}
        directory = self.directory
        references = [directory.target_reference_predictions] if self.config.query.reference_points else []
        return dict.fromkeys([directory.target_predictions, *references], key)

    def opened_answers(self, memory: int) -> AttackInput:
        """The answers of all models, as memory maps."""
        config, directory = self.config, self.directory

        def predictions(path_of: Callable[[int], Path]) -> Predictions:
            return Predictions([directory.load_array(path_of(model)) for model in range(config.models)], memory)

        is_queried = self.asks_pretrained and directory.pretrained_predictions(0).exists()
        return AttackInput(
            predictions(directory.predictions),
            np.asarray(directory.load_array(directory.membership)),
            predictions(directory.pretrained_predictions) if is_queried else None,
            config.seed,
            reference=predictions(directory.reference_predictions) if config.query.reference_points else None,
            inputs=self.task.challenges.raw if config.given else None,
        )

    def opened_with_target(self, memory: int) -> AttackInput:
        """The same with the target of the configuration before all models."""
        directory, references = self.directory, self.config.query.reference_points
        reference = np.asarray(directory.load_array(directory.target_reference_predictions)) if references else None
        target = np.asarray(directory.load_array(directory.target_predictions))
        return self.opened_answers(memory).with_target(target, reference)

    def finetuning_set(self, model: int) -> NDArray[np.int64]:
        """The downstream points that a model is finetuned on, ascending; half of them unless configured otherwise."""
        points = len(self.task.downstream)
        size = self.config.downstream.points_per_model or points // 2
        return draw_finetuning_set(self.config.seed, model, points, size)


def _check_private(classifier: Classifier, inputs: Tensor, private: PrivacyConfig) -> None:
    from tmi.shadows.networks import check_private, point_mixing_layer

    if layer := point_mixing_layer(classifier):
        raise TmiError(
            f"finetune.private: the layer {layer!r} mixes the points of a batch, so that it cannot be trained "
            'privately; set model.normalisation to "group", or let finetune.transfer leave it frozen'
        )
    check_private(classifier, inputs, private.ghost_clipping)


def _as_variant(config: Config) -> Config:
    """Only the main view and all shadows, and no attack whose answers no finetuning changes."""
    names = [name for name in config.attack.names if not attack_named(name).upper_bound]
    attack = config.attack.model_copy(
        update={"names": names or config.attack.names, "views": config.attack.views[:1], "shadows": []}
    )
    return config.model_copy(update={"attack": attack})


_tasks: dict[str, Task] = {}
_tokenizers: dict[str, Tokenizer | None] = {}


def _cached_tokenizer(config: Config) -> Tokenizer | None:
    """The tokenizer, trained or loaded once per process."""
    if config.encoder.kind != "tokens":
        return None
    key = content_key(config.encoder.model_dump(), _task_key(config))
    if key not in _tokenizers:
        _tokenizers[key] = tokenizer_for(config.encoder, _cached_task(config).downstream.raw)
    return _tokenizers[key]


def _cached_task(config: Config) -> Task:
    """The task, loaded once per process for all variants that have the same."""
    key = _task_key(config)
    if key not in _tasks:
        if len(_tasks) >= TASKS_IN_MEMORY:
            del _tasks[next(iter(_tasks))]
        _tasks[key] = load_task(config)
    return _tasks[key]


def _task_key(config: Config) -> str:
    tables = (config.pool.model_dump(), config.downstream.model_dump())
    return content_key(config.seed, *tables, config.pretrain.objective, config.query.reference_points)


@lru_cache(maxsize=4)
def _checkpoint_hashes(checkpoint: str | None) -> list[str | None]:
    """The content of a given checkpoint, if it is a directory; a model of the hub goes by its name."""
    return [file_hash(path) for path in sorted(Path(checkpoint).glob("*.safetensors"))] if checkpoint else []


@lru_cache(maxsize=64)
def _cached_keys(config_json: str, tokenizer: str | None) -> dict[str, str]:
    """Every key covers the configuration that its stage reads and, through the key before it, all earlier stages."""
    config = Config.model_validate_json(config_json)
    task = _cached_task(config)
    compute = {"device": config.compute.device, "models_at_once": config.compute.models_at_once}
    inputs = {
        "membership": [config.seed, config.models, config.pool.model_dump(), task.pool.fingerprint],
        "pretrain": [
            config.encoder.model_dump(),
            config.model.model_dump(),
            config.pretrain.model_dump(),
            compute,
            tokenizer,
            _checkpoint_hashes(config.model.checkpoint),
            *key_inputs(config.recipe, "pretrain"),
        ],
        "finetune": [
            config.downstream.model_dump(),
            config.finetune.model_dump(),
            task.downstream.fingerprint,
            *key_inputs(config.recipe, "finetune"),
        ],
        "query": [config.query.model_dump(), *key_inputs(config.recipe, "query")],
        "score": [config.targets],
    }
    keys: dict[str, str] = {}
    key = ""
    for stage, version in STAGE_VERSIONS.items():
        key = keys[stage] = content_key(stage, version, inputs[stage], key)
    return keys
