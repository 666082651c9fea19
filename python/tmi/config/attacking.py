"""The tables about the attack, its evaluation and the machine, and what every kind of configuration has of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

import tomli_w
from pydantic import Field, field_validator, model_validator

from tmi.config.base import ContradictionsError, Table, without_repetition
from tmi.system.memory import parse_memory

if TYPE_CHECKING:
    from typing_extensions import Self

# Three models are the least with which a target has one shadow that was trained on a point and one that was not.
FEWEST_MODELS = 3
# A hundred times as many as anybody is known to have trained: more are a slip of the finger.
MOST_MODELS = 100_000


class AttackConfig(Table):
    """Which attacks are run, in the order of the report, and what the adversaries have."""

    names: list[str] = []
    """If left out, those that are the default and possible; ``config.toml`` in a run's directory lists them."""
    views: Annotated[list[str], Field(min_length=1)] = ["logits"]
    """What is seen of the answers, for instance ``top-3``: the main view first, then those that it is compared with."""
    shadows: list[int] = []
    """Numbers of shadow models with which the attacks are repeated, besides all of them."""
    together: list[str] | Literal["all"] = []
    """Variants that adversaries see together with the run's own finetuning, one more at a time in this order, or
    ``all``."""
    options: dict[str, dict[str, bool | int | float | str]] = {}
    """Options of single attacks, a table each, for instance ``[attack.options.rmia]`` with ``gamma = 2``."""

    @field_validator("views")
    @classmethod
    def _views_differ(cls, views: list[str]) -> list[str]:
        return without_repetition(views)

    @field_validator("shadows")
    @classmethod
    def _numbers_differ(cls, shadows: list[int]) -> list[int]:
        return without_repetition(shadows)

    @field_validator("together")
    @classmethod
    def _finetunings_differ(cls, together: list[str] | Literal["all"]) -> list[str] | Literal["all"]:
        return together if together == "all" else without_repetition(together)


class EvaluationConfig(Table):
    """How the attacks are judged."""

    targets: Annotated[int, Field(ge=1)] | Literal["all"] = "all"
    """Each of the first N models plays the target in turn; the others are its shadows."""
    false_positive_rates: list[Annotated[float, Field(gt=0, lt=1)]] = [0.001, 0.01, 0.05, 0.1]
    """Where true positive rates are reported."""
    resamples: Annotated[int, Field(ge=100, le=1_000_000)] = 1000
    """Bootstrap resamples behind every interval."""
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Of every interval."""
    accusation_rate: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """The false positive rate at which points of a target of unknown membership are called members."""
    delta: Annotated[float, Field(ge=0, lt=1)] = 1e-5
    """Of the lower bound on the pretraining's epsilon."""


class ComputeConfig(Table):
    """Where and how the work is done."""

    device: str = "cpu"
    """``cpu``, ``cuda``, ``cuda:1``, ``mps`` or ``auto``."""
    models_at_once: Annotated[int, Field(ge=1, le=MOST_MODELS)] = 8
    """Models trained side by side. Changes results within rounding only, so it is part of what a run is."""
    checkpoint_minutes: Annotated[float, Field(ge=0)] = 3.0
    """How often training is saved, so that an interrupted run goes on inside a model. Never changes a result."""
    workers: Annotated[int, Field(ge=0, le=1024)] = 0
    """Worker processes of one thread each; 0: one per core that is granted. Never changes a result."""
    memory: str = "1G"
    """Working memory of the attacks, all workers of a machine together, in K, M or G; at least 64M. Never changes a
    result."""
    cluster: str | None = None
    """The Ray cluster where jobs run: ``auto``, ``local``, the address of one, or ``none``. Never changes a result."""
    job_gpus: Annotated[float, Field(gt=0, le=1)] = 1.0
    """On a cluster, the part of a GPU that a job takes which trains on ``cuda``. Never changes a result."""
    job_memory: str | None = None
    """On a cluster, the memory that a job takes, so that a node is given no more jobs than it holds; left out, nodes
    are given a job per core. Never changes a result."""
    shared_files: bool = False
    """On a cluster, whether every node has the run's directory under the same path; else files are sent. Never changes
    a result."""

    @field_validator("cluster")
    @classmethod
    def _names_one(cls, cluster: str | None) -> str | None:
        return None if cluster in ("", "none") else cluster

    @field_validator("memory", "job_memory")
    @classmethod
    def _is_size(cls, memory: str | None) -> str | None:
        if memory is not None:
            parse_memory(memory)
        return memory

    @property
    def memory_bytes(self) -> int:
        """The same in bytes."""
        return parse_memory(self.memory)


class AttackedConfig(Table):
    """What is the same whether models are trained or their answers were saved by others."""

    name: str
    """What the run is called, in its report and in the default place of its directory."""
    description: str = ""
    """A sentence about it, for the report."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of every random draw."""
    models: Annotated[int, Field(ge=FEWEST_MODELS, le=MOST_MODELS)] = 64
    """Models; each is the target once, with the others as its shadows."""
    attack: AttackConfig = AttackConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    compute: ComputeConfig = ComputeConfig()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if found := [*self.contradictions()]:
            raise ContradictionsError(found)
        return self

    def contradictions(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """What does not fit together: the dotted keys, and a sentence about them."""
        targets, models, compute = self.evaluation.targets, self.models, self.compute
        if targets != "all" and targets > models:
            yield (
                ("evaluation.targets", "models"),
                f"evaluation.targets is {targets}, expected at most the number of models, {models}, or 'all'",
            )
        if compute.cluster is not None and compute.device.startswith("cuda:"):
            yield (
                ("compute.device", "compute.cluster"),
                f"compute.device is {compute.device!r}, expected 'cuda' on a cluster, which gives every job its own",
            )
        if wrong := [number for number in self.attack.shadows if not 2 <= number <= models - 1]:
            yield (
                ("attack.shadows", "models"),
                f"attack.shadows has {', '.join(map(str, wrong))}, expected 2 to {models - 1}: "
                f"one of the {models} models is the target",
            )

    @property
    def targets(self) -> int:
        """Number of models that play the target."""
        return self.models if self.evaluation.targets == "all" else self.evaluation.targets

    @property
    def companions(self) -> list[str]:
        """Names of the other finetunings that adversaries see together with the first, in their order."""
        return [] if self.attack.together == "all" else self.attack.together

    def to_toml(self) -> str:
        """The complete configuration as TOML text."""
        return tomli_w.dumps(self.model_dump(exclude_none=True))
