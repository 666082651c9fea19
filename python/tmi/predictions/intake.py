"""Arrays as they come, from files, from Python or through the estimator, as the arrays that attacks take.

There is one way in. What is wrong with an array is said in one sentence that names it; what had to be understood is
told to ``note``, and ``where`` begins error messages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tmi.errors import TmiError
from tmi.predictions.arrays import Predictions, holds_nan
from tmi.predictions.attack_input import AttackInput
from tmi.predictions.rows import mapped_part
from tmi.predictions.tokens import ROUNDING, TOKEN, UNSEEN, plain_records
from tmi.predictions.views import View
from tmi.system.memory import DEFAULT_MEMORY

Note = Callable[[str], None]
# What the numbers of predictions are: logits of classes, or log-probabilities of tokens.
Meaning: TypeAlias = Literal["logits", "tokens"]

# Sums of rows of probabilities in float16 are off by this much.
SUM_TOLERANCE = 5e-3


def _ignore(sentence: str) -> None:
    """Nobody wants to know."""


def taken_in(
    predictions: ArrayLike | Sequence[ArrayLike],
    membership: ArrayLike,
    labels: ArrayLike | None = None,
    pretrained: ArrayLike | Sequence[ArrayLike] | None = None,
    *,
    pretraining_labels: ArrayLike | None = None,
    seed: int = 0,
    threads: int = 1,
    memory: int = DEFAULT_MEMORY,
    view: View | None = None,
    note: Note = _ignore,
    companions: Sequence[ArrayLike | Sequence[ArrayLike]] = (),
    texts: ArrayLike | None = None,
    meaning: Meaning = "logits",
    where: str = "",
) -> AttackInput:
    """What attacks see, of arrays as a user has them; see `AttackInput` and `Predictions`.

    Predictions, those of the pretrained models in as many classes as these have, are raw logits as floats
    ``[models, points, (augmentations,) classes]``, in one array or one per model, memory maps or not. Membership is
    ``[models, points]`` or transposed, bool or numbers 0 and 1, labels of either kind are whole numbers ``[points]``.
    Of models that write predictions are of type `tmi.predictions.tokens.TOKEN` or, if that is their ``meaning``, plain
    log-probabilities of tokens, see `as_tokens`; the texts may be there as well.
    Companions are predictions of the same models finetuned in other ways, in as many classes and augmentations as each
    has.

    Raises:
        TmiError: arrays of another shape or type, that do not fit one another, or that hold NaN.
    """
    models = as_models(predictions, f"{where}predictions", note, meaning)
    shape = (len(models), len(models[0]))
    found = np.shape(membership)
    if found not in (shape, shape[::-1]) and len(found) == 2 and found[1] in models[0].shape[1:]:
        raise TmiError(
            f"{where}membership: has shape {found}, but a model has shape {models[0].shape}: the points seem to be in "
            f"axis {models[0].shape.index(found[1])} of the predictions, expected [points, augmentations, classes]"
        )
    return AttackInput(
        Predictions(models, memory, view),
        as_membership(membership, shape, f"{where}membership", note),
        None
        if pretrained is None
        else Predictions(as_models(pretrained, "pretrained predictions", note, meaning), memory),
        seed,
        threads,
        labels=None if labels is None else as_labels(labels, shape[1], "labels"),
        companions=tuple(
            taken_in(
                each,
                membership,
                pretraining_labels=pretraining_labels,
                seed=seed,
                threads=threads,
                memory=memory,
                view=view,
                note=note,
                meaning=meaning,
                where=f"finetuning {number}: ",
            )
            for number, each in enumerate(companions, 2)
        ),
        pretraining_labels=None
        if pretraining_labels is None
        else as_pretraining_labels(pretraining_labels, shape[1], "pretraining labels"),
        inputs=None if texts is None else as_texts(texts, shape[1], "texts"),
    )


def as_models(
    arrays: ArrayLike | Sequence[ArrayLike], where: str, note: Note = _ignore, meaning: Meaning = "logits"
) -> list[NDArray[Any]]:
    """All models, in one array along its first axis or in one each, as `as_model` has them."""
    if isinstance(arrays, np.ndarray):
        if arrays.ndim not in (3, 4):
            raise TmiError(f"{where}: has shape {arrays.shape}, expected [models, points, (augmentations,) classes]")
        size = int(np.prod(arrays.shape[1:]))
        parts = [mapped_part(arrays, model * size, arrays.shape[1:]) for model in range(len(arrays))]
        each: list[Any] = [arrays[model] if part is None else part for model, part in enumerate(parts)]
    else:
        each = list(arrays)  # type: ignore[arg-type]  # whatever else NumPy takes for an array has a first axis
    if not each:
        raise TmiError(f"{where}: holds no models, expected at least 3")
    return [as_model(model, f"{where}: model {index}", note, meaning) for index, model in enumerate(each)]


def as_model(array: ArrayLike, where: str, note: Note = _ignore, meaning: Meaning = "logits") -> NDArray[Any]:
    """The predictions of one model as ``[points, augmentations, classes]``, float32 or float16, if possible not copied.

    Of a model that writes it is ``[points, augmentations, tokens]`` of type ``TOKEN``. Either may also come as
    ``[points, classes]``, or ``[points, 1, augmentations, classes]`` as TensorFlow Privacy has them; a single class is
    the logit of the second of two.

    Raises:
        TmiError: another shape, no real numbers, or NaN in an array that is in memory; what is in a file is looked at
            as it is read.
    """
    array = np.asanyarray(array)
    shape: tuple[int, ...] = array.shape
    if array.ndim == 2:
        shape = (len(array), 1, array.shape[1])
    elif array.ndim == 4 and array.shape[1] == 1:
        shape = (len(array), *array.shape[2:])
    if len(shape) != 3 or 0 in shape:
        raise TmiError(
            f"{where}: has type {array.dtype} and shape {array.shape}, expected floats [points, (augmentations,) "
            "classes]"
        )
    if meaning == "tokens" and array.dtype != TOKEN:
        return as_tokens(as_floats(array.reshape(shape), where, note), where, note)
    mapped = None if shape[-1] == 1 and array.dtype != TOKEN else mapped_part(array, 0, shape)
    if mapped is not None:
        return as_floats(mapped, where, note)
    floats = as_floats(array.reshape(shape), where, note)
    if not isinstance(floats, np.memmap) and holds_nan(floats):
        raise TmiError(f"{where}: holds NaN, expected logits")
    if shape[-1] == 1 and array.dtype != TOKEN:
        # Binary classifiers often have the logit of the positive class alone.
        note("The predictions have a single class: read as the logit of class 1 of two, that of class 0 is 0.")
        return np.concatenate([np.zeros_like(floats), floats], axis=-1)
    return floats


def as_floats(array: NDArray[Any], where: str, note: Note = _ignore) -> NDArray[Any]:
    """An array of real numbers as float32 or float16, not copied if it is one, or of type ``TOKEN``."""
    if array.dtype == TOKEN:
        return array
    if array.dtype.kind != "f":
        raise TmiError(f"{where}: has type {array.dtype}, expected float32 or float16 logits")
    if array.dtype in (np.float32, np.float16) and array.dtype.isnative:
        return array
    note(f"Predictions of type {array.dtype} were converted to float32, in memory.")
    # Beyond the range of float32 is infinity, of which the kernels make sense; NaN, of whatever bits, is told later.
    with np.errstate(over="ignore", invalid="ignore"):
        return array.astype(np.float32)


def as_tokens(log_p: NDArray[Any], where: str, note: Note = _ignore) -> NDArray[Any]:
    """Log-probabilities of the tokens of texts ``[..., tokens]``, NaN behind the end of each, as type ``TOKEN``.

    Nothing is known of other tokens: every one counts as behind all that were shown.
    """
    wide = log_p.astype(np.float64)
    there = ~np.isnan(wide)
    if (there[..., 1:] > there[..., :-1]).any():
        raise TmiError(f"{where}: holds NaN before a token, expected NaN behind the last token of a text alone")
    if (largest := wide.max(where=there, initial=-np.inf)) > ROUNDING:
        raise TmiError(f"{where}: holds {largest:g} as the logarithm of a probability, expected at most 0")
    note("Log-probabilities of tokens were read, in memory; of other tokens in their places nothing is known.")
    return plain_records(wide, np.where(there, UNSEEN, -1))


def as_membership(array: ArrayLike, shape: tuple[int, int], where: str, note: Note = _ignore) -> NDArray[np.bool_]:
    """Membership as bool of the shape ``(models, points)``; it may come transposed, and as numbers 0 and 1."""
    array = np.asarray(array)
    if array.dtype != np.bool_:
        if array.dtype.kind not in "fiu" or not np.isin(array, (0, 1)).all():
            raise TmiError(f"{where}: has type {array.dtype} and other values than 0 and 1, expected bool")
        note(f"Membership of type {array.dtype} holds only 0 and 1 and was read as false and true.")
    if array.shape not in (shape, shape[::-1]):
        raise TmiError(
            f"{where}: has shape {array.shape}, expected membership {shape}, one row per model and one column per "
            "point of the predictions"
        )
    if array.shape != shape:
        note("Membership was stored as [points, models] and has been transposed.")
        array = array.T
    return np.array(array, dtype=np.bool_)


def as_labels(array: ArrayLike, points: int, where: str) -> NDArray[np.int64]:
    """So many labels, all whole numbers, as int64 ``[points]``."""
    array = np.asarray(array)
    flat = array.reshape(-1) if array.ndim == 2 and 1 in array.shape else array
    if flat.shape != (points,):
        raise TmiError(f"{where}: has shape {array.shape}, expected labels ({points},), one per point")
    # What int64 cannot hold comes back as another number, infinity and NaN among it.
    with np.errstate(invalid="ignore"):
        labels = np.array(flat, dtype=np.int64) if flat.dtype.kind in "fiu" else None
    if labels is None or not np.array_equal(labels, flat):
        raise TmiError(f"{where}: has type {flat.dtype}, expected labels that are whole numbers")
    return labels


def as_pretraining_labels(array: ArrayLike, points: int, where: str) -> NDArray[np.int64]:
    """Labels as `as_labels` has them, of which some points share one and others have another."""
    labels = as_labels(array, points, where)
    if (different := len(np.unique(labels))) == 1:
        raise TmiError(f"{where}: are all {labels[0]}, expected at least two different pretraining labels")
    if different == points:
        raise TmiError(f"{where}: differ at all {points} points, expected pretraining labels that points share")
    return labels


def as_non_members(array: ArrayLike, points: int, where: str) -> NDArray[np.bool_]:
    """Which points are known to be no members, bool ``[points]``, some and not all; numbers 0 and 1 will do."""
    array = np.asarray(array)
    if array.shape != (points,):
        raise TmiError(f"{where}: has shape {array.shape}, expected bool ({points},), true at known non-members")
    if array.dtype != np.bool_ and (array.dtype.kind not in "fiu" or not np.isin(array, (0, 1)).all()):
        raise TmiError(f"{where}: has type {array.dtype} and other values than 0 and 1, expected bool")
    mask = array.astype(np.bool_)
    if mask.all():
        raise TmiError(f"{where}: all {points} points are known non-members, expected others to ask about")
    if not mask.any():
        raise TmiError(f"{where}: no point is a known non-member; leave it out, and points are ranked and not judged")
    return mask


def as_ids(array: ArrayLike, points: int, where: str = "ids") -> tuple[str, ...]:
    """What the owner of the data calls each point, as text; several points may be called alike.

    Raises:
        TmiError: they are neither integers nor strings, not one per point, or one is empty.
    """
    named = np.asarray(array)
    if named.shape != (points,):
        raise TmiError(f"{where}: has shape {named.shape}, expected ({points},), an id per point")
    # Of objects, all must be strings: a missing one would be called None or nan.
    is_text = named.dtype.kind == "U" or (named.dtype == object and all(isinstance(name, str) for name in named))
    if named.dtype.kind not in "iu" and not is_text:
        raise TmiError(f"{where}: has type {named.dtype}, expected integers or strings, an id per point")
    ids = tuple(str(name) for name in named.tolist())
    if not all(map(str.strip, ids)):
        raise TmiError(f"{where}: the id of point {[*map(str.strip, ids)].index('')} is empty")
    return ids


def as_texts(array: ArrayLike, points: int, where: str) -> NDArray[Any]:
    """The texts that models were asked about, objects ``[points]``."""
    texts = np.asarray(array, dtype=object)
    if texts.shape != (points,) or not all(isinstance(text, str) for text in texts.tolist()):
        raise TmiError(f"{where}: has shape {texts.shape}, expected ({points},) strings, a text per point")
    return texts


def are_probabilities(array: NDArray[Any], axis: int = -1) -> bool:
    """Whether numbers are non-negative and sum to 1 over an axis, within rounding to float16."""
    if not np.min(array) >= 0 or np.max(array) > 1 + SUM_TOLERANCE:
        return False
    return bool(np.abs(np.sum(array, axis=axis, dtype=np.float32) - 1).max() < SUM_TOLERANCE)
