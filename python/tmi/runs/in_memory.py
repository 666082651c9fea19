"""An audit from Python: arrays in, figures with intervals, figures to look at and a report out."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tmi.attacks.checks import Finding, check_input, require_sound
from tmi.attacks.registry import Option, attack_named, default_attacks, lacking
from tmi.attacks.scoring import score
from tmi.config import AttackedConfig, attacked_config
from tmi.errors import TmiError
from tmi.metrics.estimate import Estimate
from tmi.metrics.points import PointVulnerability
from tmi.predictions.attack_input import AttackInput
from tmi.predictions.intake import Meaning, as_ids, as_model, taken_in
from tmi.predictions.views import View
from tmi.report.results import Results
from tmi.report.tables import Attack, Figures, Provenance
from tmi.runs.adversaries import Adversary, attack_of, attacks_by, by_together, main_adversary, with_attacks
from tmi.runs.evaluate import vulnerability
from tmi.runs.point_table import PointTable, point_table
from tmi.runs.saved import described, had, require_shown
from tmi.runs.stages import evaluate
from tmi.runs.subject import Description, Subject
from tmi.system.executor import InProcess
from tmi.system.machine import available_cores
from tmi.system.progress import Progress, shown
from tmi.system.versions import provenance

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class InMemory(Subject):
    """Arrays in memory, each attack run when its scores are first wanted.

    Attributes:
        config: the attacks and their evaluation.
        answers: of all models, in all their finetunings.
        targets: float32 or float16 ``[points, augmentations, classes]`` of a target of unknown membership, in the first
            finetuning or in all; empty without such a target.
        read_as: what had to be understood.
        ids: what the owner of the data calls each point; empty where that is its number.
    """

    config: AttackedConfig
    answers: AttackInput
    targets: tuple[NDArray[Any], ...]
    read_as: tuple[str, ...]
    ids: Sequence[str] = ()
    _scored: dict[tuple[str, Adversary], tuple[NDArray[np.float64], float]] = field(
        init=False, default_factory=dict, repr=False
    )

    @property
    def has_target(self) -> bool:
        """Whether there is a target of unknown membership beside the models."""
        return len(self.targets) > 0

    @property
    def target_finetunings(self) -> int:
        """In how many of the finetunings, the first ones, the target of unknown membership was asked."""
        return len(self.targets)

    @property
    def membership(self) -> NDArray[np.bool_]:
        """Bool ``[models, points]``."""
        return self.answers.membership

    @cached_property
    def findings(self) -> list[Finding]:
        """What checks of the arrays say."""
        return check_input(self.answers.seen_through(main_adversary(self.config).view), *self.targets)

    @cached_property
    def _seen(self) -> dict[int, AttackInput]:
        """The answers in the first so many finetunings: the same objects for all attacks."""
        view, numbers = main_adversary(self.config).view, range(1, 2 + len(self.answers.companions))
        return {number: self.answers.together(number).seen_through(view) for number in numbers}

    def _score(self, attack: str, adversary: Adversary) -> tuple[NDArray[np.float64], float]:
        if (attack, adversary) not in self._scored:
            started = time.monotonic()
            seen = self._seen[adversary.together]
            found = score(attack_of(self.config, attack), seen, range(self.config.targets))
            self._scored[attack, adversary] = found, time.monotonic() - started
        return self._scored[attack, adversary]

    def scores(self, attack: str, adversary: Adversary) -> NDArray[np.float64]:
        """Scores ``[targets, points]`` of an attack; adversaries differ in how many finetunings they see."""
        return self._score(attack, adversary)[0]

    def seconds(self, attack: str) -> float:
        """How long the main adversary's attack took."""
        return self._score(attack, main_adversary(self.config))[1]

    @cached_property
    def _of_target(self) -> dict[str, NDArray[np.float64]]:
        first, *others = self.targets
        whole = self.answers.with_target(first, companions=others).seen_through(main_adversary(self.config).view)
        seen = {number: whole.together(number) for number in (1, self.target_finetunings)}
        return {
            name: score(attack_of(self.config, name), seen[self.target_adversary(name).together], range(1))[0]
            for name in self.target_attacks
        }

    def target_scores(self, attack: str) -> NDArray[np.float64]:
        """Scores ``[points]`` of the target of unknown membership."""
        return self._of_target[attack]

    def describe(self, provenance: Provenance, seconds: dict[str, float]) -> Description:
        """What the results say besides figures."""
        return described(
            self.answers,
            self.config.targets,
            provenance,
            seconds,
            read_as=self.read_as,
            ids=self.ids,
        )

    def hashes(self) -> dict[str, str]:
        """SHA-256 of the bytes of the arrays, some points of the predictions at a time."""
        arrays = {"membership": self.membership, "pretraining labels": self.answers.pretraining_labels}
        hashes = {
            name: sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
            for name, array in arrays.items()
            if array is not None
        }
        for number, each in enumerate((self.answers, *self.answers.companions), 1):
            of, digest = "" if number == 1 else f" of finetuning {number}", sha256()
            for points in each.predictions.spans():
                digest.update(np.ascontiguousarray(each.predictions.records(points)).tobytes())
            hashes[f"predictions{of}"] = digest.hexdigest()
            for target in self.targets[number - 1 : number]:
                hashes[f"target{of}"] = sha256(np.ascontiguousarray(target).tobytes()).hexdigest()
        return hashes


