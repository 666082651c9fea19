"""The TOML file of a run as validated models.

Every table of the file is one model below; a key that is not listed here is refused together with the name that
the user probably meant. A resolved configuration (``to_toml``) is complete: feeding it back repeats the run.
"""

from __future__ import annotations

import sys
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from tmi.errors import TmiError, did_you_mean
from tmi.memory import parse_memory
from tmi.views import View

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PRESETS = resources.files("tmi") / "presets"
# Sources that name a file: their path is relative to the TOML file that names it.
FILE_SOURCES = ("npz", "jsonl")
# Three models are the least with which a target has one shadow that was trained on a point and one that was not.
FEWEST_MODELS = 3


class Table(BaseModel):
    """A TOML table: unknown keys are errors, numbers are not read from strings, nothing changes afterwards."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class PoolConfig(Table):
    """The points that the shadow models are pretrained on, each model on its own random half."""

    source: str
    """``sklearn:digits``, ``pydoc:topics``, ``npz:FILE`` or ``jsonl:FILE``."""
    classes: int | list[str] | None = None
    """Keep this many classes (spread evenly over the classes by size), or the named ones; all if left out."""
    size: Annotated[int, Field(ge=4)] | None = None
    """Points in the pool; all that the source has if left out."""
    challenge_points: Annotated[int, Field(ge=2)] | None = None
    """Points of the pool whose membership is attacked; all that are no duplicates if left out."""


class DownstreamConfig(Table):
    """The task that every pretrained model is finetuned on; it shares no point with the pool."""

    source: str
    classes: int | list[str] | Literal["others"] | None = None
    """As in ``pool``; ``"others"``: the classes that the pool does not use."""
    relabel: list[Annotated[int, Field(ge=0)]] | None = None
    """The new label of each old one, for instance ``[0, 1, 0, 1]``."""
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


class ModelConfig(Table):
    """The network: a backbone and a linear head."""

    kind: Literal["mlp"] = "mlp"
    hidden: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)] = [128, 128]
    """Widths of the hidden layers; the last one is the width of the features that the head reads."""


class TrainingConfig(Table):
    """A training recipe."""

    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: Annotated[float, Field(gt=0)]
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Of ``sgd``."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    schedule: Literal["cosine", "constant"] = "cosine"
    epochs: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=1)]


class FinetuneConfig(TrainingConfig):
    """The recipe of finetuning and which part of the model it changes."""

    transfer: Literal["head"] = "head"
    """``head``: a new linear head on the frozen backbone."""


class QueryConfig(Table):
    """What the finetuned models are asked about every challenge point."""

    augmentation: Literal["none", "shift", "word-dropout"] = "none"
    count: Annotated[int, Field(ge=1)] = 1
    """Queries per point; the first is the point itself."""
    strength: Annotated[float, Field(ge=0)] = 0.0
    """Pixels of a ``shift``, fraction of the words that ``word-dropout`` leaves out."""
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
    """Models trained as one stack. Changes results within rounding only, so it is part of what a run is."""
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


def preset_names() -> list[str]:
    """Names of the presets that ship with the package, sorted."""
    return sorted(entry.name.removesuffix(".toml") for entry in PRESETS.iterdir() if entry.name.endswith(".toml"))


def preset_text(name: str) -> str:
    """The TOML text of a preset, comments included.

    Raises:
        TmiError: there is no such preset.
    """
    if name not in preset_names():
        raise TmiError(f"there is no preset named {name!r}{did_you_mean(name, preset_names())}")
    return (PRESETS / f"{name}.toml").read_text(encoding="utf-8")


def load_config(preset_or_file: str, overrides: dict[str, Any] | None = None) -> Config:
    """Read a preset or a TOML file and validate it.

    Args:
        preset_or_file: the name of a preset, or the path of a file that ends in ``.toml``.
        overrides: values by dotted key (``{"pretrain.epochs": 10}``) that replace those of the file.

    Raises:
        TmiError: no such preset or file, not TOML, an unknown or missing key, a wrong type or value.
    """
    if preset_or_file.endswith(".toml"):
        path = Path(preset_or_file)
        document = _parse(_read(path), preset_or_file)
        _anchor_paths(document, path.resolve().parent)
    else:
        document = _parse(preset_text(preset_or_file), preset_or_file)
    for key, value in (overrides or {}).items():
        _override(document, key, value)
    return validate(document, preset_or_file)


def validate(document: dict[str, Any], origin: str) -> Config:
    """Check a parsed TOML document; ``origin`` names it in error messages.

    Raises:
        TmiError: the first key that is unknown, missing or has a wrong value.
    """
    try:
        return Config.model_validate(document)
    except ValidationError as error:
        raise TmiError(f"{origin}: {_explain(error)}") from None


def parse_value(text: str) -> Any:
    """Read the value of ``--set key=value``: TOML where it is TOML (``3``, ``[1, 2]``), else a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def differences(left: Config, right: Config) -> list[str]:
    """Dotted keys whose values differ, as ``key: left, now right``."""
    first, second = _flatten(left.model_dump()), _flatten(right.model_dump())
    return [
        f"{key} was {first.get(key)!r}, now {second.get(key)!r}"
        for key in first | second
        if first.get(key) != second.get(key)
    ]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise TmiError(f"{path}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise TmiError(f"{path}: cannot be read: {error}") from None


def _parse(text: str, origin: str) -> dict[str, Any]:
    try:
        document: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TmiError(f"{origin}: not a TOML file: {error}") from None
    return document


def _anchor_paths(document: dict[str, Any], folder: Path) -> None:
    """Make relative paths of file sources absolute, so that the resolved configuration works from anywhere."""
    for table in (document.get("pool"), document.get("downstream")):
        if isinstance(table, dict) and isinstance(table.get("source"), str):
            kind, _, name = table["source"].partition(":")
            if kind in FILE_SOURCES:
                table["source"] = f"{kind}:{(folder / Path(name).expanduser())}"


def _override(document: dict[str, Any], key: str, value: Any) -> None:
    *tables, last = key.split(".")
    for name in tables:
        document = document.setdefault(name, {})
        if not isinstance(document, dict):
            raise TmiError(f"--set {key}: {name!r} is a value, not a table")
    document[last] = value


Model = TypeVar("Model", bound=BaseModel)
Entry = TypeVar("Entry", str, int)


def _without_repetition(entries: list[Entry]) -> list[Entry]:
    for index, entry in enumerate(entries):
        if entry in entries[:index]:
            raise ValueError(f"{entry!r} is given twice")
    return entries


def _explain(error: ValidationError) -> str:
    """The first problem as one sentence."""
    problem = error.errors()[0]
    location = [part for part in problem["loc"] if isinstance(part, str)]
    # A union reports its alternatives as extra parts of the location ("classes", "int"): keep what is a key.
    key, table = _resolve(location)
    if problem["type"] == "extra_forbidden":
        return f"unknown key {key!r}{did_you_mean(key.rpartition('.')[2], sorted(table.model_fields))}"
    if problem["type"] == "missing":
        return f"the key {key!r} is missing"
    message = str(problem["msg"]).removeprefix("Value error, ")
    if not key:
        return message
    return f"the key {key!r} is {problem['input']!r}: {message[0].lower()}{message[1:]}"


def _resolve(location: list[str]) -> tuple[str, type[BaseModel]]:
    """The dotted key of an error's location, and the table that should hold it."""
    table: type[BaseModel] = Config
    parts: list[str] = []
    for part in location:
        parts.append(part)
        annotation = table.model_fields[part].annotation if part in table.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            break
        table = annotation
    return ".".join(parts), table


def _flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
