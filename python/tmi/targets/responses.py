"""The classes' numbers in what an endpoint answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmi.config.target import TargetConfig
from tmi.errors import TmiError
from tmi.targets.logits import as_logits

# A value of an answer as an error message may show it.
Show = Callable[[Any], str]


def numbers_of(document: Any, config: TargetConfig, points: int, classes: int, show: Show) -> NDArray[np.float64]:
    """The numbers of an answer, one row per point, in the order of ``target.classes`` where that is given.

    Args:
        document: the JSON of the answer.
        config: says where the numbers and names are, and what the numbers mean.
        points: that were asked about.
        classes: of the task.
        show: a value as an error message may show it.

    Returns:
        ``[points, classes]``, or ``[points, 1]`` labels.

    Raises:
        TmiError: a path leads nowhere, there are more or fewer points or classes, something is no number, the names
            are others, or the numbers cannot be what they are said to mean.
    """
    scores = _per_point(document, str(config.scores), config.batched, points, "scores", show)
    names: list[Any] = [None] * points
    if config.names is not None:
        names = _per_point(document, config.names, config.batched, points, "names", show)
    rows = [_row(found, own, config, classes, show) for found, own in zip(scores, names, strict=True)]
    numbers = np.array(rows, dtype=np.float64)
    as_logits(numbers, config.meaning or "logits", classes, "the target")
    return numbers


def _row(found: Any, names: Any, config: TargetConfig, classes: int, show: Show) -> list[float]:
    """The numbers of one point."""
    if config.meaning == "label":
        labels = found if isinstance(found, list) else [found]
        if len(labels) != 1:
            raise TmiError(f"target.scores leads to {len(labels)} values, expected one label per point")
        return [_label(labels[0], config.classes, show)]
    if isinstance(found, dict) and names is None:
        if not config.classes:
            raise TmiError("target.scores leads to named numbers, which needs target.classes, the order of the names")
        names, found = list(found), list(found.values())
    values = found if isinstance(found, list) else [found]
    if len(values) != classes:
        raise TmiError(f"the answer has {len(values)} numbers for a point, expected {classes}, one per class")
    numbers = [_number(value, show) for value in values]
    if names is None:
        return numbers
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TmiError(f"target.names leads to {show(names)}, expected the names of the classes")
    if sorted(names) != sorted(config.classes):
        other = next((name for name in names if name not in config.classes), None)
        found_instead = f"{len(names)} names, some twice" if other is None else f"the class {show(other)!r}"
        raise TmiError(f"the answer has {found_instead}, expected exactly those of target.classes")
    return [numbers[names.index(name)] for name in config.classes]


def _number(value: Any, show: Show) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TmiError(f"target.scores leads to {show(value)}, expected a number")
    return float(value)


def _label(value: Any, classes: list[str], show: Show) -> float:
    if isinstance(value, str):
        if value not in classes:
            raise TmiError(f"the answer is the label {show(value)!r}, expected one of target.classes")
        return float(classes.index(value))
    return _number(value, show)


def _per_point(document: Any, path: str, batched: bool, points: int, key: str, show: Show) -> list[Any]:
    """What a path leads to for each point; of a list of points, the first ``*`` stands for them."""
    where, parts = f"target.{key} {path!r}", path.split(".")
    if not batched:
        return [_follow(document, parts, where, show)]
    star = parts.index("*")
    per_point = _follow(document, parts[:star], where, show)
    if not isinstance(per_point, list) or len(per_point) != points:
        length = f"{len(per_point)} entries" if isinstance(per_point, list) else f"no list but {show(per_point)}"
        raise TmiError(f"{where}: the answer has {length} at the first *, expected {points}, one per point sent")
    return [_follow(part, parts[star + 1 :], where, show) for part in per_point]


def _follow(document: Any, parts: list[str], where: str, show: Show) -> Any:
    """What a path leads to: a value, or with ``*`` the list of values."""
    nodes = [document]
    for part in parts:
        if part == "*":
            if wrong := [node for node in nodes if not isinstance(node, list)]:
                raise TmiError(f"{where}: the answer has {show(wrong[0])} where a list is expected for *")
            nodes = [entry for node in nodes for entry in node]
        else:
            nodes = [_step(node, part, where, show) for node in nodes]
    return nodes if "*" in parts else nodes[0]


def _step(node: Any, part: str, where: str, show: Show) -> Any:
    if isinstance(node, dict) and part in node:
        return node[part]
    if isinstance(node, list) and part.isdecimal() and int(part) < len(node):
        return node[int(part)]
    raise TmiError(f"{where}: the answer has no {part!r} in {show(node)}")
