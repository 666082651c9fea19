"""Every challenge point with all that is found about it alone: the one place that makes such figures."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tmi.errors import TmiError
from tmi.metrics.points import PointVulnerability
from tmi.metrics.roc import point_aucs
from tmi.metrics.unknown_target import p_values
from tmi.report.results import Results
from tmi.runs.directory import RunDirectory
from tmi.runs.evaluate import EXPOSURE_FDR, vulnerability
from tmi.system.files import atomic, write_text


@dataclass(frozen=True)
class PointTable:
    """A line per point.

    Attributes:
        columns: ``[points]`` each, by name, in their order; NaN where a figure is not defined.
    """

    columns: dict[str, NDArray[Any]]

    def to_csv(self) -> str:
        """The table as text, numbers to six digits; empty where a figure is not defined."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(zip(*(map(_cell, column.tolist()) for column in self.columns.values()), strict=True))
        return text.getvalue()

    def to_frame(self) -> Any:
        """A ``pandas.DataFrame``, in full precision.

        Raises:
            TmiError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise TmiError(
                "a data frame needs pandas: pip install pandas; `.table.columns` holds the same as arrays"
            ) from None
        return pandas.DataFrame(self.columns)

    def save(self, directory: RunDirectory) -> None:
        """Write ``points.csv`` and, where pyarrow is installed, ``points.parquet`` in full precision."""
        write_text(directory.points, self.to_csv())
        try:
            import pyarrow
            from pyarrow import parquet
        except ImportError:
            # Not that of an earlier report beside the table of this one.
            directory.points_parquet.unlink(missing_ok=True)
            return
        table = pyarrow.table({name: _arrow(column) for name, column in self.columns.items()})
        with atomic(directory.points_parquet) as file:
            parquet.write_table(table, file)


def _arrow(column: NDArray[Any]) -> Any:
    """A column for pyarrow. Not by `pyarrow.array`, which imports pandas where there is one: a third of a second."""
    import pyarrow

    parts: list[Any]
    if column.dtype.kind in "if":
        kind, parts = pyarrow.from_numpy_dtype(column.dtype), [np.ascontiguousarray(column)]
    elif column.dtype.kind == "b":
        kind, parts = pyarrow.bool_(), [np.packbits(column, bitorder="little")]
    else:
        texts = [str(text).encode() for text in column.tolist()]
        kind, parts = pyarrow.string(), [np.cumsum([0, *map(len, texts)], dtype=np.int32), b"".join(texts)]
    return pyarrow.Array.from_buffers(kind, len(column), [None, *map(pyarrow.py_buffer, parts)])


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.6g}"
    return str(value).lower() if isinstance(value, bool) else value


def point_table(
    results: Results,
    scores: Mapping[str, NDArray[np.float64]],
    membership: NDArray[np.bool_],
    points: NDArray[np.int64],
    ids: Sequence[str],
    labels: Sequence[str],
    target_scores: Mapping[str, NDArray[np.float64]],
    shadow_scores: Mapping[str, NDArray[np.float64]],
) -> PointTable:
    """The table of an audit with shadow models.

    Its columns: ``point``, ``id`` and ``label``; how the headline attack does at the point over all targets (see
    `tmi.metrics.points.PointVulnerability`), ``exposed`` where its q-value is at most 5%, and ``auc_ATTACK`` of the
    other attacks. Of a single target, whose points have no AUC: ``member`` and ``score_ATTACK``. Of a target of unknown
    membership: ``target_p_value`` and ``target_called`` by the attack that its part of the report speaks of, and
    ``target_score_ATTACK``.

    Args:
        results: what was found.
        scores: float64 ``[targets, points]`` by attack; the targets are the first models.
        membership: bool ``[models, points]``.
        points: int64 ``[points]``, the number of each.
        ids: what each is called by who owns the data; empty where they have no names.
        labels: of each point.
        target_scores: float64 ``[points]`` by attack, of a target of unknown membership; empty without one.
        shadow_scores: float64 ``[targets, points]`` by attack, with which these are compared.
    """
    columns: dict[str, NDArray[Any]] = _names(points, ids, labels)
    name, judged = results.headline, len(scores[results.headline])
    found = vulnerability(name, scores[name], membership, results.evaluation.confidence)
    columns |= {field.name: getattr(found, field.name) for field in fields(PointVulnerability)}
    columns["exposed"] = np.nan_to_num(found.q_value, nan=1.0) <= EXPOSURE_FDR
    if judged == 1:
        columns |= {"member": membership[0], **{f"score_{each}": rows[0] for each, rows in scores.items()}}
    else:
        labelled = membership[:judged]
        columns |= {f"auc_{each}": point_aucs(rows, labelled) for each, rows in scores.items() if each != name}
    if (target := results.target) is not None:
        p = p_values(target_scores[target.attack], shadow_scores[target.attack], membership[:judged])
        columns |= {"target_p_value": p, "target_called": p <= target.fpr}
        columns |= {f"target_score_{each}": row for each, row in target_scores.items()}
    return PointTable(columns)


def table_without_shadows(
    points: NDArray[np.int64],
    ids: Sequence[str],
    labels: NDArray[np.int64],
    scores: NDArray[np.float64],
    p: NDArray[np.float64] | None,
    q: NDArray[np.float64] | None,
    fpr: float,
) -> PointTable:
    """The table of an audit without shadow models, a line per candidate.

    Its columns: ``point``, ``id``, ``label``, ``score``, and where non-members are known ``p_value``, ``q_value``,
    ``exposed`` where that is at most 5%, and ``called`` where the p-value is at most ``fpr``.
    """
    columns = _names(points, ids, labels) | {"score": scores}
    if p is not None and q is not None:
        columns |= {"p_value": p, "q_value": q, "exposed": q <= EXPOSURE_FDR, "called": p <= fpr}
    return PointTable(columns)


def _names(points: NDArray[np.int64], ids: Sequence[str], labels: ArrayLike) -> dict[str, NDArray[Any]]:
    """What the points are called; the number where nobody has given a name."""
    named = np.asarray(ids if len(ids) else points).astype(str)
    return {"point": points, "id": named, "label": np.asarray(labels)}
