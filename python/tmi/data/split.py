"""The pool, the challenge points and the downstream task of a run, drawn from their sources."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmi.config import Config, DownstreamConfig, PoolConfig, SourceConfig
from tmi.data.arrays import UNLABELLED
from tmi.data.overlap import WordRuns
from tmi.data.points import Points
from tmi.data.sources import load_points
from tmi.errors import TmiError, did_you_mean
from tmi.system.files import LARGEST_JSON, parse_json, read_text
from tmi.system.seeding import stream

# Points that an error message lists.
MOST_LISTED = 10


@dataclass(frozen=True)
class Task:
    """What a run trains and asks about.

    Attributes:
        pool: the pretraining pool.
        downstream: the finetuning task; no point of it is in the pool.
        challenge_points: int64 ``[points]``, ascending indices into the pool.
        reference_points: int64, ascending indices of pool points that are asked about but not challenged.
        duplicates: number of pool points that occur more than once, or that have ``pool.overlap_words`` words in a row
            in common with another one; none of them is a challenge point.
        left_out: number of points of the downstream source and its classes that were left out of the downstream task
            because the pool has the same content, or so many words in a row of it. The pool's own points do not count
            where pool and downstream are drawn from the same split.
        known_members: bool ``[points]`` of the pool, whether each was in the pretraining data of the given model; None
            where shadow models are pretrained.
    """

    pool: Points
    downstream: Points
    challenge_points: NDArray[np.int64]
    reference_points: NDArray[np.int64]
    duplicates: int
    left_out: int
    known_members: NDArray[np.bool_] | None = None

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
    expect it. Texts of either that share ``pool.overlap_words`` words in a row with the pool are left out: that much
    boilerplate is to be expected of two sources.

    Raises:
        TmiError: a source has fewer points or classes than asked for, or no labels where classes are to be learned,
            the points of pool and downstream are of different kinds or sizes, or the pool and the downstream task of
            different sources share points.
    """
    _require_alike_cut(config)
    source, members = _pool_source(config.pool)
    if _same_points(config):
        # Hashed as a whole, so that what is taken from it for the pool and for downstream is not hashed again.
        _ = source.digests
    pool_classes = _chosen_classes(source, config.pool.classes, "pool")
    candidates = _of_classes(source, pool_classes)
    if members is None:
        pool_indices = _draw(candidates, config.pool.size, config.seed, "pool")
    else:
        # As many members as non-members, or all of both.
        half = None if config.pool.size is None else config.pool.size // 2
        sides = [candidates[members[candidates] == side] for side in (True, False)]
        pool_indices = np.concatenate([_draw(side, half, config.seed, "pool") for side in sides])
    pool = _restrict(source, pool_indices, pool_classes)
    _require_classes(pool, config)
    runs = _word_runs(pool, config.pool.overlap_words)
    challenge_points, duplicates = _challenge_points(pool, runs, config.pool, config.seed)
    downstream_source = _downstream_source(config, source)
    _require_alike(downstream_source, pool)
    own = pool_indices if _same_points(config) else np.empty(0, dtype=np.int64)
    downstream, left_out = _draw_downstream(config, downstream_source, pool, runs, own)
    reference_points = _reference_points(pool, challenge_points, config)
    known = None if members is None else members[pool_indices]
    return Task(pool, downstream, challenge_points, reference_points, duplicates, left_out, known)


