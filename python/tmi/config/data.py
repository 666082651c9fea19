"""The tables about data: where points come from, how they are encoded, what is asked about them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tmi.config.base import Table


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
    words_only: bool = False
    """Lower-case texts and keep nothing but their words and numbers, so that formatting tells nothing."""
    chunk_words: Annotated[int, Field(ge=1)] | None = None
    """Cut texts into pieces of so many words, each a point of its own; shorter ends are left out."""


class PoolConfig(SourceConfig):
    """The points that the shadow models are pretrained on, each model on its own random half."""

    classes: int | list[str] | None = None
    """Keep this many classes (spread evenly over the classes by size), or the named ones; all if left out."""
    size: Annotated[int, Field(ge=4)] | None = None
    """Points in the pool; all that the source has if left out."""
    challenge_points: Annotated[int, Field(ge=2)] | None = None
    """Points of the pool whose membership is attacked; all that are no duplicates if left out."""
    id: str | None = None
    """The column or array that says what you call each point, in tables and reports. File names, and an array ``ids``
    of an ``.npz`` file, are taken without it."""
    non_members: str | None = None
    """A second source, of points that were not in the pretraining data of ``model.checkpoint``, those of ``source``
    being known to have been in it: nothing is pretrained then, and the given model is attacked."""
    overlap_words: Annotated[int, Field(ge=0)] = 0
    """Texts that have so many words in a row in common count as duplicates; 0: only equal points do."""


class DownstreamConfig(SourceConfig):
    """The task that every pretrained model is finetuned on; it shares no point with the pool."""

    classes: int | list[str] | Literal["others"] | None = None
    """As in ``pool``; ``"others"``: the classes that the pool does not use."""
    response: str | None = None
    """The column or key of the response to each prompt, which ``inputs`` names then: with ``finetune.objective``
    ``causal`` models read both and learn to write the response alone."""
    relabel: list[Annotated[int, Field(ge=0)]] | str | None = None
    """The new label of each old one, for instance ``[0, 1, 0, 1]``, or a JSON file ``{"old name": "new name"}``."""
    size: Annotated[int, Field(ge=2)] | None = None
    drop_shared: bool = False
    """Leave out the points that the pool of another source has as well; else they are refused."""
    points_per_model: Annotated[int, Field(ge=1)] | None = None
    """Points that each model draws for its finetuning; half of them if left out, the rest tests it."""


class EncoderConfig(Table):
    """How a point becomes the numbers that a network reads."""

    kind: Literal["pixels", "hashed-words", "tokens"]
    """For images and vectors, for texts as bags of words, for texts that language models read."""
    dimensions: Annotated[int, Field(ge=2)] = 2048
    """Hash buckets of ``hashed-words``."""
    norm: Annotated[float, Field(gt=0)] = 4.0
    """Euclidean norm of every point encoded by ``hashed-words``."""
    mean: list[float] | None = None
    """Of each channel of ``pixels`` in [0, 1], subtracted; fixed, never measured on the data of a run."""
    std: list[Annotated[float, Field(gt=0)]] | None = None
    """What each channel of ``pixels`` is divided by then."""
    tokenizer: str = "downstream"
    """Of ``tokens``: a local directory, ``tokenizer.json`` or hub name; ``downstream``: trained on the texts of the
    downstream task, of which no pretrained model has seen one."""
    vocabulary: Annotated[int, Field(ge=300)] = 4096
    """Tokens of a tokenizer that is trained."""
    length: Annotated[int, Field(ge=2)] = 128
    """Most tokens of a point."""
    truncate: bool = False
    """Cut points that are longer; else they are refused."""
    stride: Annotated[int, Field(ge=1)] | None = None
    """Texts of the pool may be longer: models that write are asked about them in windows of ``length`` tokens, each of
    which begins so many tokens behind the one before."""

    @model_validator(mode="after")
    def _windows_overlap(self) -> EncoderConfig:
        if self.stride is None:
            return self
        if self.stride >= self.length:
            raise ValueError(f"encoder.stride is {self.stride}, expected less than encoder.length, {self.length}")
        if self.truncate:
            raise ValueError(
                "encoder.truncate cuts the texts that encoder.stride has read in windows: expected one of both"
            )
        return self

    @property
    def longest(self) -> int | None:
        """Most tokens of a text of the pool; None if it is read in windows."""
        return self.length if self.stride is None else None

    @model_validator(mode="after")
    def _standardise_by_both(self) -> EncoderConfig:
        if (self.mean is None) != (self.std is None) or len(self.mean or []) != len(self.std or []):
            raise ValueError("encoder.mean and encoder.std belong together, one number per channel each")
        return self


class QueryConfig(Table):
    """What the finetuned models are asked about every challenge point."""

    augmentation: Literal["none", "shift", "flip-crop", "word-dropout", "word-masking", "truncation", "lower-case"] = (
        "none"
    )
    """How the further queries about a point vary it."""
    count: Annotated[int, Field(ge=1, le=1000)] = 1
    """Queries per point; the first is the point itself."""
    strength: Annotated[float, Field(ge=0)] = 0.0
    """Pixels of a ``shift``, most pixels of a ``flip-crop``, share of the words that ``word-dropout`` leaves out,
    ``word-masking`` masks and ``truncation`` cuts off at most."""
    reference_points: Annotated[int, Field(ge=0)] | Literal["all"] = "all"
    """Further points of the pool, which nobody challenges, that are asked about as well: they teach attacks what the
    models make of the pool. ``all``: the rest of the pool, or none for a ``target`` of saved predictions."""
