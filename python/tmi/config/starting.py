"""A configuration to start from: a commented TOML text with a recipe that suits kind and number of the points."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

# So many points of the pool are pretrained on and attacked at most: minutes to an hour on a few cores.
LARGEST_POOL = 2000
MOST_CHALLENGED = 1000
LARGEST_TASK = 2000
# The same of a pool of texts that models learn to write, each of which is read 20 times.
LARGEST_WRITTEN = 400
# With so many classes, the pool has one half of them and the task the other.
CLASSES_TO_SHARE = 6
# Images below this many pixels on a side are too small for convolutions that halve them three times.
SMALL_IMAGE = 12
# Models see about so many points in pretraining, repeats counted, which makes networks of this size remember some.
POINTS_SEEN = 20_000
NONE = "none"


@dataclass(frozen=True)
class Found:
    """What was found where somebody said that data is.

    Attributes:
        keys: of the source in the configuration: ``source``, and ``split``, ``labels`` and the like.
        kind: what the points are.
        points: how many there are.
        classes: how many classes they are in; 1 where they have no labels.
        shape: of one point that is an image, ``(height, width)``; empty else.
    """

    keys: dict[str, Any]
    kind: Literal["image", "text", "vector"]
    points: int
    classes: int
    shape: tuple[int, ...] = ()


@dataclass
class _Text:
    """Lines of TOML, each with its comment."""

    lines: list[str] = field(default_factory=list)

    def table(self, name: str, comment: str = "") -> None:
        self.lines.append("")
        self._line(f"[{name}]", comment)

    def key(self, name: str, value: Any, comment: str = "") -> None:
        # Strings, numbers, booleans and lists of JSON are those of TOML.
        self._line(f"{name} = {json.dumps(value, ensure_ascii=False)}", comment)

    def _line(self, text: str, comment: str) -> None:
        self.lines.append(f"{text:<32}# {comment}" if comment else text)


def starting_toml(
    name: str, pool: Found, task: Found | None, models: int, *, shared: int = 0, writes: bool = False
) -> str:
    """A configuration as TOML text.

    Args:
        name: of the run.
        pool: what the shadow models are pretrained on.
        task: what they are finetuned on; if None, other points of the pool's source, which has labels or `writes`.
        models: how many are trained.
        shared: points of the task that the pool has as well.
        writes: whether models are finetuned to write texts like those of the task, not to tell its classes apart.
    """
    text, kind = _Text(), pool.kind
    text.lines.append(f"# Membership inference against the pretraining data {pool.keys['source']}.")
    text.lines.append(
        "# `tmi plan` on this file checks it and says what it takes; the docs list all keys (Configuration)."
    )
    text.lines.append("")
    text.key("name", name)
    text.key("seed", 0, "of every random draw")
    text.key("models", models, "each is the target once, with all others as its shadows")

    text.table("pool", "what models are pretrained on, a random half each")
    for key, value in pool.keys.items():
        text.key(key, value)
    # Of one source, half of the classes or of the points are left to the task.
    by_classes = task is None and pool.classes >= CLASSES_TO_SHARE
    largest = LARGEST_WRITTEN if writes else LARGEST_POOL
    size = min(largest, pool.points if task is not None else pool.points // 2)
    if by_classes:
        text.key("classes", pool.classes // 2, "the task has the others")
    # Half of the classes need not have half of the points.
    if not by_classes or pool.points > 4 * largest:
        text.key(
            "size",
            size,
            f"of {pool.points:,} points{'' if task is not None or by_classes else '; the task has others'}",
        )
    if "chunk_words" in pool.keys:
        text.key("overlap_words", 10, "passages that share so many words in a row are not attacked")
    if size > MOST_CHALLENGED:
        text.key("challenge_points", min(MOST_CHALLENGED, size // 2), "whose membership is attacked")

    text.table("downstream", "what every model is finetuned on; shares no point with the pool")
    for key, value in (task or pool).keys.items():
        text.key(key, value)
    if by_classes:
        text.key("classes", "others", "those that the pool does not use")
        if pool.points > 4 * LARGEST_TASK:
            text.key("size", LARGEST_TASK)
    elif task is None and pool.points - size > LARGEST_TASK:
        text.key("size", LARGEST_TASK)
    elif task is not None and task.points > LARGEST_TASK:
        text.key("size", LARGEST_TASK, f"of {task.points:,} points")
    if shared and task is not None and task.keys["source"] != pool.keys["source"]:
        text.key("drop_shared", True, f"leaves out {shared:,} points that the pool has as well")

    members, language = size // 2, writes or (kind == "text" and pool.classes < 2)
    convolutions = kind == "image" and min(pool.shape) >= SMALL_IMAGE
    text.table("encoder")
    if language:
        text.key("kind", "tokens", "texts as a language model reads them")
        text.key("vocabulary", 2048, "of a tokenizer that is trained on the downstream texts")
        text.key("length", 256 if writes else 128, "most tokens of a text")
        text.key("truncate", True, "longer texts are cut")
    else:
        of_kind = {"image": "", "vector": "numbers as they are", "text": "counts of words"}
        text.key("kind", "hashed-words" if kind == "text" else "pixels", of_kind[kind])

    text.table("model", "as near to the model that you worry about as you can afford")
    if language:
        text.key("kind", "transformers")
        text.key("architecture", "gpt2-mini")
        if not writes:
            text.key("pooling", "mean")
    elif convolutions:
        text.key("kind", "cnn", "or transformers with an architecture, such as resnet-18")
        text.key("channels", [32, 64, 128] if min(pool.shape) <= 64 else [32, 64, 128, 128])
        text.key("features", 128)
    else:
        text.key("kind", "mlp")
        text.key("hidden", [128, 128])

    text.table("pretrain", "the recipe of the model that you worry about, if you know it")
    if language:
        text.key("objective", "causal", "the next token")
    rates = {"image": 0.002 if convolutions else 0.01, "vector": 0.01, "text": 0.002 if language else 0.003}
    text.key("optimizer", "adamw")
    text.key("learning_rate", 0.003 if writes else rates[kind])
    if kind == "image":
        text.key("weight_decay", 0.05)
    if writes:
        text.key("schedule", "cosine")
        text.key("warmup", 0.1)
    often = max(30, min(150, POINTS_SEEN // max(members, 1)))
    text.key("epochs", 20 if writes else 30 if kind == "text" and not language else often)
    text.key("batch_size", 8 if writes else 20 if language else 32)
    if convolutions:
        text.key("flip", True, "mirror images at random; not for images of text")

    text.table("finetune")
    if writes:
        text.key("objective", "causal", "the next token again: models write, and tell no classes apart")
        text.key("transfer", "full", "or last-1, head, lora")
    else:
        text.key("transfer", "head", "a new head alone; or last-1, full, lora")
    text.key("optimizer", "adamw")
    text.key("learning_rate", 0.001 if writes else 0.01)
    text.key("epochs", 4 if writes else 40)
    text.key("batch_size", 16 if writes else 32)

    augmentation, count, strength, what = {
        "image": ("flip-crop", 4, 1, "the image, its mirror image and shifts by a pixel"),
        "text": ("word-dropout", 5, 0.1, "the text and versions without a tenth of the words"),
        "vector": (NONE, 1, 0, ""),
    }[kind]
    if kind == "image" and not convolutions:
        augmentation, count, strength, what = "shift", 5, 0.25, "the image and shifts by a quarter of a pixel"
    if augmentation != NONE and not writes:
        text.table("query", "what finetuned models are asked about every point")
        text.key("augmentation", augmentation, what)
        text.key("count", count)
        text.key("strength", strength)
    return "\n".join(text.lines) + "\n"
