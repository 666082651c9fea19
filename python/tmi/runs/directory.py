"""Every path of a run directory, atomic writes, and artefacts that are only trusted by their content.

An artefact is a data file with a sidecar of the same name that ends in ``.json``. The sidecar holds the artefact's
``key`` (a hash of everything that it was made from), the SHA-256 of the data file, and facts about it. An artefact
is current if its key is the expected one and its bytes still have the recorded hash; its size, name and age prove
nothing. Files are written under a temporary name and renamed, the sidecar last: killed at any moment, a run
directory holds only whole files.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from tmi.errors import TmiError
from tmi.system.files import TEMPORARY, atomic, file_hash, read_json, sidecar, write_json


@dataclass(frozen=True)
class RunDirectory:
    """The files of one run below ``root``.

    A variant of a run has a directory of its own below that of the run, which also holds what they share: the
    membership and everything about the pretrained models.
    """

    root: Path
    base: Path | None = None
    """The directory of the run, for that of a variant."""

    @property
    def _base(self) -> Path:
        return self.base or self.root

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
        return self._base / "membership.npy"

    @property
    def challenge_points(self) -> Path:
        """int64 ``[points]``, indices into the pool."""
        return self._base / "challenge_points.npy"

    @property
    def results(self) -> Path:
        """Every number of the report."""
        return self.root / "results.json"

    @property
    def points(self) -> Path:
        """What the attack of the verdict finds at every single point, as a table."""
        return self.root / "points.csv"

    @property
    def report(self) -> Path:
        """The HTML report."""
        return self.root / "report.html"

    def pretrained(self, model: int) -> Path:
        """Weights of a pretrained model."""
        return self._base / "pretrained" / f"{model:03d}.safetensors"

    def finetuned(self, model: int) -> Path:
        """The weights that finetuning changed or added."""
        return self.root / "finetuned" / f"{model:03d}.safetensors"

    def predictions(self, model: int) -> Path:
        """float32 ``[points, augmentations, classes]``, raw logits of a finetuned model."""
        return self.root / "predictions" / f"{model:03d}.npy"

    def pretrained_predictions(self, model: int) -> Path:
        """The same of a pretrained model under its own head, for the upper bound."""
        return self._base / "pretrained_predictions" / f"{model:03d}.npy"

    def reference_predictions(self, model: int) -> Path:
        """Those of a finetuned model at the reference points."""
        return self.root / "reference_predictions" / f"{model:03d}.npy"

    def checkpoint(self, stage: str, model: int) -> Path:
        """The state of a training that goes on, named by its first model."""
        return self.root / "checkpoints" / f"{stage}-{model:03d}.safetensors"

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
        lock = FileLock(self.root / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise TmiError(f"{self.root}: another tmi process is working in this run directory") from None
        try:
            _remove_leftovers(self.root)
            yield
        finally:
            lock.release()

    def relative(self, path: Path) -> str:
        """A path as it is named in messages."""
        return str(path.relative_to(self._base))

    def is_current(self, path: Path, key: str) -> bool:
        """Whether an artefact exists, was made from what ``key`` stands for and is undamaged."""
        record = read_json(sidecar(path))
        return record is not None and record.get("key") == key and record.get("sha256") == file_hash(path)

    def is_damaged(self, path: Path, key: str) -> bool:
        """Whether an artefact was made from what ``key`` stands for, but its bytes are no longer those written."""
        record = read_json(sidecar(path))
        return record is not None and record.get("key") == key and record.get("sha256") != file_hash(path)

    def save_array(self, path: Path, array: NDArray[Any], key: str, facts: Mapping[str, Any] | None = None) -> None:
        """Write an array as ``.npy`` with its sidecar."""
        self._save(path, lambda file: np.save(file, array, allow_pickle=False), key, facts)

    def save_tensors(
        self,
        path: Path,
        tensors: Mapping[str, NDArray[Any]],
        key: str,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        """Write named arrays as ``.safetensors`` with their sidecar."""
        # The safetensors serialiser writes arrays as if they were contiguous.
        contiguous = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
        self._save(path, lambda file: file.write(save(contiguous)), key, facts)

    def load_array(self, path: Path) -> NDArray[Any]:
        """Open an array as a read-only memory map.

        Raises:
            TmiError: the file is missing or no array.
        """
        try:
            array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise TmiError(f"{path}: not a readable .npy file: {error}") from None
        return array

    def load_tensors(self, path: Path) -> dict[str, NDArray[Any]]:
        """Read named arrays.

        Raises:
            TmiError: the file is missing or damaged.
        """
        try:
            tensors: dict[str, NDArray[Any]] = load_file(path)
        except (OSError, SafetensorError) as error:
            raise TmiError(f"{path}: not a readable .safetensors file: {error}") from None
        return tensors

    def facts(self, path: Path) -> dict[str, Any]:
        """The facts in an artefact's sidecar."""
        record = read_json(sidecar(path)) or {}
        facts: dict[str, Any] = record.get("facts", {})
        return facts

    def _save(self, path: Path, write: Callable[[IO[bytes]], Any], key: str, facts: Mapping[str, Any] | None) -> None:
        with atomic(path) as file:
            write(file)
        write_json(sidecar(path), {"key": key, "sha256": file_hash(path), "facts": dict(facts or {})})


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
