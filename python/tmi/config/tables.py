"""A whole configuration of a run that trains its models.

A resolved configuration (``to_toml``) is complete: feeding it back repeats the run.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from tmi.config.attacking import AttackConfig, AttackedConfig
from tmi.config.data import DownstreamConfig, EncoderConfig, PoolConfig, QueryConfig
from tmi.config.recipe import UNUSED_TABLES, RecipeConfig
from tmi.config.target import TargetConfig
from tmi.config.training import FinetuneConfig, ModelConfig, PretrainConfig

# The attacks on a given model whose members are known, and the recipe that stands where nothing is pretrained.
KNOWN_MEMBER_ATTACKS = ("known-points", "inputs-and-answers", "inputs-alone")
UNUSED_PRETRAINING = {"learning_rate": 1e-3, "epochs": 1, "batch_size": 1}


class Config(AttackedConfig):
    """One run, complete."""

    pool: PoolConfig
    downstream: DownstreamConfig
    encoder: EncoderConfig
    model: ModelConfig = ModelConfig()
    pretrain: PretrainConfig
    finetune: FinetuneConfig
    query: QueryConfig = QueryConfig()
    recipe: RecipeConfig | None = None
    """The user's own functions, in place of ``encoder``, ``model``, ``pretrain`` and ``finetune``."""
    target: TargetConfig | None = None
    """A model that was not trained here and whose members nobody knows, attacked with the run's models as shadows."""
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

    @model_validator(mode="before")
    @classmethod
    def _nothing_is_configured(cls, document: Any) -> Any:
        """Tables that nothing reads where the user's own functions train."""
        if not isinstance(document, dict) or not isinstance(recipe := document.get("recipe"), dict):
            return document
        attack = document.get("attack") or {}
        if recipe.get("query_pretrained") is None and isinstance(attack, dict):
            names = [name for name in AttackConfig.model_fields["names"].default if name != "direct"]
            attack = {"names": names} | attack
        return UNUSED_TABLES | document | {"attack": attack}

    @model_validator(mode="after")
    def _recipe_does_everything(self) -> Config:
        if self.recipe is None:
            return self
        if self.given:
            raise ValueError("pool.non_members is for given models, which no recipe trains")
        changed = [table for table, unused in UNUSED_TABLES.items() if not self._is_unused(table, unused)]
        if changed:
            raise ValueError(f"{changed[0]} is configured, but recipe trains and reads: leave the table out")
        if self.variants:
            raise ValueError("variants are other finetunings by the tool, which a recipe has none of")
        if self.recipe.query_pretrained is None and "direct" in self.attack.names:
            raise ValueError("attack.names has 'direct', which needs recipe.query_pretrained")
        return self

    @model_validator(mode="after")
    def _target_can_be_asked(self) -> Config:
        if self.target is not None and self.given:
            raise ValueError("target needs shadow models, of which there are none with pool.non_members")
        if self.target is not None and self.target.kind == "predictions" and self.query.reference_points:
            raise ValueError("target.kind is 'predictions', which holds no answers about query.reference_points")
        return self

    def _is_unused(self, table: str, unused: dict[str, Any]) -> bool:
        value = getattr(self, table)
        return bool(value == type(value).model_validate(unused))

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

    @property
    def targets(self) -> int:
        """Number of models that play the target; all finetunings of a given model together are one."""
        return 1 if self.given else super().targets
