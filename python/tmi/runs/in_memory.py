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

from tmi.attacks.registry import Option
from tmi.attacks.scoring import score
from tmi.config import AttackConfig, AttackedConfig, EvaluationConfig
from tmi.errors import TmiError
from tmi.metrics.points import PointVulnerability
from tmi.metrics.roc import Estimate
from tmi.predictions.arrays import Predictions
from tmi.predictions.attack_input import AttackInput
from tmi.report.results import Attack, Provenance, Results
from tmi.runs.adversaries import attack_of, main_adversary, require_known
from tmi.runs.evaluate import results_of, vulnerability
from tmi.runs.saved import described, possible_attacks
from tmi.system.versions import provenance

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Audit:
    """What an audit found; shows itself as a table with a verdict in a notebook.

    Attributes:
        found: every figure.
        scores: float64 ``[targets, points]`` by attack, each model in turn the target, higher = member.
        target_scores: float64 ``[points]`` by attack, of the target of unknown membership; empty without one.
        membership: bool ``[models, points]``.
        config: how the figures were made.
    """

    found: Results
    scores: dict[str, NDArray[np.float64]]
    target_scores: dict[str, NDArray[np.float64]]
    membership: NDArray[np.bool_]
    config: AttackedConfig = field(repr=False)

    @property
    def results(self) -> dict[str, Any]:
        """The content of ``results.json``."""
        return self.found.to_dict()

    @property
    def attack(self) -> str:
        """The attack that the verdict speaks of."""
        return self.found.headline

    def auc(self, attack: str | None = None) -> Estimate:
        """The AUC of an attack, of the one that the verdict speaks of if left out, with its interval."""
        return self._of(attack).auc

    def tpr(self, false_positive_rate: float, attack: str | None = None) -> Estimate:
        """The true positive rate at one of the false positive rates that the audit was asked for.

        Raises:
            TmiError: it was not asked for this one.
        """
        rates = self._of(attack).tpr_at_fpr
        if (key := f"{false_positive_rate:g}") not in rates:
            raise TmiError(f"there is no true positive rate at {key}, expected one of {', '.join(rates)}")
        return rates[key]

    def points(self, attack: str | None = None) -> PointVulnerability:
        """How well an attack does at every single point, by default the one that the verdict speaks of."""
        self._of(attack)
        name = attack or self.attack
        return vulnerability(name, self.scores[name], self.membership, self.config.evaluation.confidence)

    @cached_property
    def p_values(self) -> NDArray[np.float64]:
        """Of every point being a non-member of the target of unknown membership, float64 ``[points]``.

        Raises:
            TmiError: the audit has no such target.
        """
        if self.found.target is None:
            raise TmiError("the audit has no target of unknown membership, expected one: audit(..., target=...)")
        from tmi.metrics.unknown_target import p_values

        name = self.found.target.attack
        return p_values(self.target_scores[name], self.scores[name], self.membership[: self.config.targets])

    @property
    def verdict(self) -> str:
        """What was found, in plain sentences."""
        from tmi.report.table import verdict

        return verdict(self.found)

    def roc_figure(self) -> Figure:
        """The ROC curves of all attacks with simultaneous bands."""
        from tmi.report.figures import roc_figure

        return roc_figure(self.found)

    def save(self, folder: Path | str) -> Path:
        """Write ``results.json``, ``points.csv``, the scores, the report and its figures; returns the report's path.

        Raises:
            TmiError: the folder is a file.
        """
        from tmi.report.document import write_report
        from tmi.runs.directory import RunDirectory
        from tmi.system.files import write_text

        directory = RunDirectory(Path(folder))
        directory.prepare()
        self.found.save(directory.results)
        points = np.arange(self.membership.shape[1])
        write_text(directory.points, self.points().to_csv(points, [""] * len(points)))
        for name, attack_scores in self.scores.items():
            directory.save_array(directory.scores(name), attack_scores, key="audit")
        directory.save_array(directory.membership, self.membership, key="audit")
        write_report(directory.root, self.found, [], self.config.to_toml())
        return directory.report

    def __str__(self) -> str:
        return self.verdict

    def _repr_html_(self) -> str:
        from tmi.report.notebook import notebook_html

        return notebook_html(self.found)

    def _of(self, attack: str | None) -> Attack:
        name = attack or self.attack
        if name not in self.scores:
            raise TmiError(f"the audit has no attack {name!r}, expected one of {', '.join(self.scores)}")
        return self.found.attacks[name]