def _pool_source(wanted: PoolConfig) -> tuple[Points, NDArray[np.bool_] | None]:
    """All points that the pool is drawn from; with known non-members, behind the members.

    These keep their labels if both sides have labels. Classes of both that are called alike are the same.
    """
    source = load_points(wanted).named()
    if wanted.non_members is None:
        return source, None
    others = load_points(wanted.model_copy(update={"source": wanted.non_members})).named("non-member ")
    if (others.kind, others.raw.shape[1:]) != (source.kind, source.raw.shape[1:]):
        raise TmiError(f"pool.non_members {wanted.non_members!r} holds points of another kind or size than pool.source")
    digests = set(source.digests)
    if shared := [index for index, digest in enumerate(others.digests) if digest in digests]:
        raise TmiError(
            f"pool.source {wanted.source!r} and pool.non_members {wanted.non_members!r} have {len(shared)} points in "
            f"common ({_listed(shared)} of non_members, from 0), expected none: a point is either a member or not"
        )
    raw = np.concatenate([source.raw, others.raw])
    ids = np.concatenate([source.ids, others.ids])
    members = np.arange(len(raw)) < len(source)
    names = tuple(dict.fromkeys(source.class_names + others.class_names))
    if UNLABELLED in names:
        return Points(raw, np.zeros(len(raw), dtype=np.int64), ("known",), source.kind, ids), members
    place = np.array([names.index(name) for name in source.class_names + others.class_names])
    labels = place[np.concatenate([source.labels, len(source.class_names) + others.labels])]
    return Points(raw, labels, names, source.kind, ids), members


def _listed(indices: Sequence[int] | NDArray[np.int64]) -> str:
    """``points 3, 17 and 48 more``."""
    first, more = ", ".join(str(index) for index in indices[:MOST_LISTED]), len(indices) - MOST_LISTED
    return f"{'point' if len(indices) == 1 else 'points'} {first}{f' and {more:,} more' if more > 0 else ''}"


def _same_points(config: Config) -> bool:
    """Whether pool and downstream are drawn from the same points, be they labelled alike or not."""
    return _same_part(config) and _cut(config.pool) == _cut(config.downstream)


def _cut(source: SourceConfig) -> tuple[bool, int | None, str | None]:
    return source.words_only, source.chunk_words, getattr(source, "response", None)


def _same_part(config: Config) -> bool:
    pool, downstream = config.pool, config.downstream
    return (pool.source, pool.split, pool.inputs) == (downstream.source, downstream.split, downstream.inputs)


def _require_alike_cut(config: Config) -> None:
    """Texts of one source that are cut in two ways are no equal points, but hold the same words."""
    pool, downstream = config.pool, config.downstream
    if not _same_part(config) or pool.overlap_words:
        return
    for key in ("chunk_words", "words_only", "response"):
        wanted, found = getattr(pool, key, None), getattr(downstream, key)
        if wanted != found:
            raise TmiError(
                f"downstream.{key} is {found}, but the pool of the same source has {wanted}: expected the same, or "
                "pool.overlap_words, which leaves out of the downstream task what is in the pool"
            )


def _require_classes(pool: Points, config: Config) -> None:
    if config.given or config.recipe is not None:
        return
    if config.pretrain.objective == "classification" and len(pool.class_names) < 2:
        raise TmiError(
            f"the pool {config.pool.source!r} has {_classes_of(pool)}, but pretrain.objective is 'classification', "
            "which learns two or more: set pretrain.objective to 'causal' or 'masked', or take a source with labels "
            "(pool.labels says where they are)"
        )


def _classes_of(points: Points) -> str:
    return f"the single class {points.class_names[0]!r}" if points.class_names else "no classes"


def _word_runs(points: Points, words: int) -> WordRuns | None:
    """What tells which texts overlap, if that is asked for."""
    if not words:
        return None
    if points.kind != "text":
        raise TmiError(f"pool.overlap_words is {words}, which is for texts; the pool holds {points.kind}s")
    return WordRuns.of(points.raw, words)


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


