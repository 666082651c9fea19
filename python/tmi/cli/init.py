"""``tmi init``: a configuration to start from, for data that is there."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tmi.cli.options import debuggable
from tmi.errors import TmiError

if TYPE_CHECKING:
    from tmi.config.starting import Found
    from tmi.data.points import Points

ENDINGS = {
    ".npz": "npz",
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".txt": "text",
}
# With fewer, no model learns anything, and no figure would mean anything.
FEWEST_IN_POOL, FEWEST_IN_TASK = 40, 20
# Where most texts are longer, models learn to write passages of them; shorter ends, and shorter texts, are left out.
LONGEST_WHOLE, PASSAGE = 64, 32
# Splits that data sets commonly have: to pretrain on, and for the task.
SPLITS = (("train", "test"), ("train", "validation"), ("train", "val"), ("training", "testing"))


@click.command()
@click.argument("data", required=False, metavar="[DATA]")
@click.option(
    "--task",
    metavar="DATA",
    help="What models are finetuned on, with labels unless they --write; else other points of DATA.",
)
@click.option("--write", is_flag=True, help="Finetune language models to write texts, not to tell classes apart.")
@click.option("--models", type=click.IntRange(min=3), help="Number of models; 32 if left out.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="File to write; else NAME.toml."
)
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
@debuggable
def init(data: str | None, task: str | None, write: bool, models: int | None, out: Path | None, force: bool) -> None:
    """Look at DATA and write a commented configuration for it.

    DATA is what the models are pretrained on: an .npz, .csv, .jsonl, .parquet or .txt file, a folder of images (one
    folder per class), of texts or of CIFAR, or KIND:NAME as in a configuration. hf:NAME is a data set of the Hugging
    Face hub, the only one that is downloaded. In a terminal, questions are asked if DATA is left out.
    """
    if asks := data is None:
        if not sys.stdin.isatty():
            raise TmiError("DATA is missing: name the file or folder that models are pretrained on")
        data = str(click.prompt("Data to pretrain on: a file, a folder or hf:NAME"))
        task = task or str(click.prompt("Data of the task to finetune on (empty: other points of it)", "")) or None
        models = models or click.prompt("Models (more find smaller leaks)", 32, type=click.IntRange(min=3))
        name = click.prompt("Configuration file", str(out or f"{_name_of(data)}.toml"))
        out = Path(name)
    out = out or Path(f"{_name_of(data)}.toml")
    if out.suffix != ".toml":
        raise TmiError(f"{out}: expected a file that ends in .toml")
    if out.exists() and not force:
        raise TmiError(f"{out}: is there already; --force replaces it, --out writes another file")

    from tmi.config import load_config
    from tmi.config.starting import starting_toml
    from tmi.system.files import write_text

    keys = source_of(data, out.parent)
    of_pool, of_task = (keys, None) if task is None else (keys, source_of(task, out.parent))
    if of_task is None:
        of_pool, of_task = _in_two(keys, out.parent)
    pool, points = _looked_at(of_pool, out.parent)
    if asks and pool.kind == "text" and not write:
        write = click.confirm("Finetune models to write, not to tell classes apart?", pool.classes < 2 and not task)
    if write:
        pool, points = _in_passages(pool, points)
    _require(points, FEWEST_IN_POOL, data)
    click.echo(f"pool: {points.description}")
    found, shared = None, 0
    if of_task is not None:
        found, task_points = _looked_at(of_task, out.parent)
        if write:
            found, task_points = _in_passages(found, task_points)
        _require(task_points, FEWEST_IN_TASK, task or data)
        click.echo(f"task: {task_points.description}")
        if found.classes < 2 and not write:
            raise TmiError(f"{task or data}: has no labels, which the task that models are finetuned on needs")
        if found.kind != pool.kind:
            raise TmiError(f"{task}: holds {found.kind}s, {data} {pool.kind}s: expected the same kind")
        digests = set(points.digests)
        shared = sum(digest in digests for digest in task_points.digests)
        if found.points - shared < FEWEST_IN_TASK:
            raise TmiError(
                f"{task}: {shared:,} of its {found.points:,} points are those of {data}, expected {FEWEST_IN_TASK} or "
                "more others to finetune on"
            )
    elif pool.classes < 2 and not write:
        other = ", or --write" if pool.kind == "text" else ""
        raise TmiError(f"{data}: has no labels to finetune for: name data that has some with --task DATA{other}")
    write_text(out, starting_toml(_name_of(str(out)), pool, found, models or 32, shared=shared, writes=write))
    load_config(str(out))
    click.echo(f"Wrote {out}. Next: tmi plan {out}")


def source_of(data: str, folder: Path) -> dict[str, Any]:
    """The keys of a source in a configuration that lies in ``folder``.

    Raises:
        TmiError: there is no such file, or it is not known what it holds.
    """
    from tmi.system.plugins import SOURCES, reads_files

    kind, colon, name = data.partition(":")
    path = Path(data).expanduser()
    if colon and kind in SOURCES.names() and not path.exists():
        return {"source": f"{kind}:{_seen_from(folder, Path(name).expanduser()) if reads_files(kind) else name}"}
    if path.is_dir():
        kind = _kind_of_folder(path)
    elif path.is_file():
        if (found := ENDINGS.get(path.suffix.lower())) is None:
            raise TmiError(f"{path}: expected a file that ends in {', '.join(ENDINGS)}")
        kind = found
    else:
        raise TmiError(f"{path}: there is no such file or folder; a data set of the hub is named as hf:{data}")
    # Only a folder in the formats of the hub is not found from where the configuration lies.
    return {"source": f"{kind}:{path.resolve() if kind == 'hf' else _seen_from(folder, path)}"}


def _seen_from(folder: Path, path: Path) -> str:
    """A path as a configuration in a folder names it: relative where it lies below."""
    whole, start = path.resolve(), folder.resolve()
    return str(whole.relative_to(start)) if whole.is_relative_to(start) else str(whole)


def _kind_of_folder(path: Path) -> str:
    from tmi.data.cifar import CIFAR10_LAYOUTS, CIFAR100_LAYOUTS
    from tmi.data.sources.imagefolder import SUFFIXES

    for kind, layouts in (("cifar100", CIFAR100_LAYOUTS), ("cifar10", CIFAR10_LAYOUTS)):
        for layout in layouts:
            files = (*layout.train, *layout.test)
            if any(all((place / name).is_file() for name in files) for place in (path, path / layout.folder)):
                return kind
    if any((path / name).is_file() for name in ("state.json", "dataset_dict.json")):
        return "hf"
    endings = {file.suffix.lower() for file in path.rglob("*") if file.is_file() and not file.name.startswith(".")}
    if endings & set(SUFFIXES):
        return "imagefolder"
    for ending, kind in ((".parquet", "parquet"), (".txt", "text")):
        if ending in endings:
            return kind
    inside = ", ".join(sorted(endings - {""})[:5]) or "nothing"
    raise TmiError(
        f"{path}: expected CIFAR, folders of images, or files *.parquet or *.txt; it holds {inside}, of which single "
        "files can be named"
    )


def _in_two(keys: dict[str, Any], folder: Path) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Sources of pool and task that are parts of one, where it comes in parts; else the source and None."""
    kind, _, name = keys["source"].partition(":")
    if kind == "cifar100":
        return keys | {"split": "train", "labels": "fine"}, keys | {"split": "test", "labels": "coarse"}
    if kind == "cifar10":
        return keys | {"split": "train"}, keys | {"split": "test"}
    if kind == "imagefolder":
        for first, second in SPLITS:
            if all((folder / name / split).is_dir() for split in (first, second)):
                return keys | {"split": first}, keys | {"split": second}
    return keys, None


