"""The tables of a run's TOML file as validated models: a key that is not listed here is refused.

A resolved configuration (``to_toml``) is complete: feeding it back repeats the run.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, TypeVar

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tmi.errors import TmiError
from tmi.memory import parse_memory
from tmi.views import View

Entry = TypeVar("Entry", str, int)

# Sources that name a file or a folder: their path is relative to the TOML file that names it, in a preset to --data.
FILE_SOURCES = ("npz", "jsonl", "parquet", "cifar10", "cifar100", "imagefolder")
# What only some kinds of models read.
KEYS_OF_MODELS = {
    ("mlp",): ("hidden",),
    ("cnn",): ("channels", "features"),
    ("transformers", "python"): ("architecture",),
    ("transformers",): ("settings", "stem", "checkpoint"),
}
# Three models are the least with which a target has one shadow that was trained on a point and one that was not.
FEWEST_MODELS = 3


class Table(BaseModel):
    """A TOML table: unknown keys are errors, numbers are not read from strings, nothing changes afterwards."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class SourceConfig(Table):
    """Where points come from."""

    source: str
    """``KIND:NAME``, for instance ``cifar100:DIR``, ``npz:FILE``, ``hf:NAME`` or ``python:module.function``."""
    split: str | None = None
    """A part of the source, for instance ``train``; all of it if left out."""
    inputs: str | None = None
    """The column or array that holds the points, where a source has several."""
    labels: str | None = None
    """The labels to use, where a source has several: ``fine`` or ``coarse`` of CIFAR-100, else a column."""


class PoolConfig(SourceConfig):
    """The points that the shadow models are pretrained on, each model on its own random half."""

    classes: int | list[str] | None = None
    """Keep this many classes (spread evenly over the classes by size), or the named ones; all if left out."""
    size: Annotated[int, Field(ge=4)] | None = None
    """Points in the pool; all that the source has if left out."""
    challenge_points: Annotated[int, Field(ge=2)] | None = None
    """Points of the pool whose membership is attacked; all that are no duplicates if left out."""


class DownstreamConfig(SourceConfig):
    """The task that every pretrained model is finetuned on; it shares no point with the pool."""

    classes: int | list[str] | Literal["others"] | None = None
    """As in ``pool``; ``"others"``: the classes that the pool does not use."""
    relabel: list[Annotated[int, Field(ge=0)]] | str | None = None
    """The new label of each old one, for instance ``[0, 1, 0, 1]``, or a JSON file ``{"old name": "new name"}``."""
    size: Annotated[int, Field(ge=2)] | None = None
    points_per_model: Annotated[int, Field(ge=1)] | None = None
    """Points that each model draws for its finetuning; half of them if left out, the rest tests it."""


class EncoderConfig(Table):
    """How a point becomes the numbers that a network reads."""

    kind: Literal["pixels", "hashed-words"]
    dimensions: Annotated[int, Field(ge=2)] = 2048
    """Hash buckets of ``hashed-words``."""
    norm: Annotated[float, Field(gt=0)] = 4.0
    """Euclidean norm of every point encoded by ``hashed-words``."""
    mean: list[float] | None = None
    """Of each channel of ``pixels`` in [0, 1], subtracted; fixed, never measured on the data of a run."""
    std: list[Annotated[float, Field(gt=0)]] | None = None
    """What each channel of ``pixels`` is divided by then."""

    @model_validator(mode="after")
    def _standardise_by_both(self) -> EncoderConfig:
        if (self.mean is None) != (self.std is None) or len(self.mean or []) != len(self.std or []):
            raise ValueError("encoder.mean and encoder.std belong together, one number per channel each")
        return self


