"""One run: its configuration, its directory, and what its stages share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tmi.attacks.checks import Finding, check_target
from tmi.attacks.registry import Needs, attack_named, default_attacks
from tmi.config import Config, variant_of
from tmi.data.split import Task
from tmi.errors import TmiError
from tmi.predictions.arrays import Predictions
from tmi.predictions.attack_input import AttackInput, Reference
from tmi.predictions.tokens import TOKEN
from tmi.report.results import Results
from tmi.report.tables import Provenance
from tmi.runs.adversaries import by_view, main_adversary
from tmi.runs.directory import RunDirectory
from tmi.runs.subject import Description, StoredSubject
from tmi.shadows.experiment import Experiment, on_this_machine
from tmi.shadows.keys import STAGE_VERSIONS, artefact_keys
from tmi.shadows.makers import maker_of
from tmi.system.files import content_key, sidecar
from tmi.system.memory import DEFAULT_MEMORY
from tmi.targets import target_hashes

if TYPE_CHECKING:
    from typing_extensions import Self

    from tmi.report.exhibits import Exhibit
    from tmi.shadows.makers.maker import ShadowMaker, Step


@dataclass(frozen=True)
class Run(StoredSubject):
    """A configuration and the directory of its files; cheap to send to a worker process."""

    config: Config
    directory: RunDirectory
    base: Run | None = None
    """The run itself, for a variant of it."""

    @property
    def sent(self) -> dict[str, Any]:
        """With what a process that only scores would have to read the data for, or to look for a device."""
        known = {"keys": self.keys, "_has": self._has, "_variant_configs": self._variant_configs}
        return {"experiment": self.experiment} | known

    @cached_property
    def experiment(self) -> Experiment:
        """What is computed."""
        return Experiment(self.config, None if self.base is None else self.base.experiment)

    @property
    def task(self) -> Task:
        """The pool, challenge points and downstream task."""
        return self.experiment.task

    @cached_property
    def keys(self) -> dict[str, str]:
        """The artefact key of every stage."""
        return {stage: self.maker.keys[stage] for stage in STAGE_VERSIONS}

    @cached_property
    def maker(self) -> ShadowMaker:
        """Who makes the models."""
        of_config = maker_of(self.config)
        return of_config(self.experiment, artefact_keys(self.experiment, of_config.key_inputs), self.directory)

    def stages(self) -> list[str]:
        """The stages in their order; a variant has its own from finetuning on."""
        queried = ["query", "target"] if self.target_key is not None else ["query"]
        return [*(() if self.base else ("membership", "pretrain")), "finetune", *queried, "score"]

    def stage_files(self, stage: str) -> dict[Path, str]:
        """The files that a stage leaves, with their artefact keys."""
        if stage == "membership":
            return self._drawn
        if stage == "pretrain":
            return self.maker.artefacts("pretrain")
        if stage == "finetune":
            return self.maker.artefacts("finetune")
        if stage == "query":
            return self.maker.artefacts("query", "query_pretrained")
        return self.target_files if stage == "target" else self.score_files

    @property
    def unfinished(self) -> list[Path]:
        """Checkpoints of trainings, and the kept answers of the target, in the files that SQLite makes of one."""
        steps: tuple[Step, ...] = ("pretrain", "finetune")
        checkpoints = [
            path for step in steps for group in self.maker.groups(step) for path in self.maker.unfinished(step, group)
        ]
        cache = self.directory.target_cache
        return [*checkpoints, *(cache.with_name(cache.name + ending) for ending in ("", "-wal", "-shm"))]

    @property
    def finetunings(self) -> list[Run]:
        """The run itself, and the variants that adversaries see together with it."""
        named = {variant.directory.variant_name: variant for variant in self.variants}
        return [self, *(named[name] for name in self.config.companions)]

    @cached_property
    def _has(self) -> tuple[bool, bool]:
        """Whether points have pretraining labels, and whether there are reference points; the same for variants."""
        if self.base is not None:
            return self.base._has
        config, task = self.config, self.task
        is_taught = config.recipe is not None or config.pretrain.objective == "classification"
        labels = is_taught and len(task.pool.class_names) > 1
        return labels, len(task.reference_points) > 0

    @property
    def _drawn(self) -> dict[Path, str]:
        """What the membership stage leaves, with its key."""
        directory, (labels, references) = self.directory, self._has
        paths = [directory.challenge_points, directory.membership]
        paths += [directory.pretraining_labels] if labels else []
        paths += [directory.reference_membership] if references else []
        paths += [directory.reference_labels] if labels and references else []
        key = self.keys["membership"]
        return dict.fromkeys(paths, content_key(key, self.config.models) if self.config.grown_from else key)

    def with_usual_attacks(self, earlier: Sequence[str] = ()) -> Run:
        """The same with `label-probe` as well, if the known points of a given model turn out to have labels.

        Args:
            earlier: attacks that its directory has, which stay.
        """
        names = self.config.attack.names
        if self.config.given and self._has[0]:
            names = default_attacks({Needs.KNOWN_MEMBERS, Needs.PRETRAINING_LABELS})
        names = list(dict.fromkeys([*names, *earlier]))
        if names == self.config.attack.names:
            return self
        attack = self.config.attack.model_copy(update={"names": names})
        same = replace(self, config=self.config.model_copy(update={"attack": attack}))
        vars(same)["experiment"] = Experiment(same.config)
        if "task" in vars(self.experiment):
            # Points are read once.
            vars(same.experiment)["task"] = self.task
        return same

    @cached_property
    def variants(self) -> list[Run]:
        """The other finetunings of the same pretrained models, each a run of its own from finetuning on."""
        named = zip(self.config.variants, self._variant_configs, strict=True)
        return [Run(config, self.directory.variant(name), self.base or self) for name, config in named]

    @cached_property
    def _variant_configs(self) -> list[Config]:
        return [on_this_machine(_as_variant(variant_of(self.config, name))) for name in self.config.variants]

    def label(self, stage: str) -> str:
        """What a stage of this run is called in the progress display."""
        return f"{stage} {self.directory.variant_name}".rstrip()

    def check(self, *, force: bool = False) -> None:
        """Find out whether the configuration fits its data, before anything is written.

        Args:
            force: of no effect, the data being those of the configuration.

        Raises:
            TmiError: it does not.
        """
        runs = (self, *self.variants)
        for each in runs:
            for adversary in by_view(each.config).values():
                adversary.view.require(each.answers_type, len(each.task.downstream.class_names))
        for table, recipe in (
            ("pretrain", self.config.pretrain),
            *(("finetune", each.config.finetune) for each in runs),
        ):
            if self.task.pool.kind != "image" and (recipe.flip or recipe.crop):
                raise TmiError(f"{table}.flip and {table}.crop are for images; the points are {self.task.pool.kind}s")
        for name in self.config.attack.names:
            if (
                Needs.PRETRAINING_LABELS in (attack_named(name).needs, attack_named(name).default_with)
                and not self._has[0]
            ):
                raise TmiError(f"attack.names has {name!r}, which needs pretraining labels; the pool has one class")
        for each in runs:
            each.maker.check()
        if (target := self.config.target) is not None and target.kind == "checkpoint" and self.experiment.texts:
            self.experiment.require_same_tokens(Path(str(target.path)).expanduser(), "target.path")
        if self.config.grown_from is not None:
            self._refuse_other_members()

    @property
    def target_attacks(self) -> list[str]:
        """See `Subject.target_attacks`; without those on what an interface does not tell of a model that writes."""
        names, target = super().target_attacks, self.config.target
        if target is None or target.tells_of_vocabulary:
            return names
        return [name for name in names if attack_named(name).default_with is not Needs.VOCABULARY]

    def _refuse_other_members(self) -> None:
        """Models are only added where those that are there have the members that they would be given today."""
        path = self.directory.membership
        try:
            there = self.directory.load_array(path)
        except TmiError:
            # It is drawn anew.
            return
        drawn = self.experiment.membership[:, self.task.challenge_points]
        if not np.array_equal(there[: len(drawn)], drawn[: len(there)]):
            raise TmiError(
                f"{path}: the members of the {len(there)} models are not those that would be drawn today, so that no "
                "models can be added; choose another --out, or --fresh to throw that run away"
            )

    def describe(self, provenance: Provenance, seconds: dict[str, float]) -> Description:
        """What the results say besides figures."""
        from tmi.runs.describe import describe

        return describe(self, provenance, seconds)

    def with_variants(self, results: Results, of_variants: Mapping[str, Results]) -> Results:
        """The results with what distinguishes the variants, if there are any."""
        from tmi.runs.variants import variant_results

        if not of_variants:
            return results
        return results.model_copy(update={"variants": variant_results(self, results, of_variants)})

    def exhibits(self, points: Sequence[int]) -> list[Exhibit]:
        """What points of the pool look like."""
        from tmi.report.exhibits import Exhibit

        kind, raw, tokenizer = self.task.pool.kind, self.task.pool.raw, self.experiment.tokenizer
        if self.answers_type != TOKEN or tokenizer is None or self.config.given:
            return [Exhibit(kind, raw[point]) for point in points]
        exhibits = []
        for point, moved in zip(points, self._moved_by_membership(points), strict=True):
            first, *others = tokenizer.ends(raw[point], self.config.encoder.longest)
            exhibits.append(
                Exhibit(kind, raw[point], [(first, math.nan), *zip(others, map(float, moved), strict=False)])
            )
        return exhibits

    def _moved_by_membership(self, points: Sequence[int]) -> NDArray[np.float32]:
        """The mean log-odds that members' models give each token but the first, minus the others'.

        Args:
            points: of the pool.

        Returns:
            ``[points, tokens]``; NaN of points of which all models are members, or none.
        """
        places = np.searchsorted(self.task.challenge_points, points)
        members, directory = self.membership[:, places], self.directory
        answers = [directory.load_array(directory.predictions(model))[places, 0] for model in range(len(members))]
        log_odds = np.stack([answer["log_odds"] for answer in answers]).astype(np.float32)
        with np.errstate(invalid="ignore"):
            inside, outside = (
                np.einsum("mp,mpt->pt", side, log_odds) / side.sum(axis=0)[:, None]
                for side in (members.astype(np.float32), (~members).astype(np.float32))
            )
        moved: NDArray[np.float32] = inside - outside
        return moved

    @property
    def answers_type(self) -> np.dtype[Any]:
        """What models say: about the tokens of texts, or logits of classes."""
        return TOKEN if self.config.finetune.objective == "causal" else np.dtype(np.float32)

    @property
    def device(self) -> str:
        """Where models are trained."""
        return self.config.compute.device

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
        asked: list[Any] = [
            self.keys["membership"],
            self.config.query.model_dump(),
            self.config.target.identity,
            target_hashes(self.config.target),
        ]
        if (texts := self.experiment.texts) is not None:
            asked += [texts.fingerprint, self.config.encoder.length, texts.tokens]
        return content_key("target query", *asked)

    @property
    def target_files(self) -> dict[Path, str]:
        """What the target stage writes, with the keys of the files."""
        if (key := self.target_key) is None:
            return {}
        directory = self.directory
        references = [directory.target_reference_predictions] if self._has[1] else []
        return dict.fromkeys([directory.target_predictions, *references], key)

    @property
    def findings(self) -> list[Finding]:
        """Whether the target belongs to the models, once it was queried; what was made here needs no checks."""
        directory = self.directory
        there = all(directory.is_current(path, key) for path, key in self.target_files.items())
        if not self.has_target or not there or not directory.predictions(0).exists():
            return []
        target = np.asarray(self.directory.load_array(self.directory.target_predictions))
        return check_target(self.answers(DEFAULT_MEMORY, main_adversary(self.config).view), target)

    @property
    def attack_files(self) -> list[Path]:
        """The membership and all predictions, with their sidecars."""
        files = [*self._drawn, *self.maker.artefacts("query", "query_pretrained"), *self.target_files]
        return [*files, *map(sidecar, files)]

    def moved(self, place: Callable[[Path], Path]) -> Self:
        """The same run where another machine has its files."""
        elsewhere = replace(self, directory=self.directory.moved(place))
        vars(elsewhere).update(self.sent)
        return elsewhere

    def opened_answers(self, memory: int) -> AttackInput:
        """The answers of all models, as memory maps."""
        config, directory = self.config, self.directory

        def predictions(path_of: Callable[[int], Path]) -> Predictions:
            return Predictions([directory.load_array(path_of(model)) for model in range(config.models)], memory)

        def labels(path: Path) -> NDArray[np.int64] | None:
            return np.asarray(directory.load_array(path)) if self._has[0] else None

        is_queried = bool(self.maker.artefacts("query_pretrained"))
        return AttackInput(
            predictions(directory.predictions),
            np.asarray(directory.load_array(directory.membership)),
            predictions(directory.pretrained_predictions) if is_queried else None,
            config.seed,
            reference=Reference(
                predictions(directory.reference_predictions),
                np.asarray(directory.load_array(directory.reference_membership)),
                labels(directory.reference_labels),
            )
            if self._has[1]
            else None,
            pretraining_labels=labels(directory.pretraining_labels),
            inputs=self.task.challenges.raw if config.given or self.answers_type == TOKEN else None,
        )

    def opened_with_target(self, memory: int) -> AttackInput:
        """The same with the target of the configuration before all models."""
        directory, reference = self.directory, None
        if self._has[1]:
            reference = np.asarray(directory.load_array(directory.target_reference_predictions))
        target = np.asarray(directory.load_array(directory.target_predictions))
        return self.opened_answers(memory).with_target(target, reference)


def _as_variant(config: Config) -> Config:
    """Only the main view and all shadows, and no attack whose answers no finetuning changes."""
    names = [name for name in config.attack.names if not attack_named(name).direct_access]
    attack = config.attack.model_copy(
        update={
            "names": names or config.attack.names,
            "views": config.attack.views[:1],
            "shadows": [],
            "together": [],
        }
    )
    return config.model_copy(update={"attack": attack})
