"""Labelled points, whatever their source: ``load_points("sklearn:digits")``.

A source is named ``KIND:NAME``. Each kind is one function, named in ``SOURCES``, that takes NAME and those keys of
`SourceConfig` that mean something for it, and returns `Points`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module

import numpy as np

from tmi.config import SourceConfig
from tmi.data.points import Points
from tmi.errors import TmiError, did_you_mean

WORDS = re.compile(r"[^\W_]+")
OPTIONS = ("split", "inputs", "labels")


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


def _lazy(module: str, function: str) -> Callable[..., Points]:
    """A loader whose module, and the libraries behind it, are imported on first use."""

    def load(name: str, **options: str | None) -> Points:
        loaded: Points = getattr(import_module(f"tmi.data.sources.{module}"), function)(name, **options)
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
