"""Points from arrays: what is checked, whatever file or function the arrays come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tmi.data.points import PointKind, Points
from tmi.errors import TmiError
from tmi.predictions.intake import as_ids

CHANNELS = (1, 3, 4)
# All numbers up to the highest are classes with names, those that no point has among them.
MOST_CLASSES = 1 << 20
# The single class of points that have no labels.
UNLABELLED = "unlabelled"


def points_from_arrays(
    inputs: NDArray[Any],
    labels: NDArray[Any],
    class_names: Sequence[Any] | NDArray[Any] | None,
    where: str,
    keys: tuple[str, str] = ("inputs", "labels"),
) -> Points:
    """Points of whatever kind the inputs are.

    Args:
        inputs: images (uint8, or float in [0, 1]; ``[points, height, width]`` or ``[points, channels, height,
            width]``), vectors (float ``[points, dimensions]``) or strings ``[points]``.
        labels: whole numbers from 0, or strings, ``[points]``.
        class_names: one per number; the numbers themselves if None. Strings are their own names, sorted.
        where: begins every error message.
        keys: what inputs and labels are called in error messages.

    Raises:
        TmiError: a shape, type or value that does not fit.
    """
    raw, kind = _checked_inputs(inputs, where, keys[0])
    return labelled(raw, kind, labels, class_names, where, keys[1])


def labelled(
    raw: NDArray[Any],
    kind: PointKind,
    labels: NDArray[Any],
    class_names: Sequence[Any] | NDArray[Any] | None,
    where: str,
    key: str = "labels",
) -> Points:
    """Points whose inputs are known to be good; see `points_from_arrays`.

    Raises:
        TmiError: a number of labels, type or value that does not fit.
    """
    if labels.shape != (len(raw),):
        raise TmiError(f"{where}: {key!r} has shape {labels.shape}, expected ({len(raw)},), one per point")
    if labels.dtype.kind == "U" or _are_strings(labels):
        return with_named_labels(raw, [str(label) for label in labels], kind)
    if labels.dtype.kind not in "iu":
        raise TmiError(f"{where}: {key!r} has type {labels.dtype}, expected integers or strings")
    if labels.min(initial=0) < 0:
        raise TmiError(f"{where}: {key!r} holds {labels.min()}, expected numbers from 0")
    if (highest := int(labels.max(initial=0))) >= MOST_CLASSES:
        raise TmiError(f"{where}: {key!r} holds {highest}, expected numbers below {MOST_CLASSES:,}")
    names = range(highest + 1) if class_names is None else class_names
    if isinstance(names, np.ndarray) and names.ndim != 1:
        raise TmiError(f"{where}: 'class_names' has shape {names.shape}, expected [classes]")
    if highest >= len(names):
        raise TmiError(f"{where}: {key!r} holds {highest}, but 'class_names' has {len(names)} entries")
    return Points(raw, labels.astype(np.int64), tuple(str(name) for name in names), kind)


def with_named_labels(raw: NDArray[Any], labels: Sequence[str], kind: PointKind) -> Points:
    """Points whose labels are names; the classes are in sorted order."""
    names = sorted(set(labels))
    position = {name: index for index, name in enumerate(names)}
    return Points(raw, np.array([position[label] for label in labels], dtype=np.int64), tuple(names), kind)


def unlabelled(raw: NDArray[Any], kind: PointKind) -> Points:
    """Points without labels: all of a single class."""
    return Points(raw, np.zeros(len(raw), dtype=np.int64), (UNLABELLED,), kind)


def with_ids(points: Points, ids: ArrayLike, where: str, key: str = "ids") -> Points:
    """The same points, called as their owner calls them; several may be called alike.

    Raises:
        TmiError: not one per point, neither whole numbers nor strings, or one is empty.
    """
    return replace(points, ids=np.array(as_ids(ids, len(points), f"{where}: {key!r}"), dtype=object))


def checked_text(text: str, where: str) -> str:
    """The text itself.

    Raises:
        TmiError: it has no words, or half of a character, which JSON can hold and UTF-8 cannot.
    """
    if not text.strip():
        raise TmiError(f"{where}: the text is empty, expected at least one word")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        found = text[error.start]
        raise TmiError(f"{where}: the text holds {found!a}, half of a character, expected UTF-8 text") from None
    return text


def _checked_inputs(inputs: NDArray[Any], where: str, key: str) -> tuple[NDArray[Any], PointKind]:
    if inputs.ndim == 1 and (inputs.dtype.kind == "U" or _are_strings(inputs)):
        texts = [checked_text(str(text), f"{where}: {key!r}, point {index}") for index, text in enumerate(inputs)]
        return np.array(texts, dtype=object), "text"
    is_image = inputs.ndim in (3, 4)
    if inputs.ndim == 4 and inputs.shape[1] not in CHANNELS and inputs.shape[3] in CHANNELS:
        raise TmiError(
            f"{where}: {key!r} has shape {inputs.shape}, expected the channels before the height: "
            f"{key}.transpose(0, 3, 1, 2)"
        )
    if inputs.dtype == np.uint8 and is_image:
        return inputs, "image"
    if inputs.dtype.kind == "f" and (is_image or inputs.ndim == 2):
        with np.errstate(over="ignore", invalid="ignore"):
            raw = inputs.astype(np.float32)
        if not np.isfinite(raw).all():
            raise TmiError(f"{where}: {key!r} holds NaN or infinite values")
        if is_image and (raw.min(initial=0) < 0 or raw.max(initial=0) > 1):
            raise TmiError(f"{where}: {key!r} holds values outside [0, 1], expected images in [0, 1] or uint8")
        return raw, "image" if is_image else "vector"
    raise TmiError(
        f"{where}: {key!r} has type {inputs.dtype} and shape {inputs.shape}, expected images [points, (channels,) "
        "height, width], float vectors [points, dimensions] or a string array [points]"
    )


def _are_strings(array: NDArray[Any]) -> bool:
    return array.dtype == object and all(isinstance(entry, str) for entry in array.flat)
