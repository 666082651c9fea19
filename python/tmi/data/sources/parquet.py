"""``parquet:FILE``: points from the columns of Parquet files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tmi.data.points import Points
from tmi.data.tables import points_from_table
from tmi.errors import TmiError
from tmi.predictions.formats.files import read_parquet
from tmi.system.files import parse_json

# NAME is a path, relative to the configuration's file.
READS_FILES = True


def load(name: str, inputs: str | None = None, labels: str | None = None, ids: str | None = None) -> Points:
    """``parquet:FILE``: a column of images, texts or vectors, and one of labels if any; see `points_from_table`.

    Args:
        name: a file, or a folder whose files ``*.parquet`` are read in the order of their names.
        inputs: the column of the points; one with a usual name if left out.
        labels: the column of the labels; one with a usual name if left out, none if there is none.
        ids: the column that says what each point is called; none if left out.

    Raises:
        TmiError: pyarrow is not installed, or a file or column is missing, damaged or of another type.
    """
    try:
        import pyarrow
    except ImportError:
        raise TmiError(f"source 'parquet:{name}' needs pyarrow: pip install pyarrow") from None
    path = Path(name)
    if not path.exists():
        raise TmiError(f"{path}: there is no such file or directory")
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise TmiError(f"{path}: holds no files *.parquet")
    tables = []
    for file in files:
        tables.append(read_parquet(file))
        if tables[-1].schema != tables[0].schema:
            raise TmiError(f"{file}: has other columns or types than {files[0]}, expected the same in all files")
    table = pyarrow.concat_tables(tables)
    return points_from_table(table, _names_in_metadata(table), str(path), inputs, labels, ids)


def _names_in_metadata(table: Any) -> dict[str, list[str]]:
    """The class names that the package ``datasets`` writes into the files."""
    try:
        text = (table.schema.metadata or {})[b"huggingface"].decode()
        features = parse_json(text, "metadata")["info"]["features"]
        return {
            column: [str(name) for name in feature["names"]]
            for column, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (KeyError, TypeError, AttributeError, ValueError, TmiError):
        return {}
