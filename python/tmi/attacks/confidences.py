"""The one number per query that LiRA and RMIA look at: how sure a model is of one class."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tmi.predictions.arrays import Predictions
from tmi.predictions.attack_input import AttackInput
from tmi.predictions.tokens import TOKEN
from tmi.predictions.views import View

# Numbers of type float64 that the confidences about the points are that are worked on together; what LiRA makes of them
# for all targets is a dozen times as many.
PART_ENTRIES = 4_000_000


@lru_cache(maxsize=1)  # all targets ask for the same parts, one after another
def in_parts(answers: AttackInput) -> tuple[AttackInput, ...]:
    """The answers, so many points at a time that the confidences of all models in them fit the memory."""
    models, points, augmentations, _ = answers.predictions.shape
    size = max(1, PART_ENTRIES // (models * augmentations))
    return tuple(answers.at(slice(start, start + size)) for start in range(0, points, size))


def confidences(answers: AttackInput, target: int) -> NDArray[np.float64]:
    """The logit-scaled confidence of all models in one class of each query.

    The class is the label of the point where `AttackInput.labels` knows it, as in Carlini et al. 2022. Pretraining
    points mostly have no label among the downstream classes; then it is, for each augmentation, the class that the
    target itself holds most likely (of equal ones the first), as in the adapted LiRA of Abascal et al. 2024. All models
    are asked about the class of this target. Of models that write it is the confidence in the text, the log-odds of the
    geometric mean of its tokens' probabilities.

    Args:
        answers: of all models.
        target: the model whose answers choose the classes.

    Returns:
        float64 ``[models, points, augmentations]``, ``log(p / (1 - p))`` of the class; not to be written to.
    """
    return _confidences(answers, target if _each_chooses(answers) else None)


def asking_alike(answers: AttackInput, targets: Sequence[int]) -> list[Sequence[int]]:
    """Targets of which `confidences` says the same: all of them, unless each chooses the classes that it looks at."""
    return [[target] for target in targets] if _each_chooses(answers) else [targets]


def _each_chooses(answers: AttackInput) -> bool:
    return answers.labels is None and answers.predictions.dtype != TOKEN


def of_whole_texts(predictions: Predictions) -> Predictions:
    """The same predictions; those about the tokens of texts in one number for each text, how sure a model is of it.

    That is what the view shows of it: of tokens that it does not show, that they are not shown.
    """
    return predictions.seen_through(View("loss", predictions.view.number)) if predictions.are_log_odds else predictions


# With labels, all targets ask for the same.
@lru_cache(maxsize=1)
def _confidences(answers: AttackInput, target: int | None) -> NDArray[np.float64]:
    result = np.empty(answers.predictions.shape[:3])
    predictions = of_whole_texts(answers.predictions)
    for points, block in predictions.blocks():
        scaled = predictions.log_odds(block, threads=answers.threads)
        if answers.labels is not None:
            classes = np.broadcast_to(answers.labels[points, None], block.shape[1:3])
        elif predictions.dtype == TOKEN:
            # The first of the two is that the text is right.
            classes = np.zeros(block.shape[1:3], dtype=np.int64)
        else:
            classes = block[target].argmax(axis=-1)
        result[:, points] = np.take_along_axis(scaled, classes[None, :, :, None], axis=-1)[..., 0]
    result.flags.writeable = False
    return result