def _looked_at(keys: dict[str, Any], folder: Path) -> tuple[Found, Points]:
    """What a source holds, as a configuration in a folder would read it, and the points themselves."""
    from tmi.config import SourceConfig
    from tmi.config.starting import Found
    from tmi.data.sources import load_points
    from tmi.system.plugins import reads_files

    kind, _, name = keys["source"].partition(":")
    whole = {"source": f"{kind}:{folder.resolve() / name}"} if reads_files(kind) else {}
    points = load_points(SourceConfig(**keys | whole))
    shape = tuple(points.raw.shape[-2:]) if points.kind == "image" else ()
    return Found(keys, points.kind, len(points), len(points.class_names), shape), points


def _in_passages(found: Found, points: Points) -> tuple[Found, Points]:
    """The same for models that write: texts, in passages if most are long."""
    if found.kind != "text":
        raise TmiError(f"{found.keys['source']}: holds {found.kind}s, and models --write texts")
    if 2 * sum(len(text.split()) > LONGEST_WHOLE for text in points.raw) <= len(points):
        return found, points
    passages = points.cut(PASSAGE)
    return replace(found, keys=found.keys | {"chunk_words": PASSAGE}, points=len(passages)), passages


def _require(points: Points, fewest: int, data: str) -> None:
    if len(points) < fewest:
        raise TmiError(f"{data}: has {len(points)} points, expected {fewest} or more")


def _name_of(data: str) -> str:
    """What a run on some data is called."""
    name = Path(data.partition(":")[2] or data).resolve().stem
    return re.sub("[^A-Za-z0-9._-]+", "-", name).strip("-.") or "audit"
