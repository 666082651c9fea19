"""The pool, the challenge points and the downstream task of a run, drawn from their sources."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmi.config import Config, DownstreamConfig, PoolConfig
from tmi.datasets import Points, load_points
from tmi.errors import TmiError, did_you_mean
from tmi.seeding import stream


@dataclass(frozen=True)
class Task:
    """What a run trains and asks about.

    Attributes:
        pool: the pretraining pool.
        downstream: the finetuning task; no point of it is in the pool.
        challenge_points: int64 ``[points]``, ascending indices into the pool.
        reference_points: int64, ascending indices of pool points that are asked about but not challenged.
        duplicates: number of pool points that occur more than once; none of them is a challenge point.
        left_out: number of points of the downstream source and its classes that were left out of the downstream task
            because the pool has the same content. The pool's own points do not count where pool and downstream are
            drawn from the same split.
    """

    pool: Points
    downstream: Points
    challenge_points: NDArray[np.int64]
    reference_points: NDArray[np.int64]
    duplicates: int
    left_out: int

    @property
    def challenges(self) -> Points:
        """The challenge points themselves."""
        return self.pool.take(self.challenge_points)

    @property
    def references(self) -> Points:
        """The reference points themselves."""
        return self.pool.take(self.reference_points)


def load_task(config: Config) -> Task:
    """Draw the pool, the challenge points and the downstream points with the configuration's seed.

    A point is in the pool or in the downstream task, never in both, whatever its label. What is in both of two parts
    of one source is left out of the downstream task; two sources that share points are refused, since nobody would
    expect it.

    Raises:
        TmiError: a source has fewer points or classes than asked for, the points of pool and downstream are of
            different kinds or sizes, or the pool and the downstream task of different sources share points.
    """
    source = load_points(config.pool)
    if _same_points(config):
        # Hashed as a whole, so that what is taken from it for the pool and for downstream is not hashed again.
        _ = source.digests
    pool_classes = _chosen_classes(source, config.pool.classes, "pool")
    pool_indices = _draw(_of_classes(source, pool_classes), config.pool.size, config.seed, "pool")
    pool = _restrict(source, pool_indices, pool_classes)
    challenge_points, duplicates = _challenge_points(pool, config.pool, config.seed)
    downstream_source = _downstream_source(config, source)
    _require_alike(downstream_source, pool)
    own = pool_indices if _same_points(config) else np.empty(0, dtype=np.int64)
    downstream, left_out = _draw_downstream(config, downstream_source, pool, own)
    reference_points = _reference_points(pool, challenge_points, config)
    return Task(pool, downstream, challenge_points, reference_points, duplicates, left_out)


def _same_points(config: Config) -> bool:
    """Whether pool and downstream are drawn from the same points, be they labelled alike or not."""
    pool, downstream = config.pool, config.downstream
    return (pool.source, pool.split, pool.inputs) == (downstream.source, downstream.split, downstream.inputs)


def _downstream_source(config: Config, pool_source: Points) -> Points:
    wanted = config.downstream
    if not _same_points(config):
        return load_points(wanted)
    if wanted.labels == config.pool.labels:
        return pool_source
    relabelled = load_points(wanted)
    return pool_source.relabelled(relabelled.labels, relabelled.class_names)


def _require_alike(downstream: Points, pool: Points) -> None:
    if downstream.kind != pool.kind:
        raise TmiError(f"downstream.source holds {downstream.kind}s, the pool {pool.kind}s: expected the same kind")
    if downstream.raw.shape[1:] != pool.raw.shape[1:]:
        raise TmiError(
            f"downstream.source holds {_described(downstream)}, the pool {_described(pool)}: expected the same, since "
            "one network reads both"
        )


def _described(points: Points) -> str:
    if points.kind == "vector":
        return f"vectors of {points.raw.shape[1]} numbers"
    *channels, height, width = points.raw.shape[1:]
    return f"images of {width} x {height} pixels with {channels[0] if channels else 'no axis for'} channels"


def _draw_downstream(config: Config, source: Points, pool: Points, own: NDArray[np.int64]) -> tuple[Points, int]:
    """The downstream task, and how many points were left out of it; ``own``: the indices of the pool's points."""
    wanted = config.downstream
    classes = _downstream_classes(config, source, pool)
    in_pool = set(pool.digests)
    candidates = _of_classes(source, classes)
    outside = np.array([index for index in candidates if source.digests[index] not in in_pool], dtype=np.int64)
    shared = len(candidates) - len(outside)
    if shared and wanted.source != config.pool.source:
        raise TmiError(
            f"downstream.source {wanted.source!r} has {shared} points in common with the pool {config.pool.source!r}, "
            "expected none: finetuning on pretraining data would be measured as a leak of pretraining"
        )
    points = _restrict(source, _draw(outside, wanted.size, config.seed, "downstream"), classes)
    if wanted.points_per_model is not None and wanted.points_per_model >= len(points):
        raise TmiError(
            f"downstream.points_per_model is {wanted.points_per_model}, expected fewer than the {len(points)} points "
            "of the downstream task: the others measure the downstream accuracy"
        )
    return _relabel(points, wanted, source.class_names), shared - int(np.isin(own, candidates).sum())


def _downstream_classes(config: Config, source: Points, pool: Points) -> list[int]:
    wanted = config.downstream
    if wanted.classes != "others":
        return _chosen_classes(source, wanted.classes, "downstream")
    if (wanted.source, wanted.labels) != (config.pool.source, config.pool.labels):
        raise TmiError("downstream.classes is 'others', which needs the same source and labels as the pool")
    return [label for label, name in enumerate(source.class_names) if name not in pool.class_names]


