"""The tables about training: networks, recipes and privacy."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from tmi.config.base import Table
from tmi.errors import did_you_mean
from tmi.system.plugins import TRANSFERS

# What only some kinds of models read.
KEYS_OF_MODELS = {
    ("mlp",): ("hidden",),
    ("cnn",): ("channels", "features"),
    ("transformers", "python"): ("architecture",),
    ("transformers",): ("settings", "stem", "pooling", "checkpoint"),
}


class ModelConfig(Table):
    """The network: a backbone and a linear head."""

    kind: Literal["mlp", "cnn", "transformers", "python"] = "mlp"
    """The family of networks."""
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
    pooling: Literal["last", "mean", "cls"] | None = None
    """Of text ``transformers``: the features are those of the last token, the mean over tokens or those of the first
    token; if left out, ``last`` for models that read from left to right, else ``mean``."""
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
                default = type(self).model_fields[key].default
                # The complete configuration that a run writes has every default.
                if key in self.model_fields_set and self.kind not in kinds and getattr(self, key) != default:
                    raise ValueError(
                        f"model.{key} is for model.kind {' or '.join(map(repr, kinds))}, not {self.kind!r}"
                    )
        return self


class TrainingConfig(Table):
    """A training recipe."""

    optimizer: Literal["adamw", "sgd"] = "adamw"
    """AdamW, or stochastic gradient descent with `momentum`."""
    learning_rate: Annotated[float, Field(gt=0)]
    """Where the schedule starts."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Of ``sgd``."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Decoupled from the gradient for ``adamw``, added to it for ``sgd``."""
    nesterov: bool = False
    """Of ``sgd``."""
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    """How the learning rate falls."""
    step_epochs: Annotated[int, Field(ge=1)] = 10
    """Of the ``step`` schedule: epochs after which the learning rate is multiplied by ``gamma``, again and again."""
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Of the ``step`` schedule: the factor."""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the steps in which the learning rate rises linearly to where its schedule starts."""
    epochs: Annotated[int, Field(ge=1)]
    """How often every point is seen."""
    batch_size: Annotated[int, Field(ge=1)]
    """Points in a step."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the target that is spread over all classes."""
    flip: bool = False
    """Mirror every image with probability one half, anew in every epoch."""
    crop: Annotated[int, Field(ge=0)] = 0
    """Shift every image by up to so many pixels, its border mirrored, anew in every epoch."""
    precision: Literal["float32", "bfloat16", "auto"] = "float32"
    """``bfloat16``: automatic mixed precision; weights and their updates stay float32. ``auto``: where it is faster."""


class PretrainConfig(TrainingConfig):
    """The recipe of pretraining and what is learned."""

    objective: Literal["classification", "causal", "masked"] = "classification"
    """The labels of the pool, the next token, or tokens that were masked."""
    mask_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.15
    """Of ``masked``: share of the tokens that are masked, others in every epoch (Devlin et al. 2019)."""


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

    objective: Literal["classification", "causal"] = "classification"
    """The labels of the downstream task, or the next token of its texts: a language model that stays one."""
    transfer: str = "head"
    """``head``: a new linear head on the frozen backbone; ``last-K``: and the last K blocks; ``full``: everything;
    ``lora``: and low-rank adapters of every layer. With ``causal`` the head is that of pretraining, and ``lora`` trains
    the adapters alone."""
    lora_rank: Annotated[int, Field(ge=1)] = 8
    """Of ``lora``."""
    private: PrivacyConfig | None = None

    @field_validator("transfer")
    @classmethod
    def _is_known(cls, transfer: str) -> str:
        transfer_method(transfer)
        return transfer


def transfer_method(transfer: str) -> tuple[str, int]:
    """The finetuning method of a name and its number: ``last-3`` is ``last-k`` with 3, ``head`` is itself with 0.

    Raises:
        ValueError: there is no such method.
    """
    known = TRANSFERS.names()
    method, _, number = transfer.rpartition("-")
    if re.fullmatch("[1-9][0-9]*", number) and f"{method}-k" in known:
        return f"{method}-k", int(number)
    if transfer not in known or transfer.endswith("-k"):
        names = [re.sub("-k$", "-K", name) for name in known]
        raise ValueError(f"there is no such finetuning method{did_you_mean(transfer, names)}")
    return transfer, 0