class ModelConfig(Table):
    """The network: a backbone and a linear head."""

    kind: Literal["mlp", "cnn", "transformers", "python"] = "mlp"
    hidden: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)] = [128, 128]
    """Of ``mlp``: widths of the hidden layers; the last one is the width of the features that the head reads."""
    channels: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)] = [32, 64, 128]
    """Of ``cnn``: channels of its convolutions, each of which halves the image."""
    features: Annotated[int, Field(ge=1)] = 128
    """Of ``cnn``: width of the features that the head reads."""
    architecture: str | None = None
    """Of ``transformers``: for instance ``resnet-34``; of ``python``: ``module.function``."""
    settings: dict[str, Any] = {}
    """Of ``transformers``: keys of the architecture's configuration to change."""
    stem: Literal["imagenet", "small"] = "imagenet"
    """Of image ``transformers``: ``small`` reads images of few pixels at full resolution."""
    normalisation: Literal["own", "group"] = "own"
    """``group`` replaces batch normalisation by group normalisation, which private training needs."""
    checkpoint: str | None = None
    """Of ``transformers``: a local directory or hub name whose weights every model starts from."""

    @model_validator(mode="after")
    def _architecture_is_named(self) -> ModelConfig:
        from_checkpoint = self.kind == "transformers" and self.checkpoint is not None
        if self.kind in ("transformers", "python") and self.architecture is None and not from_checkpoint:
            raise ValueError(f"model.architecture is missing, which model.kind {self.kind!r} needs")
        return self

    @model_validator(mode="after")
    def _keys_are_of_the_kind(self) -> ModelConfig:
        for kinds, keys in KEYS_OF_MODELS.items():
            for key in keys:
                if key in self.model_fields_set and self.kind not in kinds and getattr(self, key) != _default(key):
                    raise ValueError(
                        f"model.{key} is for model.kind {' or '.join(map(repr, kinds))}, not {self.kind!r}"
                    )
        return self


class TrainingConfig(Table):
    """A training recipe."""

    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: Annotated[float, Field(gt=0)]
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Of ``sgd``."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    nesterov: bool = False
    """Of ``sgd``."""
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    step_epochs: Annotated[int, Field(ge=1)] = 10
    """Of the ``step`` schedule: epochs after which the learning rate is multiplied by ``gamma``, again and again."""
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.1
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the steps in which the learning rate rises linearly to where its schedule starts."""
    epochs: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=1)]
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    flip: bool = False
    """Mirror every image with probability one half, anew in every epoch."""
    crop: Annotated[int, Field(ge=0)] = 0
    """Shift every image by up to so many pixels, its border mirrored, anew in every epoch."""
    precision: Literal["float32", "bfloat16", "auto"] = "float32"
    """``bfloat16``: automatic mixed precision; weights and their updates stay float32. ``auto``: where it is faster."""


class PrivacyConfig(Table):
    """Differentially private finetuning (DP-SGD, Abadi et al. 2016).

    It bounds what leaks about the finetuning data. It promises nothing for the pretraining data.
    """

    epsilon: Annotated[float, Field(gt=0)] | None = None
    """The budget to spend; ``inf``: the same recipe, clipping and sampling included, without noise."""
    noise_multiplier: Annotated[float, Field(ge=0)] | None = None
    """Instead of ``epsilon``: the noise's standard deviation in units of ``clip``."""
    delta: Annotated[float, Field(gt=0, lt=1)] | None = None
    """One over ten times the number of finetuning points if left out."""
    clip: Annotated[float, Field(gt=0)] = 1.0
    """Largest Euclidean norm of one point's gradient."""
    ghost_clipping: bool = False
    """Find the norms of the points' gradients without storing these: less memory, two backward passes."""

    @model_validator(mode="after")
    def _one_of_both(self) -> PrivacyConfig:
        if (self.epsilon is None) == (self.noise_multiplier is None):
            raise ValueError("finetune.private needs either epsilon or noise_multiplier, and not both")
        return self

    def without_noise(self) -> PrivacyConfig:
        """The same recipe, clipping and sampling included, without noise: what a private result is compared with."""
        return self.model_copy(update={"epsilon": None, "noise_multiplier": 0.0, "delta": None})

    @model_validator(mode="before")
    @classmethod
    def _infinite_epsilon_is_no_noise(cls, table: Any) -> Any:
        if isinstance(table, dict) and table.get("epsilon") in (math.inf, "inf"):
            return {key: value for key, value in table.items() if key != "epsilon"} | {"noise_multiplier": 0.0}
        return table


class FinetuneConfig(TrainingConfig):
    """The recipe of finetuning and which part of the model it changes."""

    transfer: Annotated[str, Field(pattern=r"^(head|last-[1-9][0-9]*|full|lora)$")] = "head"
    """``head``: a new linear head on the frozen backbone; ``last-K``: and the last K blocks; ``full``: everything;
    ``lora``: and low-rank adapters of every layer."""
    lora_rank: Annotated[int, Field(ge=1)] = 8
    """Of ``lora``."""
    private: PrivacyConfig | None = None


class QueryConfig(Table):
    """What the finetuned models are asked about every challenge point."""

    augmentation: Literal["none", "shift", "flip-crop", "word-dropout"] = "none"
    count: Annotated[int, Field(ge=1)] = 1
    """Queries per point; the first is the point itself."""
    strength: Annotated[float, Field(ge=0)] = 0.0
    """Pixels of a ``shift``, most pixels of a ``flip-crop``, fraction of the words that ``word-dropout`` leaves out."""
    reference_points: Annotated[int, Field(ge=0)] = 0
    """Pool points that nobody challenges, asked about as well: what conditioning explains the answers by, in place of
    the other challenge points."""


