"""``hf:NAME``: data sets of the Hugging Face hub, or folders in its formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tmi.data.points import Points
from tmi.data.tables import points_from_table
from tmi.errors import TmiError, did_you_mean, first_line


def load(
    name: str,
    split: str | None = None,
    inputs: str | None = None,
    labels: str | None = None,
    ids: str | None = None,
) -> Points:
    """``hf:NAME`` or ``hf:NAME:CONFIG``: a column of images, texts or vectors, and one of labels if any.

    Args:
        name: its name on the hub, or a folder (also one written by ``save_to_disk``), and its configuration.
        split: for instance ``train``; all if left out, ``train`` first.
        inputs: the column of the points; one with a usual name if left out.
        labels: the column of the labels; one with a usual name if left out, none if there is none.
        ids: the column that says what each point is called; none if left out.

    Raises:
        TmiError: the package ``datasets`` is not installed, the data set cannot be loaded, or a column is missing or
            of another type.
    """
    try:
        import datasets
    except ImportError:
        raise TmiError(f"source 'hf:{name}' needs the package datasets: pip install datasets") from None
    where = f"source 'hf:{name}'"
    path, _, configuration = name.partition(":")
    try:
        loaded = _load(path, configuration or None, split)
        dataset = datasets.concatenate_datasets(_splits(loaded)) if isinstance(loaded, dict) else loaded
    except TmiError as error:
        raise TmiError(f"{where}: {error}") from None
    except Exception as error:  # of the network, the hub or the files
        raise TmiError(f"{where}: cannot be loaded: {first_line(error)}{_advice(path, error)}") from None
    class_names = {
        column: list(feature.names)
        for column, feature in dataset.features.items()
        if isinstance(feature, datasets.ClassLabel)
    }
    return points_from_table(dataset.with_format("arrow")[:], class_names, where, inputs, labels, ids)


def _load(path: str, configuration: str | None, split: str | None) -> Any:
    """A ``datasets.Dataset``, or a dictionary of those of all splits."""
    import datasets

    if Path(path).is_absolute() and not Path(path).is_dir():
        raise TmiError("there is no such directory")
    if not any((Path(path) / file).is_file() for file in ("state.json", "dataset_dict.json")):
        return datasets.load_dataset(path, configuration, split=split)
    saved = datasets.load_from_disk(path)
    if split is None:
        return saved
    if not isinstance(saved, dict):
        if split != str(saved.split):
            raise TmiError(f"split is {split!r}, but one data set was saved, of split {str(saved.split)!r}")
        return saved
    if split not in saved:
        raise TmiError(f"split is {split!r}{did_you_mean(split, list(saved))}")
    return saved[split]


def _splits(loaded: dict[str, Any]) -> list[Any]:
    """The data sets of all splits, ``train`` first."""
    return [loaded[split] for split in sorted(loaded, key=lambda split: split != "train")]


def _advice(path: str, error: Exception) -> str:
    """What to do where the hub was not reached or does not know the name."""
    if Path(path).exists() or not isinstance(error, OSError):
        return ""
    return (
        f"; without network, run `hf download {path} --repo-type dataset --local-dir DIR` where there is one, copy DIR "
        "here and name it as hf:DIR"
    )
