"""Points: images, texts or vectors with their labels."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

PointKind = Literal["image", "text", "vector"]


@dataclass(frozen=True)
class Points:
    """Labelled points of one kind.

    Attributes:
        raw: images: ``[points, height, width]`` or ``[points, channels, height, width]``, either uint8 or float32 in
            [0, 1], three channels being RGB; texts: ``str`` objects ``[points]``; vectors: float32
            ``[points, dimensions]``. Images that are uint8 stay so until the network scales them: a copy in floats
            would take four times the memory.
        labels: int64 ``[points]``, indices into ``class_names``.
        class_names: what the labels mean.
        kind: what ``raw`` holds.
        ids: what the owner of the data calls each, strings ``[points]``; None where nobody has said it. They change
            nothing that is computed.
        prompts: int64 ``[points]``, how many characters of each text are a prompt, whose response follows; None where
            texts have no such parts.
    """

    raw: NDArray[Any]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    kind: PointKind
    ids: NDArray[Any] | None = None
    prompts: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def description(self) -> str:
        """As in ``300 images of 8 x 8 pixels in 10 classes``."""
        what = f"{len(self):,} {self.kind}s"
        if self.kind == "image":
            what += f" of {self.raw.shape[-1]} x {self.raw.shape[-2]} pixels"
        if self.kind == "vector":
            what += f" of {self.raw.shape[1]:,} numbers"
        classes = len(self.class_names)
        return f"{what} in {classes:,} classes" if classes > 1 else f"{what} without labels"

    def take(self, indices: NDArray[Any]) -> Points:
        """The points at ``indices``, in that order."""
        ids, prompts = (None if each is None else each[indices] for each in (self.ids, self.prompts))
        taken = replace(self, raw=self.raw[indices], labels=self.labels[indices], ids=ids, prompts=prompts)
        if "digests" in self.__dict__:
            taken.__dict__["digests"] = np.array(self.digests, dtype=object)[indices].tolist()
        return taken

    def cut(self, words: int) -> Points:
        """Texts cut into consecutive pieces of so many words, as points with their text's label; see `pieces`."""
        cut = [pieces(text, words) for text in self.raw]
        labels = np.repeat(self.labels, [len(found) for found in cut])
        raw = np.array([piece for found in cut for piece in found], dtype=object)
        ids = None
        if self.ids is not None:
            numbered = [
                (name, number) for name, found in zip(self.ids, cut, strict=True) for number in range(len(found))
            ]
            ids = np.array([f"{name}#{number}" for name, number in numbered], dtype=object)
        return Points(raw, labels, self.class_names, self.kind, ids)

    def named(self, prefix: str = "") -> Points:
        """The same, called by their place in the source, behind a prefix, where nobody has named them."""
        if self.ids is not None:
            return self
        return replace(self, ids=np.array([f"{prefix}{place}" for place in range(len(self))], dtype=object))

    def relabelled(self, new_labels: NDArray[np.int64], class_names: tuple[str, ...]) -> Points:
        """The same points with other labels."""
        same = replace(self, labels=new_labels, class_names=class_names)
        if "digests" in self.__dict__:
            same.__dict__["digests"] = self.digests
        return same

    @cached_property
    def digests(self) -> list[bytes]:
        """A content hash of every point, its label left out: equal for duplicates.

        An image has the same hash in uint8 and in float32. Computed once, also for what is taken afterwards.
        """
        return [hashlib.sha256(_content(point)).digest() for point in self.raw]

    @property
    def fingerprint(self) -> str:
        """A hash of all points and labels in their order."""
        combined = hashlib.sha256(b"".join(self.digests))
        combined.update(np.ascontiguousarray(self.labels).tobytes())
        combined.update("\0".join(self.class_names).encode())
        if self.prompts is not None:
            combined.update(self.prompts.tobytes())
        return combined.hexdigest()


# A pixel of 0 to 255 as a float in [0, 1].
INTENSITIES = np.arange(256, dtype=np.float32) / np.float32(255)


def as_floats(images: NDArray[Any]) -> NDArray[np.float32]:
    """Images as float32 in [0, 1]; those that are float32 already as they are."""
    floats: NDArray[np.float32] = INTENSITIES[images] if images.dtype == np.uint8 else images
    return floats


def _content(point: Any) -> Any:
    """The bytes of a point, those of an image in floats."""
    return point.encode() if isinstance(point, str) else np.ascontiguousarray(as_floats(point))


def pieces(text: str, words: int) -> list[str]:
    """Consecutive pieces of so many words, joined by single spaces; an end that is shorter is left out."""
    found = text.split()
    return [" ".join(found[start : start + words]) for start in range(0, len(found) - words + 1, words)]
