"""``python:module.function``: points from a user's own Python function."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmi.data.arrays import points_from_arrays, with_ids
from tmi.data.points import Points
from tmi.errors import TmiError
from tmi.system.user_code import call_named


def load(name: str) -> Points:
    """``python:module.function``: what that function returns when it is called without arguments.

    It returns `Points`, or ``(inputs, labels)`` or ``(inputs, labels, class_names)`` as in
    `tmi.data.arrays.points_from_arrays`. Modules beside the configuration's file and in the current directory
    are found. The function must return the same points whenever it is called: every worker process calls it.

    Args:
        name: the function, with its module.

    Raises:
        TmiError: there is no such module or function, it fails, or what it returns does not fit.
    """
    where = f"source 'python:{name}'"
    result = call_named(name, where)
    if isinstance(result, Points):
        parts: tuple[Any, ...] = (result.raw, result.labels, result.class_names)
    elif isinstance(result, tuple) and len(result) in (2, 3):
        parts = result
    else:
        raise TmiError(
            f"{where}: the function returned a {type(result).__name__}, expected (inputs, labels), "
            "(inputs, labels, class_names) or tmi.data.points.Points"
        )
    inputs, labels, *names = parts
    try:
        arrays = _array(inputs), _array(labels)
    except ValueError as error:
        raise TmiError(f"{where}: the function returned no arrays: {error}") from None
    points = points_from_arrays(*arrays, names[0] if names else None, where)
    own = result.ids if isinstance(result, Points) else None
    return points if own is None else with_ids(points, own, where)


def _array(values: Any) -> NDArray[Any]:
    """Values as an array; strings as objects, since an array of characters is as wide as its longest string."""
    is_texts = isinstance(values, list | tuple) and all(isinstance(value, str) for value in values)
    return np.array(values, dtype=object) if is_texts else np.asarray(values)