def audit(
    predictions: ArrayLike | Sequence[ArrayLike],
    membership: ArrayLike,
    target: ArrayLike | None = None,
    *,
    attacks: Sequence[str] | None = None,
    labels: ArrayLike | None = None,
    pretrained: ArrayLike | None = None,
    view: str = "logits",
    targets: int | None = None,
    false_positive_rates: Sequence[float] = (0.001, 0.01, 0.05, 0.1),
    fpr: float = 0.01,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    threads: int = 1,
    name: str = "audit",
    options: Mapping[str, Mapping[str, Option]] | None = None,
) -> Audit:
    """Run every attack that the arrays allow, each model in turn the target and all others its shadows.

    The figures are those of ``tmi attack --predictions`` on the same arrays.

    Args:
        predictions: raw logits, float32 or float16 ``[models, points, augmentations, classes]`` or
            ``[models, points, classes]``; a list of one array per model, memory maps or not, is as good.
        membership: bool ``[models, points]``, was the point in the model's pretraining set.
        target: answers ``[points, augmentations, classes]`` or ``[points, classes]`` of one more model, whose
            membership nobody knows.
        attacks: by name; all that are usual and possible if left out.
        labels: int ``[points]``, the class of each point among those of the predictions.
        pretrained: the pretrained models' own answers in as many classes as they have, for ``direct``.
        view: what the adversary sees of the answers, for instance ``top-3``.
        targets: let only so many of the first models play the target.
        false_positive_rates: where true positive rates are reported, in (0, 1).
        fpr: at which points of ``target`` are called members.
        resamples: bootstrap resamples behind every interval.
        confidence: of every interval.
        seed: of everything that is drawn.
        threads: for kernels; never changes a figure.
        name: of the audit, in its report.
        options: of attacks by their names, for instance ``{"rmia": {"gamma": 2}}``; ``tmi attacks`` lists them.

    Raises:
        TmiError: arrays of the wrong shape or type, an unknown attack, or one that needs what is not there.
    """
    answers = AttackInput(
        Predictions(_models(predictions, "predictions")),
        _membership(membership),
        None if pretrained is None else Predictions(_models(pretrained, "pretrained")),
        seed,
        threads,
        labels=None if labels is None else np.asarray(labels, dtype=np.int64),
    )
    config = AttackedConfig(
        name=name,
        seed=seed,
        models=answers.predictions.shape[0],
        attack=AttackConfig(
            names=list(
                attacks or possible_attacks(has_labels=labels is not None, has_pretrained=pretrained is not None)
            ),
            views=[view],
            options={attack: dict(values) for attack, values in (options or {}).items()},
        ),
        evaluation=EvaluationConfig(
            targets=targets or "all",
            false_positive_rates=list(false_positive_rates),
            accusation_rate=fpr,
            resamples=resamples,
            confidence=confidence,
        ),
    )
    require_known(config)
    seen = answers.seen_through(main_adversary(config).view)
    configured = {attack: attack_of(config, attack) for attack in config.attack.names}
    scores, seconds = {}, {}
    for attack, each in configured.items():
        started = time.monotonic()
        scores[attack] = score(each, seen, range(config.targets))
        seconds[attack] = time.monotonic() - started
    target_scores = {}
    if target is not None:
        (unknown,) = _models(np.asarray(target)[None], "target")
        with_target = answers.with_target(unknown).seen_through(main_adversary(config).view)
        target_scores = {
            attack: score(each, with_target, range(1))[0] for attack, each in configured.items() if not each.upper_bound
        }
    made_with = Provenance(**provenance(_hashes(answers, target), {}))
    took = {"score": sum(seconds.values())}
    is_labelled = answers.labels is not None
    description = described(answers.predictions.shape, config.targets, made_with, took, labelled=is_labelled)
    results = results_of(config, description, answers.membership, scores, target_scores, seconds, threads)
    return Audit(results, scores, target_scores, answers.membership, config)


def _hashes(answers: AttackInput, target: ArrayLike | None) -> dict[str, str]:
    """SHA-256 of the bytes of the arrays, some points of the predictions at a time."""
    digest = sha256()
    for _, block in answers.predictions.blocks():
        digest.update(np.ascontiguousarray(block).tobytes())
    hashes = {
        "predictions": digest.hexdigest(),
        "membership": sha256(np.ascontiguousarray(answers.membership).tobytes()).hexdigest(),
    }
    if target is not None:
        hashes["target"] = sha256(np.ascontiguousarray(target).tobytes()).hexdigest()
    return hashes


def _models(arrays: Any, name: str) -> list[NDArray[Any]]:
    """One array ``[points, augmentations, classes]`` per model."""
    models = [np.asanyarray(model) for model in arrays]
    if not models or any(model.ndim not in (2, 3) for model in models):
        found = models[0].shape if models else ()
        raise TmiError(f"{name} of a model have shape {found}, expected [points, augmentations, classes]")
    models = [model[:, None] if model.ndim == 2 else model for model in models]
    return [model.astype(np.float32) if model.dtype == np.float64 else model for model in models]


def _membership(membership: ArrayLike) -> NDArray[np.bool_]:
    array = np.asarray(membership)
    if array.dtype != np.bool_ and not np.isin(array, (0, 1)).all():
        raise TmiError(f"membership has type {array.dtype} and other values than 0 and 1, expected bool")
    return array.astype(bool)
