"""PrivacyGuard: data frames with ``score_orig``, ``score_ref_i`` and ``member_ref_i``, a row per point.

``score_orig`` is the answer of the model under attack. Its members and non-members are frames of their own there
(``df_train_merge``, ``df_test_merge``): a folder with a file of either name is read as both.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmi.errors import TmiError
from tmi.predictions.formats.files import TABLE_SUFFIXES, read_table
from tmi.predictions.formats.reading import Layout, Reading, SavedArrays
from tmi.predictions.intake import as_membership

ORIGINAL = "score_orig"
# What the frames of its LiRA have in place of the scores of each reference; offline they have score_mean alone.
SUMMARIES = ("score_mean_in", "score_mean")
SCORE = re.compile(r"score_ref_(\d+)")
MEMBER_OF_TARGET = ("member_orig", "is_member", "member")


def _frames(path: Path) -> list[Path]:
    """One file, or those of the target's members and of its non-members in a folder."""
    if path.is_file():
        return [path] if path.suffix in TABLE_SUFFIXES else []
    files = sorted(file for suffix in TABLE_SUFFIXES for file in path.glob(f"*{suffix}"))
    pairs = [[file for file in files if word in file.stem] for word in ("train", "test")]
    return [pairs[0][0], pairs[1][0]] if [len(pair) for pair in pairs] == [1, 1] else []


def detect(path: Path, membership: Path | None) -> bool:
    """A table, or a folder with one of the members and one of the non-members."""
    return bool(_frames(path))


def read(path: Path, membership: Path | None, labels: Path | None) -> SavedArrays:
    """Read a frame, or the two of a folder one after the other."""
    reading = Reading()
    frames = _frames(path)
    if not frames:
        raise TmiError(f"{path}: expected a .csv or .parquet file, or a folder with one named train and one named test")
    tables = [read_table(frame) for frame in frames]
    reading.files += frames
    numbers = sorted(int(found[1]) for name in tables[0] if (found := SCORE.fullmatch(name)))
    summary = next((name for name in SUMMARIES if name in tables[0]), None)
    if not numbers and summary is not None:
        raise TmiError(
            f"{frames[0]}: has means and deviations over the references ({summary}, …), from which no answer of a "
            "single reference can be had; save the frames of prepare_rmia_data, with score_ref_0, member_ref_0, …"
        )
    if not numbers:
        raise TmiError(f"{frames[0]}: has no columns score_ref_0, score_ref_1 and so on")

    def rows(names: list[str]) -> NDArray[Any]:
        """Columns as ``[columns, points]``, the frames one after the other."""
        return np.concatenate([_columns(table, names, frame) for table, frame in zip(tables, frames, strict=True)], 1)

    scores = rows([f"score_ref_{number}" for number in numbers])
    has_target = ORIGINAL in tables[0]
    if has_target:
        scores = np.concatenate([rows([ORIGINAL]), scores])
    # Together, so that the target's scores are read in the same way as those of the others.
    logits = [np.ascontiguousarray(model[:, None]) for model in reading.signals(scores, str(path))]
    models = logits[1:] if has_target else logits
    if has_target:
        reading.note(f"{ORIGINAL} is the model under attack.")
    if len(frames) == 2:
        reading.note(f"The points of {frames[0].name} are its members, those of {frames[1].name} its non-members.")
    shape = (len(models), len(models[0]))
    given, _ = reading.given(membership, None, shape)
    if given is None:
        members = rows([f"member_ref_{number}" for number in numbers])
        given = as_membership(members, shape, str(path), reading.note)
    return reading.result(
        "PrivacyGuard",
        models,
        given,
        np.zeros(shape[1], dtype=np.int64),
        "two, made of score_ref_*",
        target=logits[0] if has_target else None,
        target_membership=_target_membership(reading, tables, frames) if has_target else None,
    )


def _target_membership(
    reading: Reading, tables: list[dict[str, NDArray[Any]]], frames: list[Path]
) -> NDArray[np.bool_] | None:
    lengths = [len(table[ORIGINAL]) for table in tables]
    if len(frames) == 2:
        return np.repeat(np.array([True, False]), lengths)
    column = next((name for name in MEMBER_OF_TARGET if name in tables[0]), None)
    if column is None:
        return None
    reading.note(f"{column} tells what the model under attack was trained on.")
    values = _columns(tables[0], [column], frames[0])
    return as_membership(values, (1, lengths[0]), f"{frames[0]}: column {column!r}", reading.note).reshape(-1)


def _columns(table: dict[str, NDArray[Any]], names: list[str], where: Path) -> NDArray[np.float64]:
    for name in names:
        if name not in table:
            raise TmiError(f"{where}: the column {name!r} is missing")
        if table[name].dtype != np.float64 or not len(table[name]):
            raise TmiError(f"{where}: the column {name!r} holds {table[name].dtype}, expected a number in every row")
    return np.stack([table[name] for name in names])


LAYOUT = Layout(
    "privacyguard",
    "a .csv or .parquet file with score_orig, score_ref_* and member_ref_*, or train and test",
    detect,
    read,
)
