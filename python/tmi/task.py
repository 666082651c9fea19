"""The pool, the challenge points and the downstream task of a run, drawn from their sources."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tmi.config import Config, DownstreamConfig, PoolConfig
from tmi.datasets import Points, load_points
from tmi.errors import TmiError
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
    """

    pool: Points
    downstream: Points
    challenge_points: NDArray[np.int64]
    reference_points: NDArray[np.int64]
    duplicates: int

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

    Raises:
        TmiError: a source has fewer points or classes than asked for, or the pool and the downstream task of
            different sources share points.
    """
    source = load_points(config.pool.source)
    pool_classes = _chosen_classes(source, config.pool.classes, "pool")
    pool_indices = _draw(_of_classes(source, pool_classes), config.pool.size, config.seed, "pool")
    pool = _restrict(source, pool_indices, pool_classes)
    challenge_points, duplicates = _challenge_points(pool, config.pool, config.seed)
    downstream = _load_downstream(config, source, pool, pool_classes)
    reference_points = _reference_points(pool, challenge_points, config)
    return Task(pool, downstream, challenge_points, reference_points, duplicates)


def _load_downstream(config: Config, pool_source: Points, pool: Points, pool_classes: list[int]) -> Points:
    wanted = config.downstream
    same_source = wanted.source == config.pool.source
    source = pool_source if same_source else load_points(wanted.source)
    if source.kind != pool.kind:
        raise TmiError(f"downstream.source holds {source.kind}s, the pool {pool.kind}s: expected the same kind")
    if wanted.classes == "others":
        if not same_source:
            raise TmiError("downstream.classes is 'others', which needs the same source as the pool")
        classes = [label for label in range(len(source.class_names)) if label not in pool_classes]
    else:
        classes = _chosen_classes(source, wanted.classes, "downstream")

    in_pool = set(pool.digests)
    candidates = _of_classes(source, classes)
    outside = np.array([index for index in candidates if source.digests[index] not in in_pool], dtype=np.int64)
    if not same_source and (shared := len(candidates) - len(outside)):
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
    return _relabel(points, wanted)


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


def _relabel(points: Points, wanted: DownstreamConfig) -> Points:
    if wanted.relabel is None:
        return points
    if len(wanted.relabel) != len(points.class_names):
        raise TmiError(
            f"downstream.relabel has {len(wanted.relabel)} entries, expected {len(points.class_names)}, one per class"
        )
    names = tuple(
        "/".join(old for old, new in zip(points.class_names, wanted.relabel, strict=True) if new == label)
        for label in range(max(wanted.relabel) + 1)
    )
    return points.relabelled(np.array(wanted.relabel, dtype=np.int64)[points.labels], names)
