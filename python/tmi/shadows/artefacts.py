"""The files of shadow models: where they lie, and how they are written so that only whole and unchanged ones count.

An artefact is a file, or a directory, with a sidecar of the same name that ends in ``.json``. The sidecar holds the
artefact's ``key`` (a hash of everything that it was made from), the SHA-256 of the content, and facts about it. An
artefact is current if its key is the expected one and its bytes still have the recorded hash; its size, name and age
prove nothing. Files are written under a temporary name and renamed, the sidecar last: killed at any moment, a
directory holds only whole files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from tmi.errors import TmiError
from tmi.predictions.formats.files import open_npy
from tmi.system.files import atomic, file_hash, read_json, sidecar, whole_tree, write_json

if TYPE_CHECKING:
    from typing_extensions import Self


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

    def is_current(self, path: Path, key: str) -> bool:
        """Whether an artefact exists, was made from what ``key`` stands for and is undamaged."""
        record = read_json(sidecar(path))
        return record is not None and record.get("key") == key and record.get("sha256") == file_hash(path)

    def is_damaged(self, path: Path, key: str) -> bool:
        """Whether an artefact was made from what ``key`` stands for, but its bytes are no longer those written."""
        record = read_json(sidecar(path))
        return record is not None and record.get("key") == key and record.get("sha256") != file_hash(path)

    def facts(self, path: Path) -> dict[str, Any]:
        """The facts in an artefact's sidecar."""
        record = read_json(sidecar(path)) or {}
        return dict(record.get("facts", {}))

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

    def load_array(self, path: Path) -> NDArray[Any]:
        """Open an array as a read-only memory map; a TmiError where the file is missing or no array."""
        return open_npy(path, may_be_empty=True)

    def load_tensors(self, path: Path) -> dict[str, NDArray[Any]]:
        """Read named arrays; a TmiError where the file is missing or damaged."""
        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise TmiError(f"{path}: not a readable .safetensors file: {error}") from None

    def _save(self, path: Path, write: Callable[[IO[bytes]], Any], key: str, facts: Mapping[str, Any] | None) -> None:
        with atomic(path) as file:
            write(file)
        self._record(path, key, facts or {})

    def _record(self, path: Path, key: str, facts: Mapping[str, Any]) -> None:
        write_json(sidecar(path), {"key": key, "sha256": file_hash(path), "facts": dict(facts)})
