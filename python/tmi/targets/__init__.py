"""A target model that is none of the run's own: an endpoint, a Python function, a saved model or saved predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmi.config.target import TargetConfig
from tmi.errors import TmiError
from tmi.system.files import content_hash
from tmi.system.progress import Progress
from tmi.targets.cache import Answers, ask_what_is_missing
from tmi.targets.function import call_about_tokens, call_function, function_identity
from tmi.targets.logits import as_logits
from tmi.targets.rendering import PointKind
from tmi.targets.responses import Show, numbers_of
from tmi.targets.saved import load_predictions
from tmi.targets.texts import Texts, load_records

__all__ = ["Texts", "query_target", "target_hashes"]


def query_target(
    config: TargetConfig,
    queries: NDArray[np.generic],
    kind: PointKind,
    classes: int,
    cache: Path,
    progress: Progress,
    base_directory: Path = Path(),
    device: str = "cpu",
    texts: Texts | None = None,
) -> NDArray[Any]:
    """What the target answers to every query.

    Args:
        config: which model it is and how it is asked.
        queries: raw points ``[points, augmentations, ...]`` as of `tmi.data.queries.make_queries`: ``str`` objects,
            uint8 images or float32 images in [0, 1], or float32 vectors.
        kind: what the points are.
        classes: of the downstream task.
        cache: a file in which the answers of an endpoint or a function are kept as they come; with it, an interrupted
            query goes on, and no answer is asked for twice. Made if there is none.
        progress: is told of every answer.
        base_directory: where a relative ``target.path`` starts; the current directory if left out.
        device: of torch, for a saved model.
        texts: the tokens of all queries, where the target is asked about these and not about classes.

    Returns:
        Logits, float32 ``[points, augmentations, classes]``; see `tmi.targets.logits` for answers that are less than
        that. With ``texts`` ``[points, augmentations, Texts.tokens]`` of type `tmi.predictions.tokens.TOKEN`.

    Raises:
        TmiError: the target cannot be asked, fails, refuses, answers something else than was expected, or the budget
            is used up. What was answered until then is kept.
    """
    where = f"target {config.name!r}"
    if config.classes and len(config.classes) != classes:
        raise TmiError(f"target.classes has {len(config.classes)} names, expected {classes}, one per class of the task")
    points, augmentations = queries.shape[:2]
    flat = queries.reshape(points * augmentations, *queries.shape[2:])
    if texts is not None:
        return _about_tokens(config, queries, texts, cache, progress, base_directory, device)
    width = 1 if config.meaning == "label" else classes
    if config.kind == "predictions":
        values = load_predictions(_path(config, base_directory), points, augmentations, width, where)
    elif config.kind == "checkpoint":
        from tmi.targets.checkpoint import query_checkpoint

        folder = _path(config, base_directory)
        values = query_checkpoint(config, folder, flat, kind, classes, progress, device)
    elif config.kind == "python":
        with Answers(cache, function_identity(str(config.function)), width) as answers:
            values = ask_what_is_missing(
                flat, answers, lambda batch: call_function(config, batch, kind, classes), config.batch_size, progress
            )
    else:
        from tmi.targets.endpoint import query_endpoint

        def read(document: Any, batch: NDArray[Any], show: Show) -> NDArray[np.float64]:
            return numbers_of(document, config, len(batch), classes, show)

        values = query_endpoint(config, flat, kind, width, read, cache, progress)
    return as_logits(values, config.meaning or "logits", classes, where).reshape(points, augmentations, classes)


def _about_tokens(
    config: TargetConfig,
    queries: NDArray[np.generic],
    texts: Texts,
    cache: Path,
    progress: Progress,
    base_directory: Path,
    device: str,
) -> NDArray[Any]:
    """What a target that writes says about the tokens of every query, as `query_target` returns it."""
    where, (points, augmentations) = f"target {config.name!r}", queries.shape[:2]
    flat = queries.reshape(points * augmentations)
    if config.kind == "predictions":
        return load_records(_path(config, base_directory), (points, augmentations, texts.tokens), where)
    if config.kind == "checkpoint":
        from tmi.targets.writers import query_writer

        records = query_writer(config, _path(config, base_directory), flat, texts, progress, device)
    elif config.kind == "python":
        identity = f"{function_identity(str(config.function))} {texts.fingerprint}"
        with Answers(cache, identity, texts.width) as answers:
            values = ask_what_is_missing(
                flat, answers, lambda batch: call_about_tokens(config, batch, texts), config.batch_size, progress
            )
        records = texts.records(values)
    else:
        from tmi.targets.endpoint import query_endpoint
        from tmi.targets.prompts import log_probabilities_of

        def read(document: Any, batch: NDArray[Any], show: Show) -> NDArray[np.float64]:
            return log_probabilities_of(document, config, batch.tolist(), texts, show)

        values = query_endpoint(config, flat, "text", texts.width, read, cache, progress, texts.fingerprint)
        records = texts.records(values)
    return records.reshape(points, augmentations, texts.tokens)


def target_hashes(config: TargetConfig, base_directory: Path = Path()) -> dict[str, str]:
    """SHA-256 of the files that make the target, by name: a changed model is another one.

    Empty for an endpoint, and where the files do not exist, which `query_target` then says.

    Args:
        config: names the target.
        base_directory: where a relative ``target.path`` starts.
    """
    if config.kind == "http":
        return {}
    if config.kind == "python":
        return {str(config.function): function_identity(str(config.function)).rpartition(" ")[2]}
    path = _path(config, base_directory)
    files = sorted(entry for entry in path.iterdir() if entry.is_file()) if path.is_dir() else [path]
    return {file.name: content_hash(file) for file in files if file.is_file()}


def _path(config: TargetConfig, base_directory: Path) -> Path:
    return base_directory / Path(str(config.path)).expanduser()
