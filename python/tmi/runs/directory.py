"""Every path of a run directory; see `tmi.shadows.artefacts` for how its files are written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from tmi.errors import TmiError
from tmi.report import figures
from tmi.shadows.artefacts import Artefacts
from tmi.system.files import TEMPORARY, sidecar

LOCK = ".lock"


@dataclass(frozen=True)
class RunDirectory(Artefacts):
    """The files of one run below ``root``; a variant also has the membership from the run."""

    def variant(self, name: str) -> RunDirectory:
        """The directory of a variant."""
        return RunDirectory(self.root / "variants" / name, self.root)

    @property
    def variant_name(self) -> str:
        """The variant that this directory is of; empty for the run itself."""
        return self.root.name if self.base else ""

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.root / "config.toml"

    @property
    def manifest(self) -> Path:
        """Versions, keys, seeds, the machine and the time of every stage."""
        return self.root / "manifest.json"

    @property
    def membership(self) -> Path:
        """Bool ``[models, points]``."""
        return self.shared / "membership.npy"

    @property
    def challenge_points(self) -> Path:
        """int64 ``[points]``, indices into the pool."""
        return self.shared / "challenge_points.npy"

    @property
    def pretraining_labels(self) -> Path:
        """int64 ``[points]`` of the challenge points."""
        return self.shared / "pretraining_labels.npy"

    @property
    def reference_membership(self) -> Path:
        """Bool ``[models, points]`` of the reference points."""
        return self.shared / "reference_membership.npy"

    @property
    def reference_labels(self) -> Path:
        """int64 ``[points]``, the pretraining labels of the reference points."""
        return self.shared / "reference_labels.npy"

    @property
    def drawn(self) -> list[Path]:
        """All that is known of the pool's points before a model is made."""
        labels = [self.pretraining_labels, self.reference_labels]
        return [self.challenge_points, self.membership, self.reference_membership, *labels]

    @property
    def results(self) -> Path:
        """Every number of the report."""
        return self.root / "results.json"

    @property
    def points(self) -> Path:
        """What is found at every single point, as a table; see `tmi.runs.point_table`."""
        return self.root / "points.csv"

    @property
    def points_parquet(self) -> Path:
        """The same in full precision, where pyarrow is installed."""
        return self.root / "points.parquet"

    @property
    def report(self) -> Path:
        """The HTML report."""
        return self.root / "report.html"

    @property
    def markdown(self) -> Path:
        """The same as Markdown."""
        return self.root / "report.md"

    def scores(self, attack: str, folder: str = "") -> Path:
        """float64 ``[targets, points]``, higher = member; in a folder of its own for all but the usual adversary."""
        return self.root / "scores" / folder / f"{attack}.npy"

    @property
    def target_predictions(self) -> Path:
        """float32 ``[points, augmentations, classes]``, raw logits of a target of unknown membership."""
        return self.root / "target" / "predictions.npy"

    @property
    def target_reference_predictions(self) -> Path:
        """Those about the reference points."""
        return self.root / "target" / "reference_predictions.npy"

    @property
    def target_cache(self) -> Path:
        """Every answer of the target as it came, so that none is asked for twice."""
        return self.root / "target" / "answers.sqlite"

    def target_scores(self, attack: str) -> Path:
        """float64 ``[1, points]`` of a target of unknown membership."""
        return self.root / "target_scores" / f"{attack}.npy"

    def figure(self, name: str, ending: str) -> Path:
        """A figure of the report, ``png`` or ``svg``."""
        return self.root / f"{name}.{ending}"

    def refuse_foreign(self) -> None:
        """Never write into a directory that holds something else.

        Raises:
            TmiError: it does.
        """
        if self.config.exists() or not self.root.is_dir():
            return
        if any(path.name != LOCK for path in self.root.iterdir()):
            raise TmiError(
                f"{self.root}: is neither empty nor a run directory (it has no config.toml); choose another --out"
            )

    def clear(self) -> None:
        """Remove what a run writes, and nothing else."""
        in_folders = (
            self.checkpoint("any", 0),
            self.pretrained(0),
            self.finetuned(0),
            self.predictions(0),
            self.pretrained_predictions(0),
            self.reference_predictions(0),
            self.scores("any"),
            self.target_predictions,
            self.target_scores("any"),
            self.variant("any").root,
        )
        for path in in_folders:
            shutil.rmtree(path.parent, ignore_errors=True)
        for path in self.drawn:
            sidecar(path).unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        drawn = [self.figure(name, ending) for name in figures.NAMES for ending in figures.ENDINGS]
        documents = (
            self.config,
            self.manifest,
            self.results,
            self.points,
            self.points_parquet,
            self.report,
            self.markdown,
        )
        for path in (*documents, *drawn):
            path.unlink(missing_ok=True)

    def prepare(self) -> None:
        """Make the directory if it is missing."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise TmiError(f"{self.root}: is a file, expected a directory for the run") from None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from writing to this run; remove what an interrupted one left half-written.

        Raises:
            TmiError: another process has the run directory.
        """
        lock = FileLock(self.root / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise TmiError(f"{self.root}: another tmi process is working in this run directory") from None
        try:
            _remove_leftovers(self.root)
            yield
        finally:
            lock.release()


def _remove_leftovers(root: Path) -> None:
    """Remove what was being written when a run was interrupted; below the user's own models all names are theirs."""
    for folder, directories, files in os.walk(root):
        for name in directories:
            if name.endswith(TEMPORARY):
                shutil.rmtree(Path(folder) / name, ignore_errors=True)
        for name in files:
            if name.endswith(TEMPORARY):
                (Path(folder) / name).unlink(missing_ok=True)
        holds_models = Path(folder).name in ("pretrained", "finetuned")
        directories[:] = [] if holds_models else [name for name in directories if not name.endswith(TEMPORARY)]