@dataclass(frozen=True, repr=False)
class Audit:
    """What an audit found; shows itself as a table with a verdict in a notebook.

    Attributes:
        found: every figure.
        scores: float64 ``[targets, points]`` by attack, each model in turn the target, higher = member.
        target_scores: float64 ``[points]`` by attack, of the target of unknown membership; empty without one.
        together: the scores of adversaries who see the first so many finetunings, by their number from 2 on, of the
            attacks that look at several.
        membership: bool ``[models, points]``.
        config: how the figures were made.
        ids: what the owner of the data calls each point; empty where that is its number.
        labels: of each point: that of pretraining if it is known, else its class; empty where neither is.
    """

    found: Results
    scores: dict[str, NDArray[np.float64]]
    target_scores: dict[str, NDArray[np.float64]]
    together: dict[int, dict[str, NDArray[np.float64]]]
    membership: NDArray[np.bool_]
    config: AttackedConfig
    ids: Sequence[str] = ()
    labels: Sequence[str] = ()

    @property
    def results(self) -> dict[str, Any]:
        """The content of ``results.json``."""
        return self.found.to_dict()

    @property
    def attack(self) -> str:
        """The attack that the verdict speaks of."""
        return self.found.headline

    def auc(self, attack: str | None = None, together: int = 1) -> Estimate:
        """The AUC of an attack, of the one that the verdict speaks of if left out, with its interval.

        Args:
            attack: by name.
            together: on so many finetunings, the first ones.
        """
        return self._of(attack, together).auc

    def tpr(self, false_positive_rate: float, attack: str | None = None, together: int = 1) -> Estimate:
        """The true positive rate at one of the false positive rates that the audit was asked for.

        Raises:
            TmiError: it was not asked for this one.
        """
        rates = self._of(attack, together).tpr_at_fpr
        if (key := f"{false_positive_rate:g}") not in rates:
            raise TmiError(f"there is no true positive rate at {key}, expected one of {', '.join(rates)}")
        return rates[key]

    def points(self, attack: str | None = None) -> PointVulnerability:
        """How well an attack does at every single point, by default the one that the verdict speaks of."""
        self._of(attack)
        name = attack or self.attack
        return vulnerability(name, self.scores[name], self.membership, self.config.evaluation.confidence)

    @cached_property
    def table(self) -> PointTable:
        """Every point with its figures, as ``points.csv`` has them; see `tmi.runs.point_table.point_table`."""
        shadows = self.scores
        if self.found.target is not None:
            shadows = shadows | self.together.get(self.found.target.finetunings, {})
        numbers = np.arange(self.membership.shape[1])
        return point_table(
            self.found, self.scores, self.membership, numbers, self.ids, self.labels, self.target_scores, shadows
        )

    def to_frame(self) -> Any:
        """Every point with its figures as a ``pandas.DataFrame``, a row per point.

        Raises:
            TmiError: pandas is not installed; ``table.columns`` has the same as arrays.
        """
        return self.table.to_frame()

    @property
    def p_values(self) -> NDArray[np.float64]:
        """Of every point being a non-member of the target of unknown membership, float64 ``[points]``.

        Raises:
            TmiError: the audit has no such target.
        """
        if self.found.target is None:
            raise TmiError("the audit has no target of unknown membership, expected one: audit(..., target=...)")
        return self.table.columns["target_p_value"]

    @property
    def verdict(self) -> str:
        """What was found, in plain sentences."""
        from tmi.report.sections.summary import verdict

        return verdict(self.found)

    def roc_figure(self) -> Figure:
        """The ROC curves of all attacks with simultaneous bands."""
        from tmi.report.figures.roc import roc_figure

        return roc_figure(self.found)

    def save(self, folder: Path | str) -> Path:
        """Write ``results.json``, the points, the scores, the report and its figures; returns the report's path.

        Raises:
            TmiError: the folder is a file.
        """
        from tmi.report.blocks import Material
        from tmi.report.document import write_report
        from tmi.runs.directory import RunDirectory

        directory = RunDirectory(Path(folder))
        directory.prepare()
        self.found.save(directory.results)
        self.table.save(directory)
        folders = {"": self.scores} | {
            Adversary(together=number).folder: each for number, each in self.together.items()
        }
        for folder, scores in folders.items():
            for name, attack_scores in scores.items():
                directory.save_array(directory.scores(name, folder), attack_scores, key="audit")
        directory.save_array(directory.membership, self.membership, key="audit")
        write_report(directory.root, Material(self.found, config_toml=self.config.to_toml()))
        return directory.report

    def __str__(self) -> str:
        return self.verdict

    def __repr__(self) -> str:
        auc, (targets, points) = self.auc(), self.scores[self.attack].shape
        figure = f"{self.attack} has AUC {auc.estimate:.3f} [{auc.low:.3f}, {auc.high:.3f}]"
        return f"<Audit {self.found.name!r}: {figure}; {len(self.scores)} attacks, {targets} targets, {points} points>"

    def _repr_html_(self) -> str:
        from tmi.report.notebook import notebook_html

        return notebook_html(self.found)

    def _of(self, attack: str | None, together: int = 1) -> Attack | Figures:
        name = attack or self.attack
        if name not in self.scores:
            raise TmiError(f"the audit has no attack {name!r}, expected one of {', '.join(self.scores)}")
        if together == 1:
            return self.found.attacks[name]
        if name not in self.together.get(together, {}) or self.found.together is None:
            raise TmiError(f"the audit has no attack {name!r} on {together} finetunings together")
        return self.found.together.figures[str(together)][name]


