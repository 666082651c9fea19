"""Every figure about attacks whose scores are known: the same for a run, for saved predictions and from Python."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tmi import __version__
from tmi.attacks.checks import Finding
from tmi.attacks.registry import attack_named, options_of
from tmi.attacks.scoring import COMPARING
from tmi.config import AttackedConfig
from tmi.metrics.bootstrap import USUAL, Bootstrap, Resamples
from tmi.metrics.differences import compare_to
from tmi.metrics.epsilon import epsilon_lower_bound
from tmi.metrics.points import PointVulnerability, point_vulnerability
from tmi.metrics.roc import judge, resolution, score_histogram
from tmi.metrics.unknown_target import target_results
from tmi.predictions.attack_input import neutral
from tmi.predictions.designs import describe_design
from tmi.report.results import Results
from tmi.report.tables import (
    Attack,
    Comparisons,
    Design,
    Evaluation,
    Exposed,
    ExposedPoint,
    Histogram,
    InputNote,
    Points,
    Resolution,
    Target,
)
from tmi.report.wording import GIVEN_MODEL_ATTACK
from tmi.runs.adversaries import attack_of, main_adversary
from tmi.runs.subject import Description

MOST_POINTS = 120
EXPOSURE_FDR = 0.05
DEFAULT_ATTACK = "tmi"

Scores = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Settings:
    """How figures are made from scores.

    Attributes:
        false_positive_rates: where true positive rates are reported, in (0, 1).
        bootstrap: behind every interval.
        delta: of the lower bound on the pretraining's epsilon.
    """

    false_positive_rates: Sequence[float] = (0.001, 0.01, 0.05, 0.1)
    bootstrap: Bootstrap = USUAL
    delta: float = 1e-5

    @classmethod
    def of(cls, config: AttackedConfig, threads: int = 1) -> Settings:
        """Those of a configuration."""
        evaluation = config.evaluation
        return cls(
            evaluation.false_positive_rates,
            Bootstrap(evaluation.resamples, evaluation.confidence, config.seed, threads),
            evaluation.delta,
        )


def results_of(
    config: AttackedConfig,
    description: Description,
    membership: NDArray[np.bool_],
    scores: Scores,
    target_scores: Scores,
    compared_scores: Scores,
    seconds: Mapping[str, float],
    threads: int = 1,
    advance: Callable[[int], None] = lambda steps: None,
) -> Results:
    """Everything that is said about the main adversary, without other adversaries and other finetunings.

    Args:
        config: how the attacks are judged.
        description: what the results say besides figures.
        membership: bool ``[models, points]``.
        scores: float64 ``[targets, points]`` by attack; the targets are the first models.
        target_scores: float64 ``[points]`` by attack, of a target of unknown membership; empty without one.
        compared_scores: float64 ``[targets, points]`` by attack, with which those are compared.
        seconds: that each attack took.
        threads: for kernels; never changes a figure.
        advance: told of each attack that is judged.

    Raises:
        TmiError: all labels are equal.
    """
    settings = Settings.of(config, threads)
    bootstrap, labels = settings.bootstrap, membership[: config.targets]
    attacks, drawn = {}, dict[str, Resamples]()
    for name, attack_scores in scores.items():
        given = description.models.given is not None
        taken = seconds.get(name, 0.0)
        found = judged(name, attack_scores, membership, settings, taken, given=given, drawn=drawn)
        attack = attack_of(config, name)
        looks_at = description.looks_at if attack.labelled else None
        attacks[name] = found.model_copy(update={"options": options_of(attack), "looks_at": looks_at})
        advance(1)
    name = headline(list(scores))
    vulnerable = vulnerability(name, scores[name], membership, bootstrap.confidence)
    target = None
    if target_scores:
        rate = config.evaluation.accusation_rate
        about = target_results(
            target_scores,
            compared_scores,
            labels,
            sorted({*settings.false_positive_rates, rate}),
            headline=headline(list(target_scores)),
            name=description.target,
            fpr=rate,
            points=description.points,
            labels=list(description.labels),
            bootstrap=bootstrap,
        )
        for suspect in about["most_suspected"] if len(description.ids) else []:
            suspect["id"] = str(description.ids[suspect["index"]])
        target = Target(**about)
        advance(len(target_scores))
    counts = {
        "challenge_points": labels.shape[1],
        "members": int(labels.sum()),
        "non_members": int((~labels).sum()),
    }
    return Results(
        kind=description.kind,
        name=config.name,
        description=config.description,
        seed=config.seed,
        version=__version__,
        view=main_adversary(config).view.name,
        headline=name,
        attacks=attacks,
        models=description.models,
        design=Design(**describe_design(membership)),
        stages=description.seconds,
        data=description.data.model_copy(update=counts),
        evaluation=Evaluation(confidence=bootstrap.confidence, resamples=bootstrap.resamples),
        resolution={
            rate: Resolution(**found) for rate, found in resolution(settings.false_positive_rates, labels).items()
        },
        provenance=description.provenance,
        points=exposed_points(name, vulnerable, description.points, description.labels, description.ids),
        comparisons=compared(scores, labels, settings, drawn),
        target=target,
    )


def headline(names: Sequence[str]) -> str:
    """The attack that the verdict speaks of, chosen without looking at the outcome.

    It is the default one, or the first without direct access; for a given model, the one to be compared with the
    points alone.
    """
    if GIVEN_MODEL_ATTACK in names:
        return GIVEN_MODEL_ATTACK
    candidates = [name for name in names if not attack_named(name).direct_access] or list(names)
    return DEFAULT_ATTACK if DEFAULT_ATTACK in candidates else candidates[0]


def judged(
    name: str,
    scores: NDArray[np.float64],
    membership: NDArray[np.bool_],
    settings: Settings,
    seconds: float = 0.0,
    *,
    given: bool = False,
    drawn: dict[str, Resamples] | None = None,
) -> Attack:
    """An attack and how well it does.

    Args:
        name: of the attack.
        scores: float64 ``[targets, points]``; the targets are the first models.
        membership: bool ``[models, points]``.
        settings: how figures are made.
        seconds: that the attack took.
        given: whether the models are finetunings of one given model, whose members were not drawn.
        drawn: where the resamples are put, for `compared`.

    Raises:
        TmiError: all labels are equal.
    """
    attack = attack_named(name)
    labels = membership[: len(scores)]
    judgement = judge(scores, labels, settings.false_positive_rates, settings.bootstrap)
    if drawn is not None:
        drawn[name] = judgement.drawn
    compares_shadows = attack.needs in COMPARING
    # Known members were not drawn: what tells them from others may be no doing of the model.
    bound = None
    if not given:
        bound = epsilon_lower_bound(
            scores,
            labels,
            delta=settings.delta,
            confidence=settings.bootstrap.confidence,
            seed=settings.bootstrap.seed,
            shared_shadows=shared_shadows(name, len(scores), len(membership)),
        )
    return Attack(
        summary=attack.summary,
        source=attack.source,
        needs=attack.needs.value,
        direct_access=attack.direct_access,
        auc=judgement.auc,
        balanced_accuracy=judgement.balanced_accuracy,
        tpr_at_fpr=judgement.tpr_at_fpr,
        roc=judgement.roc,
        epsilon=bound,
        histogram=Histogram(**score_histogram(scores, labels)),
        seconds=seconds,
        neutral=int(neutral(membership, range(len(scores))).sum()) if compares_shadows else 0,
    )


def compared(
    scores: Scores, labels: NDArray[np.bool_], settings: Settings, drawn: Mapping[str, Resamples] | None = None
) -> Comparisons:
    """The headline attack minus every other, paired.

    Args:
        scores: float64 ``[targets, points]`` by attack.
        labels: bool ``[targets, points]``.
        settings: how figures are made.
        drawn: the resamples that the attacks were judged by, if they were.
    """
    base = headline(list(scores))
    found = compare_to(base, scores, labels, settings.false_positive_rates, settings.bootstrap, drawn)
    return Comparisons(against=base, **found)


def vulnerability(
    name: str, scores: NDArray[np.float64], membership: NDArray[np.bool_], confidence: float
) -> PointVulnerability:
    """How well an attack does at every single point.

    Args:
        name: of the attack.
        scores: float64 ``[targets, points]``; the targets are the first models.
        membership: bool ``[models, points]``.
        confidence: of the interval of each point's AUC.
    """
    targets = len(scores)
    shared = shared_shadows(name, targets, len(membership))
    return point_vulnerability(scores, membership[:targets], confidence, shared_shadows=shared)


def shared_shadows(attack: str, targets: int, models: int) -> float:
    """Which share of a target's shadows are targets as well; 0 for an attack that compares with none."""
    if attack_named(attack).needs not in COMPARING or models < 2:
        return 0.0
    return (targets - 1) / (models - 1)


