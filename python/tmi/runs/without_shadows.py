"""An audit of one model without any shadow model: what its answers about labelled points say, in seconds."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tmi import __version__
from tmi.attacks.checks import Finding, check_answers, require_sound
from tmi.attacks.without_shadows import ProbedTarget, probe_target
from tmi.config import TargetFiles, WithoutShadowsConfig, with_values, without_shadows_config
from tmi.errors import TmiError
from tmi.metrics.ranks import q_values
from tmi.metrics.set_test import ShuffledSetTest, shuffled_set_test
from tmi.metrics.unknown_target import SUSPECTED_POINTS
from tmi.predictions.arrays import Predictions
from tmi.predictions.formats import read_target
from tmi.predictions.formats.files import read_array, read_ids
from tmi.predictions.formats.reading import LABELS
from tmi.predictions.intake import as_ids, as_model, as_non_members, as_pretraining_labels
from tmi.predictions.tokens import TOKEN
from tmi.report.results import Results
from tmi.report.tables import (
    CallsAlone,
    Comparisons,
    Data,
    Evaluation,
    Exposed,
    Models,
    Points,
    Provenance,
    RankedPoint,
    ReadFile,
    WithoutShadows,
)
from tmi.runs.adversaries import main_adversary
from tmi.runs.directory import RunDirectory
from tmi.runs.evaluate import EXPOSURE_FDR, notes_of
from tmi.runs.point_table import PointTable, table_without_shadows
from tmi.runs.saved import read_file
from tmi.system.versions import provenance

ATTACK = "label-probe"
# Labels are in other proportions among candidates than among non-members if chance would do this more rarely.
SHIFTED = 1e-3


@dataclass(frozen=True, repr=False)
class AuditWithoutShadows:
    """What an audit without shadow models found; shows itself as a table with a verdict in a notebook.

    Attributes:
        found: every figure.
        candidates: int64 ``[candidates]``, the points that may be members, by their places in the answers.
        labels: int64 ``[candidates]``, their pretraining labels.
        scores: float64 ``[candidates]``, higher = member.
        p_values: float64 ``[candidates]``, of being no member; None where no non-members are known.
        config: how the figures were made.
        ids: what the owner of the data calls each candidate; empty where that is its place.
    """

    found: Results
    candidates: NDArray[np.int64]
    labels: NDArray[np.int64]
    scores: NDArray[np.float64]
    p_values: NDArray[np.float64] | None
    config: WithoutShadowsConfig
    ids: Sequence[str] = ()

    @property
    def results(self) -> dict[str, Any]:
        """The content of ``results.json``."""
        return self.found.to_dict()

    @property
    def q_values(self) -> NDArray[np.float64] | None:
        """Of the candidates with at most this value, at most that share is expected to be no member.

        Benjamini and Hochberg 1995; float64 ``[candidates]``, None where no non-members are known.
        """
        return None if self.p_values is None else q_values(self.p_values)

    @property
    def verdict(self) -> str:
        """What was found, in plain sentences."""
        from tmi.report.sections.without_shadows import sentences

        return " ".join(sentences(self.found))

    @cached_property
    def table(self) -> PointTable:
        """Every candidate with its figures, as ``points.csv`` has them; see `tmi.runs.point_table`."""
        return table_without_shadows(
            self.candidates,
            self.ids,
            self.labels,
            self.scores,
            self.p_values,
            self.q_values,
            self.config.evaluation.accusation_rate,
        )

    def to_frame(self) -> Any:
        """Every candidate with its figures as a ``pandas.DataFrame``, a row per candidate.

        Raises:
            TmiError: pandas is not installed; ``table.columns`` has the same as arrays.
        """
        return self.table.to_frame()

    def save(self, folder: Path | str) -> Path:
        """Write ``results.json``, ``points.csv``, the scores and the report; returns the report's path.

        Raises:
            TmiError: the folder is a file.
        """
        from tmi.report.blocks import Material
        from tmi.report.document import write_report

        directory = RunDirectory(Path(folder))
        directory.prepare()
        self.found.save(directory.results)
        self.table.save(directory)
        directory.save_array(directory.target_scores(ATTACK), self.scores[None], key="audit")
        write_report(directory.root, Material(self.found, config_toml=self.config.to_toml()))
        return directory.report

    def __str__(self) -> str:
        return self.verdict

    def __repr__(self) -> str:
        about = self.found.without_shadows
        known = about.non_members if about else 0
        return (
            f"<AuditWithoutShadows {self.found.name!r}: {len(self.candidates)} candidates, {known} known non-members>"
        )

    def _repr_html_(self) -> str:
        from tmi.report.notebook import notebook_html

        return notebook_html(self.found)


def audit_without_shadows(
    target: ArrayLike,
    pretraining_labels: ArrayLike,
    non_members: ArrayLike | None = None,
    *,
    ids: ArrayLike | None = None,
    target_companions: Sequence[ArrayLike] = (),
    view: str = "logits",
    false_positive_rates: Sequence[float] = (0.001, 0.01, 0.05, 0.1),
    fpr: float = 0.01,
    resamples: int = 1000,
    seed: int = 0,
    threads: int = 1,
    name: str = "audit",
    force: bool = False,
) -> AuditWithoutShadows:
    """Attack one model that nobody has shadow models of, by what it answers about points of known pretraining labels.

    The figures are those of ``tmi attack --target`` on the same arrays. With known non-members every other point gets a
    p-value, and all of them together; without, points are ranked and nothing is judged.

    Args:
        target: raw logits, float32 or float16 ``[points, augmentations, classes]`` or ``[points, classes]``.
        pretraining_labels: int ``[points]``, the class that each point had in pretraining, any integers.
        non_members: bool ``[points]``, points that are known not to be in the pretraining data, of the same kind as the
            others, which are the candidates.
        ids: what you call each point, integers or strings ``[points]``; its number if left out.
        target_companions: answers of ``target`` as it was finetuned in other ways, about the same points.
        view: what the adversary sees of the answers, for instance ``top-3``.
        false_positive_rates: at which points are called members, in (0, 1).
        fpr: the one that the verdict speaks of.
        resamples: shuffles behind the test of all candidates together.
        seed: of everything that is drawn.
        threads: for kernels; never changes a figure.
        name: of the target, in the report.
        force: go on although a check of the arrays finds that figures will be wrong; the report says so.

    Raises:
        TmiError: arrays of the wrong shape or type, or that a check finds to be wrong.
    """
    document = {
        "name": name,
        "seed": seed,
        "attack": {"names": [ATTACK], "views": [view]},
        "evaluation": {
            "false_positive_rates": list(false_positive_rates),
            "accusation_rate": fpr,
            "resamples": resamples,
        },
    }
    config = without_shadows_config(document, "audit")
    asked = {"target": target} | {f"target {number}": each for number, each in enumerate(target_companions, 2)}
    named = () if ids is None else as_ids(ids, len(np.asarray(pretraining_labels)))
    return _audited(config, asked, pretraining_labels, non_members, named, threads=threads, force=force)


def audit_of_files(files: dict[str, Any], changes: dict[str, Any]) -> WithoutShadowsConfig:
    """The configuration of an audit of files.

    Args:
        files: those of `TargetFiles` that are there.
        changes: values by dotted key of the configuration that replace the defaults.

    Raises:
        TmiError: a key is unknown or has a wrong value.
    """
    path = Path(files["target"][0])
    name = path.stem if path.stem != "target" else path.parent.name or path.stem
    document = {"name": name, "files": files, "attack": {"names": [ATTACK]}}
    return without_shadows_config(with_values(document, changes), "--target")


def audited_files(config: WithoutShadowsConfig, *, threads: int = 1, force: bool = False) -> AuditWithoutShadows:
    """The audit of the files that a configuration names.

    Raises:
        TmiError: as `audit_without_shadows`; a file is missing, damaged or unsafe.
    """
    files = config.files
    assert files is not None
    labels = read_array(Path(files.pretraining_labels), ["pretraining_labels", *LABELS])
    known = None if files.non_members is None else read_array(Path(files.non_members), ["non_members"])
    answers = {path: read_target(Path(path)) for path in files.target}
    ids = () if files.ids is None else read_ids(Path(files.ids), len(labels))
    return _audited(config, answers, labels, known, ids, threads=threads, force=force)


def _audited(
    config: WithoutShadowsConfig,
    asked: Mapping[str, ArrayLike],
    pretraining_labels: ArrayLike,
    non_members: ArrayLike | None,
    ids: Sequence[str],
    *,
    threads: int,
    force: bool,
) -> AuditWithoutShadows:
    """The audit of arrays; ``asked`` are the target's answers, by what they are called, in each finetuning."""
    started, notes, files = time.monotonic(), list[str](), config.files
    if config.attack.names != [ATTACK]:
        raise TmiError(f"attack.names is {config.attack.names}, expected {ATTACK!r} alone: there are no shadow models")
    answers = {where: as_model(each, where, notes.append) for where, each in asked.items()}
    points, queries, classes = next(iter(answers.values())).shape
    for where, each in answers.items():
        if each.dtype == TOKEN:
            raise TmiError(f"{where}: is about the tokens of texts, expected logits of classes")
        if len(each) != points:
            raise TmiError(f"{where}: holds {len(each)} points, expected {points} as in the first finetuning")
    where_labels = files.pretraining_labels if files else "pretraining labels"
    labels = as_pretraining_labels(pretraining_labels, points, where_labels)
    candidates = np.ones(points, dtype=np.bool_)
    if non_members is not None:
        candidates = ~as_non_members(non_members, points, (files and files.non_members) or "non-members")
    checked = dict.fromkeys(found for each in answers.values() for found in check_answers(each, labels))
    findings = [*checked, *_about_labels(labels, candidates)]
    require_sound(findings, force=force)
    view = main_adversary(config).view
    finetunings = [Predictions([each], view=view) for each in answers.values()]
    probed = probe_target(finetunings, labels, candidates, config.seed, threads)
    asked_about = [ids[point] for point in np.flatnonzero(candidates).tolist()] if len(ids) else []
    found = _found(config, labels, candidates, probed, asked_about)
    hashed = answers | {"pretraining labels": labels, "candidates": candidates}
    results = Results(
        kind="no shadow models",
        name=config.name,
        description=config.description,
        seed=config.seed,
        version=__version__,
        view=view.name,
        headline=ATTACK,
        notes=notes_of(findings),
        attacks={},
        models=Models(count=1, targets=0, given=None, not_pretrained=[], not_finetuned=[]),
        stages={"probe": round(time.monotonic() - started, 3)},
        data=Data(
            files=_files(files),
            read_as=list(dict.fromkeys(notes)),
            classes=classes,
            queries_per_point=queries,
            challenge_points=found.points,
        ),
        evaluation=Evaluation(confidence=config.evaluation.confidence, resamples=config.evaluation.resamples),
        resolution={},
        provenance=Provenance(
            **provenance(
                {name: sha256(np.ascontiguousarray(a).tobytes()).hexdigest() for name, a in hashed.items()}, {}
            )
        ),
        points=Points(attack=ATTACK, most_exposed=[], exposed=Exposed(fdr=EXPOSURE_FDR, count=0, tested=0)),
        comparisons=Comparisons(against=ATTACK),
        without_shadows=found,
    )
    return AuditWithoutShadows(
        results, np.flatnonzero(candidates), labels[candidates], probed.scores, probed.p_values, config, asked_about
    )