def audit(
    predictions: ArrayLike | Sequence[ArrayLike],
    membership: ArrayLike,
    target: ArrayLike | None = None,
    *,
    attacks: Sequence[str] | None = None,
    labels: ArrayLike | None = None,
    pretraining_labels: ArrayLike | None = None,
    ids: ArrayLike | None = None,
    pretrained: ArrayLike | None = None,
    companions: Sequence[ArrayLike | Sequence[ArrayLike]] = (),
    target_companions: Sequence[ArrayLike] = (),
    texts: ArrayLike | None = None,
    meaning: Meaning = "logits",
    view: str | None = None,
    targets: int | None = None,
    false_positive_rates: Sequence[float] = (0.001, 0.01, 0.05, 0.1),
    fpr: float = 0.01,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    threads: int = 1,
    progress: Progress | bool | None = None,
    name: str = "audit",
    options: Mapping[str, Mapping[str, Option]] | None = None,
    force: bool = False,
) -> Audit:
    """Run every attack that the arrays allow, each model in turn the target and all others its shadows.

    The figures are those of ``tmi attack --predictions`` on the same arrays.

    Args:
        predictions: raw logits, float32 or float16 ``[models, points, augmentations, classes]`` or
            ``[models, points, classes]``; a list of one array per model, memory maps or not, is as good. Of models that
            write, of type `tmi.predictions.tokens.TOKEN` with tokens in place of classes.
        membership: bool ``[models, points]``, was the point in the model's pretraining set.
        target: answers ``[points, augmentations, classes]`` or ``[points, classes]`` of one more model, whose
            membership nobody knows.
        attacks: by name; all that are usual and possible if left out.
        labels: int ``[points]``, the class of each point among those of the predictions.
        pretraining_labels: int ``[points]``, the class that each point had in pretraining, any integers.
        ids: what you call each point, integers or strings ``[points]``; its number if left out.
        pretrained: the pretrained models' own answers in as many classes as they have, for ``direct``.
        companions: predictions of the same models finetuned in other ways, about the same points: also attack as
            adversaries who see the first two finetunings together, the first three and so on.
        target_companions: answers of ``target`` as it was finetuned in these ways; all of them or none.
        texts: of models that write, strings ``[points]``, for attacks that look at them.
        meaning: what the numbers of predictions are: ``tokens`` if they are log-probabilities of the tokens of texts,
            NaN behind the end of each.
        view: what the adversary sees of the answers, for instance ``top-3``; all of them if left out.
        targets: let only so many of the first models play the target.
        false_positive_rates: where true positive rates are reported, in (0, 1).
        fpr: at which points of ``target`` are called members.
        resamples: bootstrap resamples behind every interval.
        confidence: of every interval.
        seed: of everything that is drawn.
        threads: for kernels, 0 for one per core that is granted; never changes a figure.
        progress: shows how far the work is; True for bars, or lines in a log file, on the error stream.
        name: of the audit, in its report.
        options: of attacks by their names, for instance ``{"rmia": {"gamma": 2}}``; ``tmi attacks`` lists them.
        force: go on although a check of the arrays finds that figures will be wrong; the report says so.

    Raises:
        TmiError: arrays of the wrong shape or type, or that a check finds to be wrong; an unknown attack, or one that
            needs what is not there.
    """
    notes: list[str] = []
    threads, seen_by = threads or available_cores(), shown(progress)
    answers = taken_in(
        predictions,
        membership,
        labels,
        pretrained,
        pretraining_labels=pretraining_labels,
        seed=seed,
        threads=threads,
        note=notes.append,
        companions=companions,
        texts=texts,
        meaning=meaning,
    )
    main_view = answers.predictions.view if view is None else View.parse(view)
    if target_companions and (target is None or len(target_companions) != len(companions)):
        raise TmiError(
            f"target_companions holds {len(target_companions)} arrays, expected the target's answers in each of the "
            f"{len(companions)} other finetunings, or none"
        )
    asked = [] if target is None else [target, *target_companions]
    unknown = tuple(as_model(each, "target", notes.append, meaning) for each in asked)
    seen = answers.seen_through(main_view)
    with_target = answers.with_target(unknown[0]) if unknown else None
    has = had(seen, with_target)
    for each in filter(None, (seen, with_target)):
        require_shown(main_view, each)
    for attack in attacks or ():
        if needs := lacking(attack_named(attack), has):
            raise TmiError(f"the attack {attack!r} needs {needs.value}")
    document = {
        "name": name,
        "seed": seed,
        "models": answers.predictions.shape[0],
        "attack": {
            "names": list(attacks or default_attacks(has)),
            "views": [main_view.name],
            "together": [f"finetuning {number}" for number in range(2, 2 + len(companions))],
            "options": {attack: dict(values) for attack, values in (options or {}).items()},
        },
        "evaluation": {
            "targets": targets or "all",
            "false_positive_rates": list(false_positive_rates),
            "accusation_rate": fpr,
            "resamples": resamples,
            "confidence": confidence,
        },
    }
    config = attacked_config(document, "audit")
    with_attacks(config)
    named = () if ids is None else as_ids(ids, answers.membership.shape[1])
    subject = InMemory(config, answers, unknown, tuple(dict.fromkeys(notes)), named)
    require_sound(subject.findings, force=force)
    main, names = main_adversary(config), config.attack.names

    def scored(attack: str, adversary: Adversary) -> NDArray[np.float64]:
        seen_by.begin(f"attack {attack}{', ' if adversary.label else ''}{adversary.label}", 1)
        found = subject.scores(attack, adversary)
        seen_by.advance(1)
        seen_by.end()
        return found

    scores = {attack: scored(attack, main) for attack in names}
    together = {
        number: {attack: scored(attack, adversary) for attack in attacks_by(config, adversary)}
        for number, adversary in by_together(config).items()
        if number > 1
    }
    seconds = sum(subject.seconds(attack) for attack in names)
    description = subject.describe(Provenance(**provenance(subject.hashes(), {})), {"score": seconds})
    here = InProcess(seen_by)
    here.threads = threads
    results = evaluate.run_stage(subject, here, description)
    target_scores = {attack: subject.target_scores(attack) for attack in subject.target_attacks}
    return Audit(
        results, scores, target_scores, together, answers.membership, config, description.ids, description.labels
    )
