"""Attacks on one given pretrained model, some of whose members and non-members are known.

Nobody can pretrain shadows of a published model. But if some points are known to have been in its pretraining data and
others are known not to, a classifier can learn from them what tells members apart, and be judged on points that it has
not seen. What it finds need not be the model's doing: if members and non-members differ by themselves, for instance
because they were written in different years, the points alone tell them apart (Meeus et al. 2024, "SoK: Membership
inference attacks on LLMs are rushing nowhere"). So the same is done with the points and without the model, and only
what the answers add to that is a leak.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmi.attacks.metaclassifiers.lightgbm import fit_and_score
from tmi.attacks.registry import Attack, Needs, register
from tmi.errors import TmiError
from tmi.predictions.attack_input import AttackInput
from tmi.system.seeding import stream

FOLDS = 5
# Confidences of the likeliest classes that are features of their own.
TOP_CLASSES = 10
# Small trees: a few hundred known points are all there is.
RECIPE = {
    "trees": 60,
    "learning_rate": 0.05,
    "num_leaves": 7,
    "max_bin": 63,
    "min_data_in_leaf": 20,
    "feature_fraction": 0.5,
}
# Squares into which an image is averaged for the classifier that sees images alone.
GRID = 8

Features = NDArray[np.float32]
Fit = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float64]]


@register
class KnownPoints(Attack):
    """One classifier for all points, learned from the answers about points whose membership is known."""

    name = "known-points"
    summary = "a metaclassifier over known members and non-members of one pretrained model"
    default = 10
    source = "Shokri et al. 2017, with known points in place of shadow models"
    needs = Needs.KNOWN_MEMBERS

    def score(self, answers: AttackInput, targets: Sequence[int]) -> NDArray[np.float64]:
        """Log-odds of membership of every point by a classifier that was trained on other points."""
        members, features = _members(answers), answer_features(answers)
        seed = int(stream(answers.seed, "known points").integers(2**31))

        def fit(train: NDArray[np.int64], test: NDArray[np.int64]) -> NDArray[np.float64]:
            return fit_and_score(features[train], members[train], features[test], RECIPE, seed)

        return _for_all(targets, _out_of_fold(members, answers.seed, fit))


@register
class InputsAlone(Attack):
    """The same without the model: whatever this finds is a difference between the points themselves."""

    name = "inputs-alone"
    summary = "the points without the model (texts: bag of words): what the known points give away by themselves"
    default = 30
    source = "Meeus et al. 2024"
    needs = Needs.KNOWN_MEMBERS

    def score(self, answers: AttackInput, targets: Sequence[int]) -> NDArray[np.float64]:
        """Log-odds of membership of every point by a logistic regression on other points."""
        members = _members(answers)
        fit = _inputs_classifier(_inputs(answers), members)
        return _for_all(targets, _out_of_fold(members, answers.seed, fit))


@register
class InputsAndAnswers(Attack):
    """The points and the model's answers: what it finds beyond `inputs-alone` is the model's leak."""

    name = "inputs-and-answers"
    summary = "points and answers together: what it adds to inputs-alone is the leak"
    default = 20
    source = "Meeus et al. 2024, as the comparison that their baseline asks for"
    needs = Needs.KNOWN_MEMBERS

    def score(self, answers: AttackInput, targets: Sequence[int]) -> NDArray[np.float64]:
        """Log-odds of membership: those by the inputs, corrected by trees on the answers."""
        members, features = _members(answers), answer_features(answers)
        alone = _inputs_classifier(_inputs(answers), members)
        seed = int(stream(answers.seed, "known points").integers(2**31))

        def fit(train: NDArray[np.int64], test: NDArray[np.int64]) -> NDArray[np.float64]:
            # The log-odds of the training points come from other training points too: on those that it was fitted
            # to, the regression is surer than it should be, and the trees would trust it.
            inner = _out_of_fold(members[train], answers.seed, lambda a, b: alone(train[a], train[b]))
            start = (inner, alone(train, test))
            return fit_and_score(features[train], members[train], features[test], RECIPE, seed, start)

        return _for_all(targets, _out_of_fold(members, answers.seed, fit))


def answer_features(answers: AttackInput) -> Features:
    """What the finetuned models say about each point, float32 ``[points, features]``.

    The logit-scaled answer of every class (mean over finetunings and queries), the largest ones in their order, how far
    the finetunings disagree, and how the answer to the point itself differs from those to its variations.
    """
    columns = []
    for _, block in answers.predictions.blocks():
        scaled = answers.predictions.log_odds(block, threads=answers.threads)
        mean = scaled.mean(axis=(0, 2))
        ordered = -np.sort(-scaled, axis=-1)[..., :TOP_CLASSES]
        itself, others = ordered[:, :, :1].mean(axis=(0, 2)), ordered[:, :, 1:]
        contrast = itself - (others.mean(axis=(0, 2)) if others.shape[2] else itself)
        spread = scaled.std(axis=0).mean(axis=(1, 2))[:, None]
        columns.append(np.concatenate([mean, ordered.mean(axis=(0, 2)), contrast, spread], axis=1))
    features: Features = np.concatenate(columns).astype(np.float32)
    return features


def _inputs_classifier(inputs: NDArray[Any], members: NDArray[np.bool_]) -> Fit:
    """Logistic regression on the points: words of texts, coarse colours of images, the numbers of vectors."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    texts = inputs.dtype == object
    # Word counts as Joachims 1998 weighs them.
    first = TfidfVectorizer(sublinear_tf=True, min_df=2) if texts else StandardScaler()
    rows = inputs if texts else coarse(inputs)

    def fit(train: NDArray[np.int64], test: NDArray[np.int64]) -> NDArray[np.float64]:
        pipeline = make_pipeline(first, LogisticRegression(C=10.0 if texts else 0.01, max_iter=1000))
        scores: NDArray[np.float64] = pipeline.fit(rows[train], members[train]).decision_function(rows[test])
        return scores

    return fit