def _challenge_points(pool: Points, wanted: PoolConfig, seed: int) -> tuple[NDArray[np.int64], int]:
    occurrences = Counter(pool.digests)
    unique = np.array([i for i, digest in enumerate(pool.digests) if occurrences[digest] == 1], dtype=np.int64)
    number = len(unique) if wanted.challenge_points is None else wanted.challenge_points
    if number > len(unique):
        raise TmiError(
            f"pool.challenge_points is {number}, but the pool has only {len(unique)} points that are no duplicates"
        )
    chosen = stream(seed, "challenge points").permutation(unique)[:number]
    return np.sort(chosen), len(pool) - len(unique)


def _reference_points(pool: Points, challenge_points: NDArray[np.int64], config: Config) -> NDArray[np.int64]:
    unchallenged = np.setdiff1d(np.arange(len(pool)), challenge_points)
    number = config.query.reference_points
    if number > len(unchallenged):
        raise TmiError(
            f"query.reference_points is {number}, but only {len(unchallenged)} points of the pool are not challenged; "
            "pool.challenge_points leaves more"
        )
    return np.sort(stream(config.seed, "reference points").permutation(unchallenged)[:number])


def _chosen_classes(source: Points, wanted: int | list[str] | None, table: str) -> list[int]:
    """Labels of the wanted classes, ascending."""
    names = source.class_names
    if wanted is None:
        return list(range(len(names)))
    if isinstance(wanted, list):
        if missing := [name for name in wanted if name not in names]:
            raise TmiError(f"{table}.classes: the source has no class {missing[0]!r}, only {', '.join(names)}")
        return sorted(names.index(name) for name in wanted)
    if not 2 <= wanted <= len(names):
        raise TmiError(f"{table}.classes is {wanted}, expected 2 to {len(names)}, the number of classes in the source")
    # Spread over the classes by size, so that the classes that are left make a downstream task of the same sort.
    sizes = np.bincount(source.labels, minlength=len(names))
    by_size = np.argsort(-sizes, kind="stable")
    return sorted(int(by_size[rank * len(names) // wanted]) for rank in range(wanted))


def _of_classes(source: Points, classes: list[int]) -> NDArray[np.int64]:
    return np.flatnonzero(np.isin(source.labels, classes))


def _draw(candidates: NDArray[np.int64], size: int | None, seed: int, table: str) -> NDArray[np.int64]:
    if size is not None and size > len(candidates):
        raise TmiError(f"{table}.size is {size}, but its source has only {len(candidates)} points of its classes")
    return stream(seed, table).permutation(candidates)[:size]


def _restrict(source: Points, indices: NDArray[np.int64], classes: list[int]) -> Points:
    """The points at ``indices`` with labels 0, 1, ... for ``classes``."""
    points = source.take(indices)
    return points.relabelled(np.searchsorted(classes, points.labels), tuple(source.class_names[c] for c in classes))


def _relabel(points: Points, wanted: DownstreamConfig, source_names: tuple[str, ...]) -> Points:
    if wanted.relabel is None:
        return points
    if isinstance(wanted.relabel, str):
        return _rename(points, Path(wanted.relabel), source_names)
    if len(wanted.relabel) != len(points.class_names):
        raise TmiError(
            f"downstream.relabel has {len(wanted.relabel)} entries, expected {len(points.class_names)}, one per class"
        )
    names = tuple(
        "/".join(old for old, new in zip(points.class_names, wanted.relabel, strict=True) if new == label)
        for label in range(max(wanted.relabel) + 1)
    )
    return points.relabelled(np.array(wanted.relabel, dtype=np.int64)[points.labels], names)


def _rename(points: Points, path: Path, source_names: tuple[str, ...]) -> Points:
    """The points with the class names of a mapping file, which may also have classes that the task does not use."""
    new_names = _read_mapping(path)
    if missing := [name for name in points.class_names if name not in new_names]:
        raise TmiError(f"{path}: the class {missing[0]!r} of the downstream task is missing ({len(missing)} in all)")
    if unknown := [name for name in new_names if name not in source_names]:
        raise TmiError(
            f"{path}: the downstream source has no class {unknown[0]!r}{did_you_mean(unknown[0], list(source_names))}"
        )
    names = list(dict.fromkeys(new_names[name] for name in points.class_names))
    new_labels = np.array([names.index(new_names[name]) for name in points.class_names], dtype=np.int64)
    return points.relabelled(new_labels[points.labels], tuple(names))


def _read_mapping(path: Path) -> dict[str, str]:
    try:
        mapping = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=lambda pairs: _unique(pairs, path))
    except FileNotFoundError:
        raise TmiError(f"downstream.relabel: {path}: there is no such file") from None
    except (OSError, ValueError) as error:
        raise TmiError(f"{path}: cannot be read as JSON: {error}") from None
    if not isinstance(mapping, dict) or not all(isinstance(name, str) for name in mapping.values()):
        raise TmiError(f'{path}: expected an object of strings, {{"old class name": "new class name"}}')
    return mapping


def _unique(pairs: list[tuple[str, Any]], path: Path) -> dict[str, Any]:
    for name, occurrences in Counter(name for name, _ in pairs).items():
        if occurrences > 1:
            raise TmiError(f"{path}: the class {name!r} is listed {occurrences} times, expected once")
    return dict(pairs)
