"""The files of shadow models: where they lie, and how they are written so that only whole and unchanged ones count.

An artefact is a file, or a directory, with a sidecar of the same name that ends in ``.json``. The sidecar holds the
artefact's ``key`` (a hash of everything that it was made from), the SHA-256 of the content, facts about it, and a seal
over all of these and the artefact's name. An artefact is current if its key is the expected one and its bytes still
have the recorded hash; its size, name and age prove nothing. Nothing is read before that is known: arrays, weights and
facts come through `Artefacts.load_array`, `load_tensors` and `facts` alone. Files are written under a temporary name
and renamed, the sidecar last: killed at any moment, a directory holds only whole files.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from tmi.errors import TmiError, first_line
from tmi.predictions.formats.files import open_npy
from tmi.system.files import atomic, file_hash, known_hash, read_sealed, sidecar, whole_tree, write_sealed

if TYPE_CHECKING:
    from typing_extensions import Self

# What a sidecar says, and what that makes of its artefact.
RECORD = ("key", "sha256", "facts")
State = Literal["current", "outdated", "missing", "damaged"]


@dataclass(frozen=True)
class Artefacts:
    """The files below ``root`` that shadow models leave.

    A variant of a run has a directory of its own below that of the run, which also holds what they share: everything
    about the pretrained models.
    """

    root: Path
    base: Path | None = None  # the directory of the run, for that of a variant

    def moved(self, place: Callable[[Path], Path]) -> Self:
        """The same files where another machine has them."""
        return type(self)(place(self.root), None if self.base is None else place(self.base))

    @property
    def shared(self) -> Path:
        """The directory of what a run and its variants share."""
        return self.base or self.root

    def pretrained(self, model: int) -> Path:
        """Weights of a pretrained model."""
        return self.shared / "pretrained" / f"{model:03d}.safetensors"

    def finetuned(self, model: int) -> Path:
        """The weights that finetuning changed or added."""
        return self.root / "finetuned" / f"{model:03d}.safetensors"

    def predictions(self, model: int) -> Path:
        """float32 ``[points, augmentations, classes]``, raw logits of a finetuned model."""
        return self.root / "predictions" / f"{model:03d}.npy"

    def pretrained_predictions(self, model: int) -> Path:
        """The same of a pretrained model under its own head, for attacks with direct access."""
        return self.shared / "pretrained_predictions" / f"{model:03d}.npy"

    def reference_predictions(self, model: int) -> Path:
        """Those of a finetuned model at the reference points."""
        return self.root / "reference_predictions" / f"{model:03d}.npy"

    def checkpoint(self, stage: str, model: int) -> Path:
        """The state of a training that goes on, named by its first model."""
        return self.root / "checkpoints" / f"{stage}-{model:03d}.safetensors"

    def relative(self, path: Path) -> str:
        """A path as it is named in messages."""
        return str(path.relative_to(self.shared))

    def state(self, path: Path, key: str) -> State:
        """Whether an artefact is there, was made from what ``key`` stands for, and is what was written."""
        try:
            record = self._recorded(path)
        except TmiError:
            return "damaged"
        if record is None or not path.exists():
            return "missing"
        if record["key"] != key:
            return "outdated"
        return "current" if record["sha256"] == known_hash(path) else "damaged"

    def is_current(self, path: Path, key: str) -> bool:
        """Whether an artefact exists, was made from what ``key`` stands for and is undamaged."""
        return self.state(path, key) == "current"

    def stale(self, files: Mapping[Path, str], note: Callable[[str], None]) -> dict[Path, str]:
        """Those of artefacts, given with their keys, that are to be made anew; damaged ones are told to ``note``."""
        states = {path: self.state(path, key) for path, key in files.items()}
        for path, state in states.items():
            if state == "damaged":
                note(f"{self.relative(path)} is damaged (its checksum is wrong): made anew")
        return {path: files[path] for path, state in states.items() if state != "current"}

    def facts(self, path: Path) -> dict[str, Any]:
        """The facts in an artefact's sidecar; a TmiError where that is missing or damaged."""
        return dict(self._required(path)["facts"])

    def save_array(self, path: Path, array: NDArray[Any], key: str, facts: Mapping[str, Any] | None = None) -> None:
        """Write an array as ``.npy`` with its sidecar."""
        self._save(path, lambda file: np.save(file, array, allow_pickle=False), key, facts)

    def save_tensors(
        self, path: Path, tensors: Mapping[str, NDArray[Any]], key: str, facts: Mapping[str, Any] | None = None
    ) -> None:
        """Write named arrays as ``.safetensors`` with their sidecar."""
        # The safetensors serialiser writes arrays as if they were contiguous.
        contiguous = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
        self._save(path, lambda file: file.write(save(contiguous)), key, facts)

    @contextmanager
    def saving_tree(self, path: Path, key: str, facts: Mapping[str, Any], where: str) -> Iterator[Path]:
        """A directory to write into, which is there with its sidecar when the block is done; see `whole_tree`.

        The facts are read at the end of the block; ``where`` names who writes it in error messages.
        """
        with whole_tree(path, where) as directory:
            yield directory
        self._record(path, key, facts)

    def copy(self, path: Path, to: Path) -> None:
        """Take an artefact for that of another model as well; a TmiError where it has no sidecar."""
        record = self._required(path)
        shutil.copy(path, to)
        self._record(to, record["key"], record["facts"])

    def load_array(self, path: Path) -> NDArray[Any]:
        """Open an array as a read-only memory map; a TmiError where it is missing or not what was written."""
        self._require_unchanged(path)
        return open_npy(path, may_be_empty=True)

    def load_tensors(self, path: Path) -> dict[str, NDArray[Any]]:
        """Read named arrays; a TmiError where they are missing or not what was written."""
        self._require_unchanged(path)
        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise TmiError(f"{path}: not a readable .safetensors file: {first_line(error)}") from None

    def _save(self, path: Path, write: Callable[[IO[bytes]], Any], key: str, facts: Mapping[str, Any] | None) -> None:
        with atomic(path) as file:
            write(file)
        self._record(path, key, facts or {})

    def _record(self, path: Path, key: str, facts: Mapping[str, Any]) -> None:
        record = {"key": key, "sha256": file_hash(path), "facts": dict(facts)}
        write_sealed(sidecar(path), self._name(path), record)

    def _name(self, path: Path) -> str:
        """What a sidecar is about, wherever the directory lies: models share a key, and their files are not swapped."""
        return path.name if path.parent in (self.root, self.shared) else f"{path.parent.name}/{path.name}"

    def _recorded(self, path: Path) -> dict[str, Any] | None:
        """What the sidecar says; None if there is none, a TmiError if it is damaged."""
        record = read_sealed(sidecar(path), self._name(path), RECORD)
        if record is not None and [type(record.get(name)) for name in RECORD] != [str, str, dict]:
            raise TmiError(f"{sidecar(path)} is damaged: it does not say {', '.join(RECORD)} of {path.name}")
        return record

    def _required(self, path: Path) -> dict[str, Any]:
        record = self._recorded(path)
        if record is None and not path.exists():
            raise TmiError(f"{path} is missing, expected what an earlier stage has made")
        if record is None:
            raise TmiError(f"{path}: has no {sidecar(path).name} beside it, which says what its bytes should be")
        return record

    def _require_unchanged(self, path: Path) -> None:
        if self._required(path)["sha256"] != known_hash(path):
            if not path.exists():
                raise TmiError(f"{path} is missing, expected what an earlier stage has made")
            raise TmiError(f"{path} is damaged: its SHA-256 is not the one in {sidecar(path).name}")
