"""What a run computes, apart from where anything is kept: points, their encoding, queries, membership and networks."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from tmi.config import Config
from tmi.data.encoding import encode, tokenizer_for
from tmi.data.membership import draw_finetuning_set, draw_membership
from tmi.data.points import Points
from tmi.data.queries import make_queries
from tmi.data.split import Task, load_task
from tmi.data.tokens import BEGINNING, PADDING, Tokenizer, holds_tokenizer, load_tokenizer
from tmi.errors import TmiError
from tmi.system.user_code import look_in
from tmi.system.worker import send_apart, sent_apart
from tmi.targets import Texts

if TYPE_CHECKING:
    from typing_extensions import Self

    from tmi.shadows.networks import Classifier

Value = TypeVar("Value")

# Experiments that a worker process keeps: a run and some of its variants, of which each may have data of its own.
KEPT_IN_A_WORKER = 4


class computed_once(cached_property[Value]):  # noqa: N801, like what it is made of
    """A part of an experiment: what was sent of it to a worker, or else what is computed."""

    @overload
    def __get__(self, experiment: None, owner: type[Any] | None = None) -> Self: ...

    @overload
    def __get__(self, experiment: object, owner: type[Any] | None = None) -> Value: ...

    def __get__(self, experiment: object | None, owner: type[Any] | None = None) -> Self | Value:
        """Called as long as nothing is cached."""
        configs = None if experiment is None else vars(experiment).get("_sent")
        if self.attrname and configs and (value := sent_apart(_key(self.attrname, *configs))) is not None:
            vars(experiment)[self.attrname] = value
        return super().__get__(experiment, owner)


@dataclass(frozen=True)
class Experiment:
    """A configuration and what follows from it alone, each part computed at most once.

    A worker gets the configuration only, once for all jobs of a run and its variants. The parts that are known where it
    is given a job are sent apart, and looked at when they are needed: the processes of a machine share the memory
    of large arrays, and another machine need not have the data. Other parts it computes itself.

    Attributes:
        config: with what ``auto`` stands for on this machine; see `on_this_machine`.
        base: the experiment of the run itself, for a variant: they share all that comes before finetuning.
    """

    config: Config
    base: Experiment | None = None

    def __post_init__(self) -> None:
        """Wherever an experiment is, so are the user's functions."""
        look_in(self.config.code)

    def __reduce__(self) -> tuple[Any, ...]:
        configs: tuple[bytes, ...] = ()
        for each in (self.base, self):
            if each is not None:
                configs = (*configs, pickle.dumps(each.config))
                for name in each._known:
                    send_apart(_key(name, *configs), partial(getattr, each, name))
        return _in_this_process, configs

    @property
    def _known(self) -> Iterator[str]:
        """Parts that are computed, and would take long again or cannot be had without the sources of the points."""
        if "task" not in vars(self):
            return
        # What is another name for the points themselves, or for what a variant has of the run, is found there; its task
        # is the run's pool and its own downstream points.
        of_base = (self.task, *vars(self.base).values()) if self.base is not None else ()
        elsewhere = [None, self.task.pool.raw, self.task.downstream.raw, *of_base]
        for name in [name for name, part in vars(Experiment).items() if isinstance(part, computed_once)]:
            if name in vars(self) and not any(vars(self)[name] is other for other in elsewhere):
                yield name

    @computed_once
    def task(self) -> Task:
        """The pool, the challenge points and the downstream task."""
        if self.base is None:
            return load_task(self.config)
        if self.config.downstream == self.base.config.downstream:
            return self.base.task
        downstream, left_out = self._own_downstream
        return replace(self.base.task, downstream=downstream, left_out=left_out)

    @computed_once
    def _own_downstream(self) -> tuple[Points, int]:
        """The downstream task of a variant that has another, and how many points the pool has as well."""
        task = load_task(self.config)
        return task.downstream, task.left_out

    @computed_once
    def tokenizer(self) -> Tokenizer | None:
        """What turns texts into tokens, if anything does: that of the pretrained models, also for a variant."""
        if self.base is not None:
            return self.base.tokenizer
        encoder = self.config.encoder
        return tokenizer_for(encoder, self.task.downstream.raw) if encoder.kind == "tokens" else None

    @computed_once
    def membership(self) -> NDArray[np.bool_]:
        """Which points of the pool each model is pretrained on, bool ``[models, pool points]``."""
        if self.base is not None:
            return self.base.membership
        models, known = self.config.models, self.task.known_members
        if known is not None:
            return np.tile(known, (models, 1))
        return draw_membership(self.config.seed, models, len(self.task.pool))

    def finetuning_set(self, model: int) -> NDArray[np.int64]:
        """The downstream points that a model is finetuned on, ascending; half of them unless configured otherwise."""
        points = len(self.task.downstream)
        size = self.config.downstream.points_per_model or points // 2
        return draw_finetuning_set(self.config.seed, model, points, size)

    def encode(self, raw: NDArray[Any], *, in_windows: bool = False) -> NDArray[Any]:
        """Raw points as the numbers that the networks read; see `tmi.data.encoding.encode`."""
        return encode(raw, self.task.pool.kind, self.config.encoder, self.tokenizer, in_windows=in_windows)

    @computed_once
    def pool_inputs(self) -> NDArray[Any]:
        """The encoded pool ``[points, ...]``."""
        return self.encode(self.task.pool.raw, in_windows=True) if self.base is None else self.base.pool_inputs

    @computed_once
    def downstream_inputs(self) -> NDArray[Any]:
        """The encoded downstream points ``[points, ...]``."""
        if self.base is not None and self.task is self.base.task:
            return self.base.downstream_inputs
        return self.encode(self.task.downstream.raw)

    @computed_once
    def responses(self) -> NDArray[np.int64]:
        """The place of the first token of each downstream text's response, behind the text where none is left of it.

        A token that has something of both is one of the response. 0 where texts are learned as a whole.
        """
        texts, tokenizer, length = self.task.downstream, self.tokenizer, self.config.encoder.length
        if texts.prompts is None or tokenizer is None:
            return np.zeros(len(texts), dtype=np.int64)
        places = []
        for text, prompt in zip(texts.raw, texts.prompts, strict=True):
            ends = tokenizer.ends(text, length)
            places.append(next((place for place, end in enumerate(ends) if end > prompt), len(ends)))
        return np.array(places, dtype=np.int64)

    def queries(self, points: Points, purpose: str = "queries") -> NDArray[Any]:
        """Raw queries about points ``[points, augmentations, ...]``; ``purpose`` names what they draw from."""
        mask = self.tokenizer and self.tokenizer.mask_token
        return make_queries(points, self.config.query, self.config.seed, purpose, mask)

    def encode_queries(self, queries: NDArray[Any]) -> NDArray[Any]:
        """Raw queries as the networks read them, one after another ``[points * augmentations, ...]``."""
        flat, encoder = queries.reshape(-1, *queries.shape[2:]), self.config.encoder
        if self.config.finetune.objective == "classification":
            # A variation of a text may have a token more than the text itself, which no class depends on.
            encoder = encoder.model_copy(update={"truncate": True})
            return encode(flat, self.task.pool.kind, encoder, self.tokenizer)
        try:
            return self.encode(flat, in_windows=True)
        except TmiError as error:
            count = queries.shape[1]
            raise TmiError(f"of the queries, {count} about each text one after another, {error}") from None

    @computed_once
    def raw_queries(self) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """All queries about the challenge points, and about the reference points if there are any."""
        return self._all_queries() if self.base is None else self.base.raw_queries

    @computed_once
    def encoded_queries(self) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """The same as the networks read them."""
        if self.base is not None:
            return self.base.encoded_queries
        challenges, references = self._all_queries()
        return self.encode_queries(challenges), None if references is None else self.encode_queries(references)

    def _all_queries(self) -> tuple[NDArray[Any], NDArray[Any] | None]:
        challenges, references = self.queries(self.task.challenges), self.task.references
        return challenges, self.queries(references, "reference queries") if len(references) else None

    @computed_once
    def longest_query(self) -> int:
        """Tokens of the longest query: what models say about tokens is filled up to it, the same for all of them."""
        return max(int((each != PADDING).sum(axis=1).max()) for each in self.encoded_queries if each is not None)

    @cached_property
    def texts(self) -> Texts | None:
        """The tokens of all queries, about which a target that writes is asked; None of models of classes."""
        if self.config.finetune.objective == "classification" or self.tokenizer is None:
            return None
        ids = dict[str, tuple[int, ...]]()
        for raw, encoded in zip(self.raw_queries, self.encoded_queries, strict=True):
            if raw is not None and encoded is not None:
                ids |= {
                    text: tuple(row[row != PADDING].tolist()) for text, row in zip(raw.ravel(), encoded, strict=True)
                }
        spellings = lru_cache(maxsize=None)(self.tokenizer.spellings)
        room = self.config.encoder.length - 1
        return Texts(ids, max(1, self.longest_query - 1), room, spellings, self.tokenizer.fingerprint)

    def require_same_tokens(self, folder: Path, key: str) -> None:
        """Refuse a model that comes with a tokenizer of its own, which makes other tokens of the texts.

        Raises:
            TmiError: it does, or the tokenizer cannot be read.
        """
        if self.tokenizer is None or not holds_tokenizer(folder):
            return
        other = load_tokenizer(str(folder), key)
        for text in self.task.challenges.raw:
            if not np.array_equal(self.tokenizer.encode([text], None), other.encode([text], None)):
                raise TmiError(
                    f"{key} {str(folder)!r}: its tokenizer makes other tokens of {text[:BEGINNING]!r} than "
                    f"encoder.tokenizer {self.config.encoder.tokenizer!r}: name the directory there as well"
                )

    def network(self, seed: int) -> Classifier:
        """A network as it is before pretraining; with a checkpoint, as that is."""
        from tmi.shadows.networks import build_classifier

        config = self.config
        return build_classifier(
            config.model,
            config.encoder,
            (config.encoder.length,) if self.tokenizer else self.encode(self.task.pool.raw[:1]).shape[1:],
            len(self.task.pool.class_names),
            seed,
            vocabulary=self.tokenizer and self.tokenizer.vocabulary,
            objective=config.pretrain.objective,
        )