def coarse(inputs: NDArray[Any]) -> NDArray[np.float64]:
    """Images ``[points, (channels,) height, width]`` as the means of 8 × 8 squares; vectors as they are."""
    if inputs.ndim == 2:
        return inputs.astype(np.float64)
    rows = [np.array_split(np.arange(size), min(GRID, size)) for size in inputs.shape[-2:]]
    squares = [inputs[..., r[:, None], c].mean(axis=(-2, -1)) for r in rows[0] for c in rows[1]]
    return np.stack(squares, axis=-1).reshape(len(inputs), -1).astype(np.float64)


def _out_of_fold(members: NDArray[np.bool_], seed: int, fit: Fit) -> NDArray[np.float64]:
    scores = np.empty(len(members))
    for train, test in _folds(members, seed):
        scores[test] = fit(train, test)
    return scores


def _folds(members: NDArray[np.bool_], seed: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Points to learn from and points to score, each fold with its share of the members."""
    random = stream(seed, "folds")
    fold = np.empty(len(members), dtype=np.int64)
    for side in (members, ~members):
        fold[random.permutation(np.flatnonzero(side))] = np.arange(side.sum()) % FOLDS
    for number in range(FOLDS):
        yield np.flatnonzero(fold != number), np.flatnonzero(fold == number)


def _members(answers: AttackInput) -> NDArray[np.bool_]:
    members: NDArray[np.bool_] = answers.membership[0]
    if (answers.membership != members).any():
        raise TmiError(
            "the pretrained models have different members; attacks that need known members are for one given model "
            "(pool.non_members)"
        )
    if min(members.sum(), (~members).sum()) < 2 * FOLDS:
        raise TmiError(
            f"{members.sum()} members and {(~members).sum()} non-members are known, "
            f"expected at least {2 * FOLDS} of each"
        )
    return members


def _inputs(answers: AttackInput) -> NDArray[Any]:
    if answers.inputs is None:
        raise TmiError("this attack needs the points themselves, which are not there")
    return answers.inputs


def _for_all(targets: Sequence[int], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """All models are finetunings of the same one: what is found out is about that."""
    return np.tile(scores, (len(targets), 1))
