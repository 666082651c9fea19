"""Labelled points, whatever their source: ``load_points("sklearn:digits")``.

A source is named ``KIND:NAME``. Each kind is one function, named in ``SOURCES``, that takes NAME and those keys of
`SourceConfig` that mean something for it, and returns `Points`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tmi.config import SourceConfig
from tmi.errors import TmiError, did_you_mean

WORDS = re.compile(r"[^\W_]+")
PointKind = Literal["image", "text", "vector"]
OPTIONS = ("split", "inputs", "labels")
# A pixel of 0 to 255 as a float in [0, 1].
INTENSITIES = np.arange(256, dtype=np.float32) / np.float32(255)


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
    """

    raw: NDArray[Any]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    kind: PointKind

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: NDArray[Any]) -> Points:
        """The points at ``indices``, in that order."""
        taken = replace(self, raw=self.raw[indices], labels=self.labels[indices])
        if "digests" in self.__dict__:
            taken.__dict__["digests"] = np.array(self.digests, dtype=object)[indices].tolist()
        return taken

    def cut(self, words: int) -> Points:
        """Texts cut into consecutive pieces of so many words, as points with their text's label; see `pieces`."""
        cut = [pieces(text, words) for text in self.raw]
        labels = np.repeat(self.labels, [len(found) for found in cut])
        raw = np.array([piece for found in cut for piece in found], dtype=object)
        return Points(raw, labels, self.class_names, self.kind)

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
        return combined.hexdigest()


def load_points(source: SourceConfig | str) -> Points:
    """Load every point of a source.

    Args:
        source: where the points come from; a string is a source without options, for instance ``sklearn:digits``.

    Raises:
        TmiError: an unknown kind, an option that the kind or its points do not have, or a source that is empty or
            cannot be read.
    """
    if isinstance(source, str):
        source = SourceConfig(source=source)
    kind, _, name = source.source.partition(":")
    if kind not in SOURCES:
        raise TmiError(f"source {source.source!r}: unknown kind {kind!r}{did_you_mean(kind, sorted(SOURCES))}")
    load, accepted = SOURCES[kind]
    options = {option: getattr(source, option) for option in OPTIONS}
    for option, value in options.items():
        if value is not None and option not in accepted:
            known = f"only {' and '.join(accepted)}" if accepted else "nor any other option"
            raise TmiError(f"source {source.source!r}: {option} is {value!r}, but {kind} has no {option}, {known}")
    points = load(name, **{option: options[option] for option in accepted})
    if not len(points):
        raise TmiError(f"source {source.source!r}: holds no points")
    if source.words_only:
        points = _words_only(points, source.source)
    return points if source.chunk_words is None else _in_pieces(points, source.chunk_words, source.source)


def as_floats(images: NDArray[Any]) -> NDArray[np.float32]:
    """Images as float32 in [0, 1]; those that are float32 already as they are."""
    floats: NDArray[np.float32] = INTENSITIES[images] if images.dtype == np.uint8 else images
    return floats


def pieces(text: str, words: int) -> list[str]:
    """Consecutive pieces of so many words, joined by single spaces; an end that is shorter is left out."""
    found = text.split()
    return [" ".join(found[start : start + words]) for start in range(0, len(found) - words + 1, words)]


def _words_only(points: Points, source: str) -> Points:
    """Lower-case words and numbers, separated by single spaces; texts without any are left out."""
    if points.kind != "text":
        raise TmiError(f"source {source!r}: words_only is for texts; it holds {points.kind}s")
    raw = np.array([" ".join(WORDS.findall(text.lower())) for text in points.raw], dtype=object)
    return replace(points, raw=raw).take(np.flatnonzero(raw != ""))


def _in_pieces(points: Points, words: int, source: str) -> Points:
    if points.kind != "text":
        raise TmiError(f"source {source!r}: chunk_words is {words}, which is for texts; it holds {points.kind}s")
    cut = points.cut(words)
    if not len(cut):
        longest = max(len(text.split()) for text in points.raw)
        raise TmiError(
            f"source {source!r}: chunk_words is {words}, but its longest text has {longest} words: expected fewer"
        )
    return cut


def _content(point: Any) -> Any:
    """The bytes of a point, those of an image in floats."""
    return point.encode() if isinstance(point, str) else np.ascontiguousarray(as_floats(point))


def _lazy(module: str, function: str) -> Callable[..., Points]:
    """A loader whose module, and the libraries behind it, are imported on first use."""

    def load(name: str, **options: str | None) -> Points:
        loaded: Points = getattr(import_module(f"tmi.datasets.{module}"), function)(name, **options)
        return loaded

    return load


# The loader of each kind and the options that it accepts.
SOURCES: dict[str, tuple[Callable[..., Points], tuple[str, ...]]] = {
    "sklearn": (_lazy("embedded", "load_sklearn"), ()),
    "pydoc": (_lazy("embedded", "load_pydoc"), ()),
    "cifar10": (_lazy("cifar", "load_cifar10"), ("split",)),
    "cifar100": (_lazy("cifar", "load_cifar100"), ("split", "labels")),
    "imagefolder": (_lazy("images", "load_imagefolder"), ("split",)),
    "npz": (_lazy("files", "load_npz"), ("inputs", "labels")),
    "jsonl": (_lazy("texts", "load_jsonl"), ("inputs", "labels")),
    "text": (_lazy("texts", "load_text"), ()),
    "parquet": (_lazy("tables", "load_parquet"), ("inputs", "labels")),
    "hf": (_lazy("hub", "load_hf"), ("split", "inputs", "labels")),
    "python": (_lazy("functions", "load_python"), ()),
}