def _draw_downstream(
    config: Config, source: Points, pool: Points, runs: WordRuns | None, own: NDArray[np.int64]
) -> tuple[Points, int]:
    """The downstream task, and how many points were left out of it; ``own``: the indices of the pool's points."""
    wanted = config.downstream
    classes = _downstream_classes(config, source, pool)
    in_pool = set(pool.digests)
    candidates = _of_classes(source, classes)
    held = [source.digests]
    if source.prompts is not None:
        # The pool may have either part of a pair by itself: a prompt without the end of line that was put behind it.
        pairs = list(zip(source.raw, source.prompts, strict=True))
        prompts, responses = [text[:end].removesuffix("\n") for text, end in pairs], [text[end:] for text, end in pairs]
        held += [replace(source, raw=np.array(part, dtype=object)).digests for part in (prompts, responses)]
    is_shared = np.array([any(each[index] in in_pool for each in held) for index in candidates], dtype=np.bool_)
    outside, shared = candidates[~is_shared], candidates[is_shared]
    if len(shared) and wanted.source != config.pool.source and not wanted.drop_shared:
        raise TmiError(
            f"downstream.source {wanted.source!r} has {len(shared)} points in common with the pool "
            f"{config.pool.source!r} ({_listed(shared)} of it, from 0), expected none: finetuning on pretraining data "
            "would be measured as a leak of pretraining; downstream.drop_shared = true leaves them out of the task"
        )
    if runs is not None and len(outside):
        outside = outside[~WordRuns.of(source.raw[outside], config.pool.overlap_words).also_in(runs)]
    if classes and not len(outside):
        raise TmiError(
            f"downstream.source {wanted.source!r} has no point of its classes that the pool does not have as well, "
            "expected some to finetune on"
        )
    points = _restrict(source, _draw(outside, wanted.size, config.seed, "downstream"), classes)
    if wanted.points_per_model is not None and wanted.points_per_model >= len(points):
        raise TmiError(
            f"downstream.points_per_model is {wanted.points_per_model}, expected fewer than the {len(points)} points "
            "of the downstream task: the others measure the downstream accuracy"
        )
    task = _relabel(points, wanted, source.class_names)
    if len(task.class_names) < 2 and config.finetune.objective == "classification":
        raise TmiError(f"the downstream task has {_classes_of(task)}, expected two or more to tell apart")
    return task, len(candidates) - len(outside) - int(np.isin(own, candidates).sum())


def _downstream_classes(config: Config, source: Points, pool: Points) -> list[int]:
    wanted = config.downstream
    if wanted.classes != "others":
        return _chosen_classes(source, wanted.classes, "downstream")
    if (wanted.source, wanted.labels) != (config.pool.source, config.pool.labels):
        raise TmiError("downstream.classes is 'others', which needs the same source and labels as the pool")
    return [label for label, name in enumerate(source.class_names) if name not in pool.class_names]


def _challenge_points(
    pool: Points, runs: WordRuns | None, wanted: PoolConfig, seed: int
) -> tuple[NDArray[np.int64], int]:
    occurrences = Counter(pool.digests)
    repeated = np.array([occurrences[digest] > 1 for digest in pool.digests], dtype=np.bool_)
    unique = np.flatnonzero(~repeated if runs is None else ~(repeated | runs.in_several()))
    if len(unique) < 2:
        raise TmiError(f"all points of the pool but {len(unique)} are duplicates, which are not attacked")
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
    if number == "all":
        without = config.target is not None and config.target.kind == "predictions"
        return unchallenged[:0] if without else unchallenged
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
        text = read_text(path, LARGEST_JSON)
    except FileNotFoundError:
        raise TmiError(f"downstream.relabel: {path}: there is no such file") from None
    except OSError as error:
        raise TmiError(f"{path}: cannot be read: {error}") from None
    mapping = parse_json(text, str(path), lambda pairs: _unique(pairs, path))
    if not isinstance(mapping, dict) or not all(isinstance(name, str) for name in mapping.values()):
        raise TmiError(f'{path}: expected an object of strings, {{"old class name": "new class name"}}')
    return mapping


def _unique(pairs: list[tuple[str, Any]], path: Path) -> dict[str, Any]:
    for name, occurrences in Counter(name for name, _ in pairs).items():
        if occurrences > 1:
            raise TmiError(f"{path}: the class {name!r} is listed {occurrences} times, expected once")
    return dict(pairs)
