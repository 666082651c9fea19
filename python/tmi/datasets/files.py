"""Points from a user's own files."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmi.datasets import PointKind, Points
from tmi.errors import TmiError


def load_npz(name: str) -> Points:
    """``npz:FILE``: arrays ``inputs`` and ``labels``, and optionally ``class_names``.

    ``inputs`` holds images (uint8, or float in [0, 1]; ``[points, height, width]`` or ``[points, channels, height,
    width]``), vectors (float ``[points, dimensions]``) or texts (a string array ``[points]``).

    Raises:
        TmiError: the file is missing or damaged, or an array is missing or has another shape or type.
    """
    path = Path(name)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except FileNotFoundError:
        raise TmiError(f"{path}: there is no such file") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise TmiError(f"{path}: not a readable .npz file of plain arrays: {error}") from None
    for key in ("inputs", "labels"):
        if key not in arrays:
            raise TmiError(f"{path}: the array {key!r} is missing, found {', '.join(sorted(arrays)) or 'none'}")

    raw, kind = _points_array(arrays["inputs"], path)
    labels = arrays["labels"]
    if labels.shape != (len(raw),):
        raise TmiError(f"{path}: 'labels' has shape {labels.shape}, expected ({len(raw)},), one per point of 'inputs'")
    if labels.dtype.kind == "U":
        return _with_named_labels(raw, [str(label) for label in labels], kind)
    if labels.dtype.kind not in "iu":
        raise TmiError(f"{path}: 'labels' has type {labels.dtype}, expected integers or strings")
    if labels.min(initial=0) < 0:
        raise TmiError(f"{path}: 'labels' holds {labels.min()}, expected numbers from 0")
    names = arrays.get("class_names", np.arange(labels.max(initial=0) + 1))
    if labels.max(initial=0) >= len(names):
        raise TmiError(f"{path}: 'labels' holds {labels.max()}, but 'class_names' has {len(names)} entries")
    return Points(raw, labels.astype(np.int64), tuple(str(name) for name in names), kind)


def load_jsonl(name: str) -> Points:
    """``jsonl:FILE``: one object per line with the strings ``text`` and ``label`` (a number is taken as a name).

    Raises:
        TmiError: the file is missing, or a line is not such an object (the line is named).
    """
    path = Path(name)
    texts: list[str] = []
    labels: list[str] = []
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    text, label = _text_and_label(line, f"{path}, line {number}")
                    texts.append(text)
                    labels.append(label)
    except FileNotFoundError:
        raise TmiError(f"{path}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise TmiError(f"{path}: cannot be read as UTF-8 text: {error}") from None
    return _with_named_labels(np.array(texts, dtype=object), labels, "text")


def _points_array(inputs: NDArray[Any], path: Path) -> tuple[NDArray[Any], PointKind]:
    if inputs.dtype.kind == "U" and inputs.ndim == 1:
        return inputs.astype(object), "text"
    if inputs.dtype == np.uint8 and inputs.ndim in (3, 4):
        return inputs.astype(np.float32) / 255, "image"
    if inputs.dtype.kind == "f" and inputs.ndim in (2, 3, 4):
        raw = inputs.astype(np.float32)
        if not np.isfinite(raw).all():
            raise TmiError(f"{path}: 'inputs' holds NaN or infinite values")
        if inputs.ndim > 2 and (raw.min(initial=0) < 0 or raw.max(initial=0) > 1):
            raise TmiError(f"{path}: 'inputs' holds values outside [0, 1], expected images in [0, 1] or uint8")
        return raw, "vector" if inputs.ndim == 2 else "image"
    raise TmiError(
        f"{path}: 'inputs' has type {inputs.dtype} and shape {inputs.shape}, expected images [points, (channels,) "
        "height, width], float vectors [points, dimensions] or a string array [points]"
    )


def _text_and_label(line: str, where: str) -> tuple[str, str]:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise TmiError(f"{where}: not a JSON object: {error}") from None
    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
        raise TmiError(f"{where}: expected an object with a string 'text'")
    if not isinstance(record.get("label"), str | int):
        raise TmiError(f"{where}: expected an object with a string or whole number 'label'")
    return record["text"], str(record["label"])


def _with_named_labels(raw: NDArray[Any], labels: list[str], kind: PointKind) -> Points:
    names = sorted(set(labels))
    position = {name: index for index, name in enumerate(names)}
    return Points(raw, np.array([position[label] for label in labels], dtype=np.int64), tuple(names), kind)
