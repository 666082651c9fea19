"""Labelled points, whatever their source: ``load_points("sklearn:digits")``.

A source is named ``KIND:NAME``. Each kind is a module of this folder, or one that another distribution names as an
entry point ``tmi.sources``. It has a function ``load(name, ...) -> Points``, whose further arguments are those of
``OPTIONS`` that the kind accepts, and ``READS_FILES = True`` if NAME is a path.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import replace

import numpy as np

from tmi.config import SourceConfig
from tmi.data.points import Points
from tmi.errors import TmiError, did_you_mean
from tmi.system.plugins import SOURCES

WORDS = re.compile(r"[^\W_]+")
# Arguments of ``load``, by the key of the configuration that they are given from. Responses are read as other inputs.
OPTIONS = {"split": "split", "inputs": "inputs", "labels": "labels", "id": "ids", "response": "inputs"}


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
    if kind not in SOURCES.names():
        raise TmiError(f"source {source.source!r}: unknown kind {kind!r}{did_you_mean(kind, SOURCES.names())}")
    load = SOURCES.load(kind, "load").load
    parameters = inspect.signature(load).parameters
    accepted = [option for option, argument in OPTIONS.items() if argument in parameters]
    # Only a pool has ids, only a downstream task responses.
    options = {option: getattr(source, option, None) for option in OPTIONS}
    for option, value in options.items():
        if value is not None and option not in accepted:
            known = f"only {' and '.join(accepted)}" if accepted else "nor any other option"
            raise TmiError(f"source {source.source!r}: {option} is {value!r}, but {kind} has no {option}, {known}")
    arguments = {OPTIONS[option]: options[option] for option in accepted if option != "response"}
    points = load(name, **arguments)
    if not isinstance(points, Points):
        raise TmiError(
            f"source {source.source!r}: {kind} loads a {type(points).__name__}, expected tmi.data.points.Points"
        )
    if not len(points):
        raise TmiError(f"source {source.source!r}: holds no points")
    if (response := options["response"]) is not None:
        try:
            points = _with_responses(points, load(name, **(arguments | {"inputs": response})))
        except TmiError as error:
            raise TmiError(f"downstream.response is {response!r}: {error}") from None
    if source.words_only:
        points = _words_only(points, source.source)
    return points if source.chunk_words is None else _in_pieces(points, source.chunk_words, source.source)


def _with_responses(prompts: Points, responses: Points) -> Points:
    """Prompts, each with its response in a new line unless there is white space between them already."""
    for found in (prompts, responses):
        if found.kind != "text":
            raise TmiError(f"the source holds {found.kind}s, expected texts")
    pairs = list(zip(prompts.raw, responses.raw, strict=True))
    begun = [prompt if prompt[-1:].isspace() or response[:1].isspace() else f"{prompt}\n" for prompt, response in pairs]
    raw = np.array([prompt + response for prompt, (_, response) in zip(begun, pairs, strict=True)], dtype=object)
    return replace(prompts, raw=raw, prompts=np.array([len(prompt) for prompt in begun], dtype=np.int64))


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