def notes_of(findings: Iterable[Finding]) -> list[InputNote]:
    """What checks of the input found, as the report has it; nothing about what is well."""
    return [
        InputNote(level="refused" if each.severity == "error" else "warning", text=f"{each.subject}: {each.message}")
        for each in findings
        if each.severity != "ok"
    ]


def exposed_points(
    name: str,
    found: PointVulnerability,
    points: NDArray[np.int64],
    point_labels: Sequence[str],
    ids: Sequence[str] = (),
) -> Points:
    """Where an attack does best, and how many points are exposed beyond chance.

    Args:
        name: of the attack.
        found: how well it does at every point.
        points: int64 ``[points]``, what each is called.
        point_labels: of each point.
        ids: what the owner of the data calls each; empty where that is its number.
    """
    ranking = np.argsort(-np.nan_to_num(found.auc, nan=-1.0), kind="stable")[:MOST_POINTS]
    tested = np.isfinite(found.q_value)
    return Points(
        attack=name,
        most_exposed=[
            ExposedPoint(
                point=int(points[index]),
                id=str(ids[index]) if len(ids) else "",
                label=point_labels[index],
                auc=float(found.auc[index]),
                low=_finite(found.low[index]),
                high=_finite(found.high[index]),
                p_value=_finite(found.p_value[index]),
                q_value=_finite(found.q_value[index]),
                # Scores may be infinite, of which JSON knows nothing.
                mean_in=float(np.nan_to_num(found.mean_in[index])),
                mean_out=float(np.nan_to_num(found.mean_out[index])),
                targets_in=int(found.targets_in[index]),
                targets_out=int(found.targets_out[index]),
            )
            for index in ranking
            if np.isfinite(found.auc[index])
        ],
        exposed=Exposed(
            fdr=EXPOSURE_FDR, count=int((found.q_value[tested] <= EXPOSURE_FDR).sum()), tested=int(tested.sum())
        ),
    )


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
