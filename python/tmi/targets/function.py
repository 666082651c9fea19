"""A target that is a Python function of the user."""

from __future__ import annotations

import hashlib
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmi.config.target import TargetConfig
from tmi.errors import TmiError
from tmi.system.user_code import call_named, folders
from tmi.targets.logits import as_logits
from tmi.targets.rendering import PointKind
from tmi.targets.texts import Texts, checked


def call_function(config: TargetConfig, batch: NDArray[Any], kind: PointKind, classes: int) -> NDArray[np.float64]:
    """What the function returns for some raw points.

    Args:
        config: names the function, which is called as ``function(inputs=...)``: with a list of texts, or an array of
            images or vectors.
        batch: raw points ``[points, ...]``.
        kind: what they are.
        classes: of the task.

    Returns:
        ``[points, classes]``, or ``[points, 1]`` labels.

    Raises:
        TmiError: there is no such function, it fails, or it returns something else than the numbers expected.
    """
    where = f"target.function {config.function!r}"
    inputs = batch.tolist() if kind == "text" else batch
    result = call_named(str(config.function), where, inputs=inputs)
    try:
        numbers = np.asarray(result, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TmiError(f"{where}: the function returned no array of numbers: {error}") from None
    is_label = config.meaning == "label"
    expected = (len(batch),) if is_label else (len(batch), classes)
    if is_label and numbers.shape == (len(batch), 1):
        numbers = numbers[:, 0]
    if numbers.shape != expected:
        raise TmiError(f"{where}: the function returned shape {numbers.shape} for {len(batch)} points, not {expected}")
    numbers = numbers.reshape(len(batch), -1)
    # What cannot be used is not kept either.
    as_logits(numbers, config.meaning or "logits", classes, where)
    return numbers


def call_about_tokens(config: TargetConfig, batch: NDArray[Any], texts: Texts) -> NDArray[np.float64]:
    """What the function says about the tokens of some texts.

    Args:
        config: names the function, which is called as ``function(inputs=...)`` with a list of texts and returns, for
            each, a list of the log-probabilities of its tokens but the first.
        batch: some texts.
        texts: has their tokens.

    Returns:
        ``[points, Texts.width]``.

    Raises:
        TmiError: there is no such function, it fails, or returns something else.
    """
    where, asked = f"target.function {config.function!r}", batch.tolist()
    result = call_named(str(config.function), where, inputs=asked)
    if not hasattr(result, "__len__") or len(result) != len(asked):
        raise TmiError(f"{where}: the function returned no list of {len(asked)} lists, one for each text")
    rows = []
    for text, values in zip(asked, result, strict=True):
        number = len(texts.ids[text]) - 1
        rows.append(texts.answer(checked(values, number, f"{where}: for a text there is"), np.full(number, -1.0)))
    return np.array(rows)


def function_identity(function: str) -> str:
    """A function's name with a hash of the file of its module: answers of changed code are not used again."""
    path: list[str] = [*folders(), *sys.path]
    spec = None
    parts = function.split(".")[:-1]
    for length in range(1, len(parts) + 1):
        spec = PathFinder.find_spec(".".join(parts[:length]), path)
        if spec is None:
            break
        path = list(spec.submodule_search_locations or [])
    source = Path(spec.origin) if spec is not None and spec.origin else None
    code = source.read_bytes() if source is not None and source.is_file() else b""
    return f"python {function} {hashlib.sha256(code).hexdigest()}"
