"""A target that is saved as a classifier of the transformers library, asked with its own tokenizer or processor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tmi.config.target import TargetConfig
from tmi.errors import TmiError
from tmi.system.libraries import explained, from_folder, quiet, require_transformers
from tmi.system.progress import Progress
from tmi.targets.rendering import PointKind, as_picture

# A tokenizer that knows no longest text says so with a number beyond this.
NO_LIMIT = 10**9


@torch.no_grad()
def query_checkpoint(
    config: TargetConfig,
    folder: Path,
    flat: NDArray[Any],
    kind: PointKind,
    classes: int,
    progress: Progress,
    device: str,
) -> NDArray[np.float32]:
    """The logits ``[points, classes]`` of a saved classifier for raw texts or images.

    Args:
        config: of kind ``checkpoint``; the classes are put in the order of ``target.classes``, by the names that the
            checkpoint gives them, or else kept as they are.
        folder: with ``config.json``, weights as safetensors, and the tokenizer's or image processor's files.
        flat: raw points ``[points, ...]``.
        kind: what they are.
        classes: of the task.
        progress: is told of every batch.
        device: of torch.

    Raises:
        TmiError: the points are vectors; the folder lacks something, has no classifier or one with other classes.
    """
    where = f"target.path {str(config.path)!r}"
    if kind == "vector":
        raise TmiError(f"{where}: target.kind 'checkpoint' reads texts and images; the points are vectors")
    auto_class = "AutoModelForSequenceClassification" if kind == "text" else "AutoModelForImageClassification"
    with quiet():
        model = saved_model(auto_class, folder, f"{kind} classifier", where).to(device).eval()
        order = _order_of_classes(model.config, config.classes, classes, where)
        encode = _encoder(model.config, folder, kind, where)
        # Without a token to pad with, as some decoders have none, texts make no batch.
        can_batch = kind == "image" or model.config.get_text_config().pad_token_id is not None
        size = config.batch_size if can_batch else 1
        logits = np.empty((len(flat), classes), dtype=np.float32)
        progress.begin("asking the target", len(flat))
        try:
            for start in range(0, len(flat), size):
                batch = flat[start : start + size]
                with explained(f"{where}: the model fails on these {kind}s"):
                    inputs = {name: tensor.to(device) for name, tensor in encode(batch).items()}
                    answer = model(**inputs).logits.float().cpu().numpy()
                logits[start : start + len(batch)] = answer[:, order]
                progress.advance(len(batch))
        finally:
            progress.end()
    return logits


def saved_model(auto_class: str, folder: Path, what: str, where: str) -> Any:
    """A model of the transformers library in a folder, with its head.

    Args:
        auto_class: of the library, by name.
        folder: with ``config.json`` and weights as safetensors.
        what: it is, in error messages.
        where: the folder was named.

    Raises:
        TmiError: the library is missing, or the folder lacks something or has no such model.
    """
    require_transformers()
    import transformers

    if not folder.is_dir():
        raise TmiError(f"{where}: there is no directory {folder}")
    if not any(folder.glob("*.safetensors")):
        raise TmiError(f"{where}: {folder} has no *.safetensors; weights in other formats are not read")
    with explained(f"{where}: {folder} has no {what} that can be read"):
        model, lacking = from_folder(getattr(transformers, auto_class), folder)
    # A backbone without its head would answer with random numbers.
    if lacking:
        raise TmiError(f"{where}: {folder} lacks the weights {lacking[0]!r} of {type(model).__name__}")
    return model


def _order_of_classes(settings: Any, names: list[str], classes: int, where: str) -> list[int]:
    """Which of the model's classes is each class of the task."""
    own = [settings.id2label[index] for index in range(settings.num_labels)]
    if len(own) != classes:
        raise TmiError(f"{where}: the model has {len(own)} classes, expected {classes}, those of the downstream task")
    if not names:
        return list(range(classes))
    if sorted(own) != sorted(names):
        other = next((name for name in own if name not in names), own[0])
        raise TmiError(f"{where}: the model has the class {other!r}, expected exactly the names in target.classes")
    return [own.index(name) for name in names]


def _encoder(settings: Any, folder: Path, kind: PointKind, where: str) -> Callable[[NDArray[Any]], dict[str, Any]]:
    """What turns raw points into the model's inputs."""
    from transformers import AutoImageProcessor, AutoTokenizer

    what = "tokenizer" if kind == "text" else "image processor"
    auto_class = AutoTokenizer if kind == "text" else AutoImageProcessor
    with explained(f"{where}: {folder} has no {what} that can be read"):
        tool = auto_class.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if kind == "image":
        return lambda batch: dict(tool(images=[_picture(image, settings) for image in batch], return_tensors="pt"))
    longest = tool.model_max_length
    if longest > NO_LIMIT:
        longest = getattr(settings, "max_position_embeddings", None)
    limits = {"truncation": True, "max_length": longest} if longest else {}
    padding = {"padding": True} if tool.pad_token is not None else {}
    return lambda batch: dict(tool(batch.tolist(), return_tensors="pt", **limits, **padding))


def _picture(image: NDArray[Any], settings: Any) -> Any:
    """An image in colours, unless the model reads grey ones."""
    picture = as_picture(image)
    return picture if getattr(settings, "num_channels", 3) == 1 else picture.convert("RGB")