@lru_cache(maxsize=KEPT_IN_A_WORKER)
def _in_this_process(*configs: bytes) -> Experiment:
    """What an experiment is in the process that it was sent to: the same object for every job that needs it."""
    *base, config = configs
    experiment = Experiment(pickle.loads(config), _in_this_process(*base) if base else None)
    vars(experiment)["_sent"] = configs
    return experiment


def _key(part: str, *configs: bytes) -> str:
    """Under which a part of an experiment is sent apart."""
    return hashlib.sha256(pickle.dumps((part, configs))).hexdigest()


def on_this_machine(config: Config) -> Config:
    """The configuration with what ``auto`` stands for here, so that it means the same anywhere.

    Raises:
        TmiError: this machine has no such device, nor is there a cluster; or what ``auto`` stands for on an accelerator
            of the cluster cannot be found out here.
    """
    from tmi.system.devices import actual_device, actual_precision, is_here

    device = config.compute.device
    if config.compute.cluster is None or device == "auto" or is_here(device):
        device = actual_device(device)
    elif "auto" in (config.pretrain.precision, config.finetune.precision):
        raise TmiError(
            f"the precision 'auto' depends on the {device!r} of the cluster, which this machine does not have: set "
            "pretrain.precision and finetune.precision to 'bfloat16' or 'float32'"
        )
    known: dict[str, Any] = {"compute": config.compute.model_copy(update={"device": device})}
    for name, recipe in (("pretrain", config.pretrain), ("finetune", config.finetune)):
        known[name] = recipe.model_copy(update={"precision": actual_precision(recipe.precision, device)})
    return config.model_copy(update=known)
