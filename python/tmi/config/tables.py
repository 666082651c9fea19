"""A whole configuration of a run that trains its models.

A resolved configuration (``to_toml``) is complete: feeding it back repeats the run.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field, model_validator

from tmi.config.attacking import AttackedConfig
from tmi.config.data import DownstreamConfig, EncoderConfig, PoolConfig, QueryConfig
from tmi.config.recipe import UNUSED_TABLES, UNUSED_TRAINING, RecipeConfig
from tmi.config.target import TargetConfig
from tmi.config.training import FinetuneConfig, ModelConfig, PretrainConfig


class Config(AttackedConfig):
    """One run, complete."""

    grown_from: int | None = None
    """The number of models that a run was begun with, where it was given more later; the tool writes it."""
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
    code: str | None = None
    """The folder in which modules of the user's functions are looked for before the current directory: that of the TOML
    file, where functions are named."""

    @model_validator(mode="before")
    @classmethod
    def _unused_tables_are_left_out(cls, document: Any) -> Any:
        """Where a given model is attacked or the user's functions train, nothing reads some tables."""
        if not isinstance(document, dict):
            return document
        if isinstance(finetune := document.get("finetune"), dict) and finetune.get("objective") == "causal":
            attack = document.get("attack", {})
            # Of a model that writes there are no logits of classes to be seen.
            document = document | {"attack": {"views": ["tokens"]} | attack if isinstance(attack, dict) else attack}
        if isinstance(pool := document.get("pool"), dict) and pool.get("non_members"):
            # The head of a given model that writes is that of its own pretraining, whatever else it is like.
            writes = isinstance(finetune, dict) and finetune.get("objective") == "causal"
            objective = {"objective": "causal"} if writes else {}
            document = {"pretrain": UNUSED_TRAINING | objective} | document
        return UNUSED_TABLES | document if isinstance(document.get("recipe"), dict) else document

    def contradictions(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """See `AttackedConfig.contradictions`."""
        yield from super().contradictions()
        yield from self._about_the_recipe()
        yield from self._about_given_models()
        if (
            self.target is not None
            and self.target.kind == "predictions"
            and self.query.reference_points not in (0, "all")
        ):
            sentence = "target.kind is 'predictions', which holds no answers about query.reference_points"
            yield ("target", "query.reference_points"), sentence
        if self.pretrain.objective != "classification" and self.encoder.kind != "tokens":
            sentence = f"pretrain.objective is {self.pretrain.objective!r}, which needs encoder.kind 'tokens'"
            yield ("pretrain.objective", "encoder.kind"), sentence
        if self.finetune.objective == "causal" and self.pretrain.objective != "causal":
            sentence = f"finetune.objective is 'causal', but pretrain.objective is {self.pretrain.objective!r}: \
expected 'causal' as well, since the head that writes is that of pretraining"
            yield ("finetune.objective", "pretrain.objective"), sentence
        yield from self._about_pairs()
        if self.encoder.stride is not None and self.finetune.objective != "causal":
            sentence = f"encoder.stride is {self.encoder.stride}, which is for models that write (finetune.objective \
'causal'), found {self.finetune.objective!r}"
            yield ("encoder.stride", "finetune.objective"), sentence
        if self.encoder.stride is not None and self.target is not None:
            sentence = f"encoder.stride is {self.encoder.stride}, but target is asked about whole texts: cut them with \
pool.chunk_words"
            yield ("encoder.stride", "target"), sentence
        if self.target is not None and self.target.kind != "checkpoint":
            writes, meaning = self.finetune.objective == "causal", self.target.meaning
            if writes != (meaning == "tokens"):
                sentence = f"target.meaning is {meaning!r}, but finetune.objective is {self.finetune.objective!r}: \
models that write are asked about 'tokens', others about classes"
                yield ("target", "finetune.objective"), sentence
        if self.encoder.kind == "tokens" and self.model.kind not in ("transformers", "python"):
            sentence = f"model.kind is {self.model.kind!r}, which does not read encoder.kind 'tokens'"
            yield ("model.kind", "encoder.kind"), sentence
        if self.name in self.variants:
            yield ("name", "variants"), f"variants has the name {self.name!r}, which is that of the run itself"

    def _about_pairs(self) -> Iterator[tuple[tuple[str, ...], str]]:
        task, objective = self.downstream, self.finetune.objective
        if task.response is None:
            return
        said = f"downstream.response is {task.response!r}"
        if objective != "causal":
            sentence = f"{said}, which models learn to write with finetune.objective 'causal', found {objective!r}"
            yield ("downstream.response", "finetune.objective"), sentence
        for key, value in (("chunk_words", task.chunk_words), ("words_only", task.words_only)):
            if value:
                sentence = f"{said}, but downstream.{key} {value}: prompt and response are read as they are"
                yield ("downstream.response", f"downstream.{key}"), sentence

    def _about_the_recipe(self) -> Iterator[tuple[tuple[str, ...], str]]:
        if self.recipe is None:
            return
        if self.given:
            yield ("recipe", "pool.non_members"), "pool.non_members is for given models, which no recipe trains"
        for table, unused in UNUSED_TABLES.items():
            found = getattr(self, table)
            if found != type(found).model_validate(unused):
                sentence = f"{table} is configured, but recipe trains and reads: leave the table out"
                yield ("recipe", table), sentence
        if self.variants:
            yield ("recipe", "variants"), "variants are other finetunings by the tool, which a recipe has none of"

    def _about_given_models(self) -> Iterator[tuple[tuple[str, ...], str]]:
        if not self.given:
            return
        if self.target is not None:
            sentence = "target needs shadow models, of which there are none with pool.non_members"
            yield ("target", "pool.non_members"), sentence
        if self.model.checkpoint is None:
            sentence = "pool.non_members needs model.checkpoint: the given model whose members are known"
            yield ("model.checkpoint", "pool.non_members"), sentence
        if self.finetune.objective == "causal" and self.encoder.tokenizer == "downstream":
            sentence = "encoder.tokenizer is 'downstream', but a given model that writes has a tokenizer of its own, \
which is expected there"
            yield ("encoder.tokenizer", "pool.non_members"), sentence
        if self.attack.shadows:
            sentence = "attack.shadows is for shadow models, of which there are none with pool.non_members"
            yield ("attack.shadows", "pool.non_members"), sentence

    @property
    def given(self) -> bool:
        """Whether a given model is attacked, some of whose members and non-members are known."""
        return self.pool.non_members is not None

    @property
    def companions(self) -> list[str]:
        """Names of the variants that adversaries see together with the run itself, in their order."""
        return list(self.variants) if self.attack.together == "all" else self.attack.together

    @property
    def targets(self) -> int:
        """Number of models that play the target; all finetunings of a given model together are one."""
        return 1 if self.given else super().targets
