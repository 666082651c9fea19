"""A whole configuration, and the tables about the attack and the machine.

A resolved configuration (``to_toml``) is complete: feeding it back repeats the run.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import tomli_w
from pydantic import Field, field_validator, model_validator

from tmi.config.base import Table, without_repetition
from tmi.config.data import DownstreamConfig, EncoderConfig, PoolConfig, QueryConfig
from tmi.config.training import FinetuneConfig, ModelConfig, PretrainConfig
from tmi.errors import TmiError
from tmi.memory import parse_memory
from tmi.views import View

# The attacks on a given model whose members are known, and the recipe that stands where nothing is pretrained.
KNOWN_MEMBER_ATTACKS = ("known-points", "inputs-and-answers", "inputs-alone")
UNUSED_PRETRAINING = {"learning_rate": 1e-3, "epochs": 1, "batch_size": 1}
# Three models are the least with which a target has one shadow that was trained on a point and one that was not.
FEWEST_MODELS = 3


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
        return without_repetition(names)

    @field_validator("shadows")
    @classmethod
    def _are_different(cls, shadows: list[int]) -> list[int]:
        return without_repetition(shadows)


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
    pretrain: PretrainConfig
    finetune: FinetuneConfig
    query: QueryConfig = QueryConfig()
    attack: AttackConfig = AttackConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    compute: ComputeConfig = ComputeConfig()
    variants: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")], dict[str, Any]] = {}
    """Other finetunings of the same pretrained models, by name: tables ``downstream`` and ``finetune`` with the keys
    that differ."""

    @model_validator(mode="before")
    @classmethod
    def _nothing_is_pretrained(cls, document: Any) -> Any:
        """Defaults where a given model is attacked."""
        if isinstance(document, dict) and isinstance(pool := document.get("pool"), dict) and pool.get("non_members"):
            attack = {"names": list(KNOWN_MEMBER_ATTACKS)} | (document.get("attack") or {})
            return {"pretrain": UNUSED_PRETRAINING} | document | {"attack": attack}
        return document

    @model_validator(mode="after")
    def _given_model_is_named(self) -> Config:
        if self.given and self.model.checkpoint is None:
            raise ValueError("pool.non_members needs model.checkpoint: the given model whose members are known")
        if self.given and self.attack.shadows:
            raise ValueError("attack.shadows is for shadow models, of which there are none with pool.non_members")
        known = [name for name in self.attack.names if name in KNOWN_MEMBER_ATTACKS]
        if (wrong := [name for name in self.attack.names if (name in known) != self.given]) and (self.given or known):
            expected = "known members, with pool.non_members" if not self.given else "shadow models"
            raise ValueError(f"attack.names has {wrong[0]!r}, which needs {expected}")
        return self

    @property
    def given(self) -> bool:
        """Whether a given model is attacked, some of whose members and non-members are known."""
        return self.pool.non_members is not None

    @model_validator(mode="after")
    def _language_models_read_tokens(self) -> Config:
        if self.pretrain.objective != "classification" and self.encoder.kind != "tokens":
            raise ValueError(f"pretrain.objective is {self.pretrain.objective!r}, which needs encoder.kind 'tokens'")
        if self.encoder.kind == "tokens" and self.model.kind not in ("transformers", "python"):
            raise ValueError(f"model.kind is {self.model.kind!r}, which does not read encoder.kind 'tokens'")
        return self

    @model_validator(mode="after")
    def _variants_have_other_names(self) -> Config:
        if self.name in self.variants:
            raise ValueError(f"variants has the name {self.name!r}, which is that of the run itself")
        return self

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
        """Number of models that play the target; all finetunings of a given model together are one."""
        if self.given:
            return 1
        return self.models if self.evaluation.targets == "all" else self.evaluation.targets

    def to_toml(self) -> str:
        """The complete configuration as TOML text."""
        return tomli_w.dumps(self.model_dump(exclude_none=True))