class AttackConfig(Table):
    """Which attacks are run, in the order of the report, and what the adversaries have."""

    names: Annotated[list[str], Field(min_length=1)] = [
        "tmi",
        "conditional",
        "gaussian",
        "tmi-pointwise",
        "adapted-lira",
        "confidence",
        "direct",
    ]
    views: Annotated[list[str], Field(min_length=1)] = ["logits"]
    """What is seen of the answers, for instance ``top-3``: the main view first, then those that it is compared with."""
    shadows: list[int] = []
    """Numbers of shadow models with which the attacks are repeated, besides all of them."""

    @field_validator("views")
    @classmethod
    def _are_views(cls, views: list[str]) -> list[str]:
        try:
            names = [View.parse(name).name for name in views]
        except TmiError as error:
            raise ValueError(str(error)) from None
        return _without_repetition(names)

    @field_validator("shadows")
    @classmethod
    def _are_different(cls, shadows: list[int]) -> list[int]:
        return _without_repetition(shadows)


class EvaluationConfig(Table):
    """How the attacks are judged."""

    targets: Annotated[int, Field(ge=1)] | Literal["all"] = "all"
    """Each of the first N models plays the target in turn; the others are its shadows."""
    false_positive_rates: list[Annotated[float, Field(gt=0, lt=1)]] = [0.001, 0.01, 0.05, 0.1]
    resamples: Annotated[int, Field(ge=100)] = 1000
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95


class ComputeConfig(Table):
    """Where and how the work is done."""

    device: str = "cpu"
    """``cpu``, ``cuda``, ``cuda:1``, ``mps`` or ``auto``."""
    models_at_once: Annotated[int, Field(ge=1)] = 8
    """Models trained side by side. Changes results within rounding only, so it is part of what a run is."""
    checkpoint_minutes: Annotated[float, Field(ge=0)] = 3.0
    """How often training is saved, so that an interrupted run goes on inside a model. Never changes a result."""
    workers: Annotated[int, Field(ge=0)] = 0
    """Worker processes of one thread each; 0: one per core. Never changes a result."""
    memory: str = "1G"
    """Working memory of the attacks, all workers together, in K, M or G; at least 64M. Never changes a result."""

    @field_validator("memory")
    @classmethod
    def _is_size(cls, memory: str) -> str:
        parse_memory(memory)
        return memory

    @property
    def memory_bytes(self) -> int:
        """The same in bytes."""
        return parse_memory(self.memory)


class Config(Table):
    """One run, complete."""

    name: str
    description: str = ""
    seed: Annotated[int, Field(ge=0)] = 0
    models: Annotated[int, Field(ge=FEWEST_MODELS)] = 64
    pool: PoolConfig
    downstream: DownstreamConfig
    encoder: EncoderConfig
    model: ModelConfig = ModelConfig()
    pretrain: TrainingConfig
    finetune: FinetuneConfig
    query: QueryConfig = QueryConfig()
    attack: AttackConfig = AttackConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    compute: ComputeConfig = ComputeConfig()
    variants: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")], dict[str, Any]] = {}
    """Other finetunings of the same pretrained models, by name: tables ``downstream`` and ``finetune`` with the keys
    that differ."""

    @model_validator(mode="after")
    def _targets_are_models(self) -> Config:
        targets = self.evaluation.targets
        if targets != "all" and targets > self.models:
            raise ValueError(f"evaluation.targets is {targets}, expected at most the number of models, {self.models}")
        return self

    @model_validator(mode="after")
    def _shadows_are_other_models(self) -> Config:
        for number in self.attack.shadows:
            if not 2 <= number <= self.models - 1:
                raise ValueError(
                    f"attack.shadows has {number}, expected 2 to {self.models - 1}: "
                    f"one of the {self.models} models is the target"
                )
        return self

    @property
    def targets(self) -> int:
        """Number of models that play the target."""
        return self.models if self.evaluation.targets == "all" else self.evaluation.targets

    def to_toml(self) -> str:
        """The complete configuration as TOML text."""
        return tomli_w.dumps(self.model_dump(exclude_none=True))


def _default(key: str) -> Any:
    return ModelConfig.model_fields[key].default


def _without_repetition(entries: list[Entry]) -> list[Entry]:
    for index, entry in enumerate(entries):
        if entry in entries[:index]:
            raise ValueError(f"{entry!r} is given twice")
    return entries
