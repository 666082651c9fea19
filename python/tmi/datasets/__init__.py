"""Labelled points, whatever their source: ``load_points("sklearn:digits")``.

A source is named ``KIND:NAME``. Each kind is one function in ``SOURCES`` that takes NAME and returns `Points`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tmi.errors import TmiError, did_you_mean

PointKind = Literal["image", "text", "vector"]


@dataclass(frozen=True)
class Points:
    """Labelled points of one kind.

    Attributes:
        raw: images: float32 ``[points, height, width]`` or ``[points, channels, height, width]`` in [0, 1]; texts:
            ``str`` objects ``[points]``; vectors: float32 ``[points, dimensions]``.
        labels: int64 ``[points]``, indices into ``class_names``.
        class_names: what the labels mean.
        kind: what ``raw`` holds.
    """

    raw: NDArray[Any]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    kind: PointKind

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: NDArray[Any]) -> Points:
        """The points at ``indices``, in that order."""
        return replace(self, raw=self.raw[indices], labels=self.labels[indices])

    def relabelled(self, new_labels: NDArray[np.int64], class_names: tuple[str, ...]) -> Points:
        """The same points with other labels."""
        return replace(self, labels=new_labels, class_names=class_names)

    @cached_property
    def digests(self) -> list[bytes]:
        """A content hash of every point, its label left out: equal for duplicates."""
        return [hashlib.sha256(_content(point)).digest() for point in self.raw]

    @property
    def fingerprint(self) -> str:
        """A hash of all points and labels in their order."""
        combined = hashlib.sha256(b"".join(self.digests))
        combined.update(np.ascontiguousarray(self.labels).tobytes())
        combined.update("\0".join(self.class_names).encode())
        return combined.hexdigest()


def load_points(source: str) -> Points:
    """Load every point of a source.

    Args:
        source: ``KIND:NAME``, for instance ``sklearn:digits`` or ``npz:photos.npz``.

    Raises:
        TmiError: an unknown kind, or a source that cannot be read.
    """
    kind, _, name = source.partition(":")
    if kind not in SOURCES:
        raise TmiError(f"source {source!r}: unknown kind {kind!r}{did_you_mean(kind, sorted(SOURCES))}")
    return SOURCES[kind](name)


def _content(point: Any) -> bytes:
    return point.encode() if isinstance(point, str) else np.ascontiguousarray(point).tobytes()


def _lazy(module: str, function: str) -> Callable[[str], Points]:
    """A loader whose module, and the libraries behind it, are imported on first use."""

    def load(name: str) -> Points:
        loaded: Points = getattr(import_module(f"tmi.datasets.{module}"), function)(name)
        return loaded

    return load


SOURCES: dict[str, Callable[[str], Points]] = {
    "sklearn": _lazy("embedded", "load_sklearn"),
    "pydoc": _lazy("embedded", "load_pydoc"),
    "npz": _lazy("files", "load_npz"),
    "jsonl": _lazy("files", "load_jsonl"),
}