def _files(files: TargetFiles | None) -> list[ReadFile]:
    named = {} if files is None else files.model_dump(exclude_none=True)
    paths = {"target": named.pop("target", []), **{role: [path] for role, path in named.items()}}
    return [read_file(Path(path), role.replace("_", " ")) for role, several in paths.items() for path in several]


def _about_labels(labels: NDArray[np.int64], candidates: NDArray[np.bool_]) -> list[Finding]:
    """Whether candidates and known non-members, if there are any, have the labels in the same proportions."""
    from scipy.stats import chi2_contingency  # most commands need nothing of scipy.stats, which is slow to import

    _, which = np.unique(labels, return_inverse=True)
    counts = np.stack([np.bincount(which[side], minlength=which.max() + 1) for side in (candidates, ~candidates)])
    if candidates.all() or (p_value := float(chi2_contingency(counts).pvalue)) >= SHIFTED:
        return []
    message = (
        f"candidates and known non-members have them in other proportions (p = {p_value:.1g}): the p-values of single "
        "points are exact only where these are alike; the test of all points compares within labels"
    )
    return [Finding("warning", "pretraining labels", message)]


def _found(
    config: WithoutShadowsConfig,
    labels: NDArray[np.int64],
    candidates: NDArray[np.bool_],
    probed: ProbedTarget,
    ids: Sequence[str],
) -> WithoutShadows:
    """What is said about the candidates."""
    asked, evaluation = np.flatnonzero(candidates), config.evaluation
    known, rate, p_values = len(labels) - len(asked), evaluation.accusation_rate, probed.p_values
    # By p-value first, since every fold has a scale of its own.
    order = np.lexsort((-probed.scores, *([] if p_values is None else [p_values])))[:SUSPECTED_POINTS]
    ranked = {"point": asked, "label": labels[asked].astype(str), "score": probed.scores}
    ranked |= {"id": np.array(ids)} if ids else {}
    about: dict[str, Any] = {}
    if p_values is not None:
        ranked |= {"p_value": p_values, "q_value": q_values(p_values), "called": p_values <= rate}
        about = {
            "calls": {
                f"{each:g}": CallsAlone(
                    called=int((p_values <= each).sum()),
                    expected_false=each * len(asked),
                    resolvable=1 / (1 + known) <= each,
                )
                for each in sorted({*evaluation.false_positive_rates, rate})
            },
            "exposed": Exposed(
                fdr=EXPOSURE_FDR, count=int((ranked["q_value"] <= EXPOSURE_FDR).sum()), tested=len(asked)
            ),
            "set_test": _set_test(probed.alike, candidates, labels, config),
        }
    return WithoutShadows(
        name=config.name,
        points=len(asked),
        non_members=known,
        labels=len(np.unique(labels)),
        fpr=rate,
        most_suspected=[RankedPoint(**{key: each[index].item() for key, each in ranked.items()}) for index in order],
        **about,
    )


def _set_test(
    scores: NDArray[np.float64], candidates: NDArray[np.bool_], labels: NDArray[np.int64], config: WithoutShadowsConfig
) -> ShuffledSetTest | None:
    try:
        return shuffled_set_test(scores, candidates, labels, config.evaluation.resamples, config.seed)
    except TmiError:  # no label has both
        return None
