"""A finished run read back for what was scored, without its data or its models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tmi.config import Config, load_config, variant_of
from tmi.errors import TmiError
from tmi.predictions.views import LOGITS
from tmi.report.compared import ComparedRun
from tmi.report.results import Results
from tmi.runs.directory import RunDirectory
from tmi.system.files import sidecar


@dataclass(frozen=True)
class ScoredRun:
    """What a comparison reads of a run directory.

    Attributes:
        path: as the user named it.
        directory: its files.
        results: every figure.
        labels: bool ``[targets, points]``, the membership of the targets.
        points: int64 ``[points]``, which points these are; 0, 1, ... where the directory does not say.
        numbered: whether the directory says it.
        config: the configuration; None for an audit of saved predictions.
    """

    path: Path
    directory: RunDirectory
    results: Results
    labels: NDArray[np.bool_]
    points: NDArray[np.int64]
    numbered: bool
    config: Config | None

    @property
    def attacks(self) -> list[str]:
        """The attacks of the main adversary, in the order of the results."""
        return list(self.results.attacks)

    def scores(self, attack: str) -> NDArray[np.float64]:
        """Scores ``[targets, points]`` of an attack of the main adversary.

        Raises:
            TmiError: the file is missing, damaged or of another shape.
        """
        return _scores(self.directory, self.results, attack, self.labels.shape)

    @property
    def about(self) -> ComparedRun:
        """What is said of the run in the comparison's document."""
        members = int(self.labels.sum())
        targets, points = self.labels.shape
        return ComparedRun(
            run=str(self.path),
            name=self.results.name,
            seed=self.results.seed,
            targets=targets,
            points=points,
            members=members,
            non_members=self.labels.size - members,
        )


def read_run(path: Path) -> ScoredRun:
    """Open a finished run, a variant of one (``RUN/variants/NAME``) or an audit of saved predictions.

    Raises:
        TmiError: no run directory, an unfinished run, or damaged files.
    """
    directory = _directory(path)
    results = _results(path, directory)
    membership = np.asarray(directory.load_array(directory.membership))
    if membership.dtype != np.bool_ or membership.ndim != 2:
        raise TmiError(
            f"{directory.membership}: has type {membership.dtype} and shape {membership.shape}, "
            "expected bool [models, points]"
        )
    models, width = membership.shape
    first = next(iter(results.attacks))
    targets = len(_scores(directory, results, first, None))
    if targets > models:
        raise TmiError(
            f"{_scores_file(directory, results, first)}: has {targets} targets, expected at most {models}, "
            f"the models of {directory.membership}"
        )
    labels = membership[:targets]
    if labels.all() or not labels.any():
        raise TmiError(f"{directory.membership}: all memberships of the targets are equal, expected both kinds")
    # What `tmi.audit` saves has no numbers of points; a run has, and does without none that are lost.
    numbered = any(path.exists() for path in (directory.challenge_points, sidecar(directory.challenge_points)))
    points = np.asarray(directory.load_array(directory.challenge_points)) if numbered else np.arange(width)
    if points.shape != (width,) or points.dtype.kind not in "iu":
        raise TmiError(
            f"{directory.challenge_points}: has type {points.dtype} and shape {points.shape}, expected integers "
            f"({width},), one per column of {directory.membership.name}"
        )
    return ScoredRun(path, directory, results, labels, points.astype(np.int64), numbered, _config(directory, results))


def _directory(path: Path) -> RunDirectory:
    if not path.is_dir():
        raise TmiError(f"{path}: there is no such directory, expected a run directory")
    whole = path.resolve()
    is_variant = whole.parent.name == "variants" and not (whole / "membership.npy").exists()
    directory = RunDirectory(path, whole.parent.parent) if is_variant else RunDirectory(path)
    if not directory.membership.is_file():
        raise TmiError(f"{path}: is no run directory, or a run that has hardly begun (it has no membership.npy)")
    return directory


def _results(path: Path, directory: RunDirectory) -> Results:
    if not any((path / "scores").rglob("*.npy")):
        raise TmiError(f"{path}: the run is unfinished, it has no scores; `tmi attack {path}/config.toml --out {path}`")
    if not directory.results.exists():
        raise TmiError(f"{directory.results} is missing; run `tmi report {path}` first")
    directory.require_results()
    return Results.load(directory.results)


def _config(directory: RunDirectory, results: Results) -> Config | None:
    """The configuration of a run or of a variant."""
    if results.is_saved:
        return None
    if directory.base is None:
        return load_config(str(directory.config)) if directory.config.is_file() else None
    path, name = RunDirectory(directory.base).config, directory.root.resolve().name
    config = load_config(str(path)) if path.is_file() else None
    return variant_of(config, name) if config and name in config.variants else None


def _scores_file(directory: RunDirectory, results: Results, attack: str) -> Path:
    return directory.scores(attack, "" if results.view == LOGITS.name else results.view)


def _scores(
    directory: RunDirectory, results: Results, attack: str, shape: tuple[int, ...] | None
) -> NDArray[np.float64]:
    path = _scores_file(directory, results, attack)
    if not path.exists():
        raise TmiError(f"{path} is missing; run `tmi score {directory.root}` first")
    scores = np.asarray(directory.load_array(path))
    if scores.dtype != np.float64 or scores.ndim != 2 or (shape is not None and scores.shape != shape):
        expected = "[targets, points]" if shape is None else str(shape)
        raise TmiError(f"{path}: has type {scores.dtype} and shape {scores.shape}, expected float64 {expected}")
    if np.isnan(scores).any():
        raise TmiError(f"{path}: holds NaN, expected a number for every target and point")
    return scores
