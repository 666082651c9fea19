"""Every path of a run directory; see `tmi.shadows.artefacts` for how its files are written.

The first file of a run directory says that it is one. Its manifest then names every file before it is written, and
holds a copy of the configuration: nothing is removed but what it names, whatever else lies in the directory.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from tmi.errors import TmiError
from tmi.report import figures
from tmi.shadows.artefacts import RECORD, Artefacts
from tmi.system.files import known_hash, read_json, read_sealed, temporary_of, write_sealed, write_text

LOCK = ".lock"
MARKER = ".tmi-run"
# What a manifest says: the seconds of every stage; the names of all files below the root that the run may have written;
# the text of the configuration; the SHA-256 of ``results.json``, by variant; and `tmi.system.versions.provenance`.
MANIFEST = (
    *("schema", "version", "seed", "seconds", "files", "config", "results"),
    *("packages", "python", "machine", "hashes", "keys"),
)


def usual_place(name: str) -> Path:
    """``runs/NAME``, where a run is kept unless another place is named.

    Raises:
        TmiError: the name leads out of ``runs/``.
    """
    place = Path("runs") / name
    inside = os.path.relpath(place, "runs") if "\0" not in name else "."
    if Path(name).is_absolute() or Path(inside).parts[:1] in ((), ("..",)):
        raise TmiError(f"name {name!r}: leads out of runs/, expected the name of a folder in it; or name one by --out")
    return place


@dataclass(frozen=True)
class RunDirectory(Artefacts):
    """The files of one run below ``root``; a variant also has the membership from the run."""

    notes: list[str] = field(default_factory=list, compare=False, repr=False)
    """What was found on opening it, which the first stage says."""

    def variant(self, name: str) -> RunDirectory:
        """The directory of a variant.

        Raises:
            TmiError: the name is none of a folder.
        """
        if name in ("", ".", "..") or {"/", "\0"} & {*name}:
            raise TmiError(f"variants.{name}: is no name of a folder, expected one without / that is not .. or .")
        return RunDirectory(self.root / "variants" / name, self.root)

    @property
    def variant_name(self) -> str:
        """The variant that this directory is of; empty for the run itself."""
        return self.root.resolve().name if self.base else ""

    @property
    def marker(self) -> Path:
        """The file that says that this is a run directory; there before all others."""
        return self.root / MARKER

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

    @property
    def documents(self) -> list[Path]:
        """What a report leaves."""
        drawn = [self.figure(name, ending) for name in figures.NAMES for ending in figures.ENDINGS]
        return [self.results, self.points, self.points_parquet, self.report, self.markdown, *drawn]

    @property
    def is_run(self) -> bool:
        """Whether the directory was made for a run; those of earlier versions are known by what they hold."""
        if self.marker.exists() or not self.config.is_file():
            return self.marker.exists()
        manifest, results = read_json(self.manifest) or {}, read_json(self.results) or {}
        return {"seconds", "packages", "keys"} <= set(manifest) or results.get("without_shadows") is not None

    def refuse_foreign(self) -> None:
        """Never write into a directory that holds something else.

        Raises:
            TmiError: it does.
        """
        if not self.root.is_dir() or self.is_run:
            return
        if any(path.name != LOCK for path in self.root.iterdir()):
            raise TmiError(
                f"{self.root}: is neither empty nor a run directory (it has no {MARKER}, and not both the config.toml "
                "and the manifest.json of a run); choose another --out"
            )

    def read_manifest(self) -> dict[str, Any]:
        """What the manifest says; empty where there is none.

        Raises:
            TmiError: it is damaged.
        """
        manifest = read_sealed(self.manifest, self.manifest.name, MANIFEST) or {}
        kinds = {"seconds": dict, "files": list, "results": dict, "config": str}
        for name, kind in kinds.items():
            if not isinstance(manifest.get(name, kind()), kind):
                raise TmiError(f"{self.manifest} is damaged: the key {name!r} is {manifest[name]!r}")
        return manifest

    def write_manifest(self, **changes: Any) -> None:
        """Put other values into the manifest; see `MANIFEST`."""
        write_sealed(self.manifest, self.manifest.name, {"schema": 1} | self._known | changes)

    def restore(self) -> None:
        """Write the manifest's copy of the configuration where the file is not what was written there."""
        config = self._known.get("config")
        if config is not None and self.is_run and _text(self.config) != config:
            self.notes.append(f"{self.config.name} is damaged or was edited: made anew from {self.manifest.name}")
            write_text(self.config, config)

    def require_results(self) -> None:
        """Find out whether ``results.json`` and the configuration are what was written, as far as a manifest tells.

        Raises:
            TmiError: they are not.
        """
        run = RunDirectory(self.shared)
        manifest = run.read_manifest()
        if manifest.get("config", _text(run.config)) != _text(run.config):
            raise TmiError(f"{run.config} is damaged or was edited; `tmi report {run.root}` makes it anew")
        written = manifest.get("results", {}).get(self.variant_name)
        if written is not None and written != known_hash(self.results):
            raise TmiError(
                f"{self.results} is damaged: its SHA-256 is not the one in {run.manifest.name}; "
                f"`tmi report {run.root}` makes it anew"
            )

    def begin(self, files: Sequence[Path], config: str) -> None:
        """Name what is about to be written, the configuration first; remove what was half written when a run ended.

        Args:
            files: everything that may be.
            config: the text of the configuration.

        Raises:
            TmiError: a folder of the run is a symbolic link, which nothing is written through.
        """
        self._refuse_links(files)
        try:
            self.read_manifest()
        except TmiError:
            self.notes.append(f"{self.manifest.name} is damaged: made anew, without the times of earlier stages")
        names = sorted({*self._named, *(str(path.relative_to(self.root)) for path in files)})
        self._remove_leftovers([*names, self.manifest.name, self.config.name])
        self.write_manifest(files=names, config=config)
        write_text(self.config, config)

    def clear(self) -> None:
        """Remove what the manifest names, and nothing else; the manifest last, so that it can be done in two halves."""
        names = self._named
        paths = [self.root / name for name in names]
        self._refuse_links(paths)
        self.config.unlink(missing_ok=True)
        for path in paths:
            if path.is_dir():
                shutil.rmtree(path)
            path.unlink(missing_ok=True)
        self._remove_leftovers(names)
        for folder in sorted({parent for path in paths for parent in self._parents(path)}, reverse=True):
            # Not where others have files.
            with suppress(OSError):
                folder.rmdir()
        self.manifest.unlink(missing_ok=True)

    @property
    def _known(self) -> dict[str, Any]:
        """The manifest, if it is whole."""
        try:
            return self.read_manifest()
        except TmiError:
            return {}

    @property
    def _named(self) -> list[str]:
        """What the run may have written: as its manifest says, or else what has a sidecar of ours."""
        if files := self._known.get("files"):
            inside = [Path(name) for name in files]
            return [str(name) for name in inside if not name.is_absolute() and ".." not in name.parts]
        found = [path for path in self.documents if read_json(self.results)]
        for path in self.root.rglob("*.json"):
            record = read_json(path)
            if record is not None and {*record} - {"seal"} == {*RECORD}:
                found += [path, *(path.with_suffix(ending) for ending in (".npy", ".safetensors", ""))]
        return sorted(str(path.relative_to(self.root)) for path in found if path.exists())

    def _parents(self, path: Path) -> list[Path]:
        """The folders below the root that a path is in."""
        return [parent for parent in path.parents if parent != self.root and parent.is_relative_to(self.root)]

    def _refuse_links(self, paths: Sequence[Path]) -> None:
        for path in sorted({*paths, *(parent for each in paths for parent in self._parents(each))}):
            # A file is replaced as a whole, link or not; the one that is written into is that of the answers.
            if path.is_symlink() and (path.is_dir() or path == self.target_cache):
                raise TmiError(f"{path}: is a symbolic link, which nothing is written through; expected what is there")

    def _remove_leftovers(self, names: Sequence[str]) -> None:
        paths = {self.root / name for name in names}
        for folder in {path.parent for path in paths}:
            for entry in folder.iterdir() if folder.is_dir() else ():
                if (of := temporary_of(entry.name)) is not None and folder / of in paths:
                    shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()

    def prepare(self) -> None:
        """Make the directory if it is missing."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise TmiError(f"{self.root}: is a file, expected a directory for the run") from None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from writing to this run, whose directory is now known as one.

        Raises:
            TmiError: another process has the run directory.
        """
        lock = FileLock(self.root / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise TmiError(f"{self.root}: another tmi process is working in this run directory") from None
        try:
            self.marker.touch()
            yield
        finally:
            lock.release()


def _text(path: Path) -> str | None:
    """What a text file holds, as it was written; None where there is none, or something else."""
    try:
        return path.read_bytes().decode() if path.is_file() else None
    except UnicodeDecodeError:
        return None
