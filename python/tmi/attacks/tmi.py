"""The default attack: one metaclassifier for all points learns from the shadows what membership does to the answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from tmi.attacks.features.membership import Evidence, Ingredients
from tmi.attacks.features.windows import windows
from tmi.attacks.metaclassifiers.lightgbm import fit_and_score
from tmi.attacks.registry import Attack, register
from tmi.predictions.attack_input import AttackInput
from tmi.system.seeding import stream

# Small trees, each on a part of the features: larger trees do not help.
RECIPE = {
    "num_leaves": 7,
    "learning_rate": 0.05,
    "min_data_in_leaf": 100,
    "max_bin": 63,
    # Rows by which features are cut into bins; all of them take as long as the trees do.
    "bin_construct_sample_cnt": 2000,
    "feature_fraction": 0.2,
}
# Rows (a shadow at a point) that one classifier is trained on; more cost time and add next to nothing.
MOST_ROWS = 20_000
# With few shadows there are few rows, and many trees would learn their noise.
ROWS_PER_TREE, MOST_TREES = 160, 100
# With more models a classifier serves several targets, none of which taught it: a twentieth less shadows cost little of
# the AUC, and a classifier for each target costs most of the time.
LEAST_CLASSIFIERS = 20
# Of the shadows, where models were not drawn independently: enough that each is compared with most of the others.
FOLDS = 5
# Inverse strength of the penalty of the linear part, whose inputs have deviation 1.
LINEAR_STRENGTH = 0.003
LARGEST_INPUT = 8.0
LEAST_DEVIATION = 1e-3


@register
class Tmi(Attack):
    """One metaclassifier for all points of a target, and for a few targets at once where there are many models.

    Each row is a shadow at a point, described by how its answers compare with those of the other shadows that were and
    were not trained on that point (`tmi.attacks.features.membership`). What membership looks like in these terms is
    much the same at every point, so thousands of rows teach one classifier where the paper's has dozens. Most features
    are log-likelihood ratios, and independent ones should be added up: so a penalised logistic regression weighs the
    features, and LightGBM corrects its log-odds.
    """

    name = "tmi"
    summary = "one LightGBM for all points, on raw and conditioned answers compared with the shadows'"
    default = 10
    together = True
    source = "after Abascal et al. 2024; one metaclassifier for all points, conditioning and shrinkage are new"
    version = 4
    ingredients = Ingredients()

    def targets_at_once(self, models: int) -> int:
        """The size of groups of models that one classifier serves; the others teach it, and are compared with them.

        The target of unknown membership has one as well, so that its scores are like those that it is held against.
        """
        return max(1, models // LEAST_CLASSIFIERS)

    def score(self, answers: AttackInput, targets: Sequence[int]) -> NDArray[np.float64]:
        """The log-odds of membership by the classifier of each target's group."""
        models = len(answers.membership)
        size = self.targets_at_once(models)
        starts = sorted({target // size * size for target in targets})
        groups = [range(start, min(start + size, models)) for start in starts]
        places = [target for group in groups for target in group]

        def score(answers: AttackInput, evidence: Evidence) -> NDArray[np.float64]:
            return np.concatenate([_score_group(answers, evidence, group) for group in groups])

        scores = _in_windows(answers, self.ingredients, score)
        return scores[[places.index(target) for target in targets]]

    def score_matched(self, answers: AttackInput, targets: Sequence[int]) -> NDArray[np.float64]:
        """The mean over folds of the shadows of the classifier's log-odds, see `_score_in_folds`."""

        def score(answers: AttackInput, evidence: Evidence) -> NDArray[np.float64]:
            return np.stack([_score_in_folds(answers, evidence, target) for target in targets])

        return _in_windows(answers, self.ingredients, score)


@register
class TmiUnconditioned(Tmi):
    """`tmi` on the raw answers alone."""

    name = "tmi-unconditioned"
    summary = "tmi without conditioning the answers on those at other points"
    ingredients = Ingredients(conditioning=False)


@register
class TmiUnshrunken(Tmi):
    """`tmi` without empirical Bayes."""

    name = "tmi-unshrunken"
    summary = "tmi without shrinking the effect towards what other points show"
    ingredients = Ingredients(shrinkage=False)


@register
class TmiWithoutContrast(Tmi):
    """`tmi` without the contrast between a point and its augmentations."""

    name = "tmi-without-contrast"
    summary = "tmi without the difference between the answers to a point and to its augmentations"
    ingredients = Ingredients(contrast=False)


@register
class TmiWithoutLabels(Tmi):
    """`tmi` without the labels of the points, of either kind."""

    name = "tmi-without-labels"
    summary = "tmi without the labels of the points"
    ingredients = Ingredients(labels=False)


@register
class Conditional(Attack):
    """The shrunken likelihood ratio of the conditioned answers to the points themselves: no metaclassifier."""

    name = "conditional"
    summary = "likelihood ratio on answers conditioned on the model's other answers; no LightGBM"
    default = 20
    version = 2

    def score(self, answers: AttackInput, targets: Sequence[int]) -> NDArray[np.float64]:
        """The log-likelihood ratio of each target's conditioned answers."""

        def score(answers: AttackInput, evidence: Evidence) -> NDArray[np.float64]:
            return np.stack([evidence.conditional_scores(target) for target in targets])

        return _in_windows(answers, Ingredients(), score)

    def score_matched(self, answers: AttackInput, targets: Sequence[int]) -> NDArray[np.float64]:
        """The same against shadows that are matched for each target."""

        def score(answers: AttackInput, evidence: Evidence) -> NDArray[np.float64]:
            matched = [answers.design.shadows_of(target, answers.membership, answers.seed) for target in targets]
            return np.stack([evidence.conditional_scores(each.target, each.apart) for each in matched])

        return _in_windows(answers, Ingredients(), score)


def _in_windows(
    answers: AttackInput, ingredients: Ingredients, score: Callable[[AttackInput, Evidence], NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Scores of all challenge points, a window of points at a time."""
    with threadpool_limits(1):  # the number of BLAS threads could change the last bits
        return np.concatenate(
            [
                score(window.answers, Evidence(window, ingredients))[:, : window.challenged]
                for window in windows(answers)
            ],
            axis=1,
        )


def _score_group(answers: AttackInput, evidence: Evidence, group: range) -> NDArray[np.float64]:
    taught = np.ones_like(answers.membership)
    taught[group] = False
    rows, labels, queries = _rows(answers, evidence, group, _few_of(taught, answers.seed))
    return _learned(rows, labels, queries, answers.seed).reshape(len(group), -1)


def _score_in_folds(answers: AttackInput, evidence: Evidence, target: int) -> NDArray[np.float64]:
    """Scores ``[points]`` where the shadows' membership would give the target's away.

    A row must be compared with equally many IN and OUT shadows whichever side it is on itself, or the classifier learns
    to tell sides by their numbers. So the shadows of each point are dealt into folds, equally many of either side in
    each, and those of a fold are compared with those of the others, as the target is. It has as many scores as there
    are folds, each by nearly all shadows; their mean is taken.
    """
    shadows = answers.design.shadows_of(target, answers.membership, answers.seed)
    points, folds = answers.membership.shape[1], min(FOLDS, *answers.design.sizes[target])
    if folds < 2:
        return np.zeros(points)
    compared = np.stack([~shadows.apart & ((shadows.ranks - 1) % folds == fold) for fold in range(folds)])
    learned = [
        _rows(answers, evidence, [target], taught, shadows.apart | apart)
        for taught, apart in zip(_few_of(compared, answers.seed), compared, strict=True)
    ]
    rows, labels, queries = (np.concatenate(parts) for parts in zip(*learned, strict=True))
    scores = _learned(rows, labels, queries, answers.seed)
    mean: NDArray[np.float64] = scores.reshape(folds, points).mean(axis=0)
    return mean


def _few_of(rows: NDArray[np.bool_], seed: int) -> NDArray[np.bool_]:
    """Of the rows that are true at most so many, of any shape."""
    flat = np.flatnonzero(rows)
    if len(flat) <= MOST_ROWS:
        return rows
    few = np.zeros_like(rows)
    few.reshape(-1)[flat[stream(seed, "metaclassifier rows").permutation(len(flat))[:MOST_ROWS]]] = True
    return few


def _rows(
    answers: AttackInput,
    evidence: Evidence,
    targets: Sequence[int],
    taught: NDArray[np.bool_],
    apart: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float32]]:
    """Features of the shadows at the points that teach, bool ``[models, points]``; their membership; the targets'."""
    wanted = taught.copy()
    wanted[targets] = True
    features, is_query = evidence.of_targets(targets, wanted, apart), np.isin(np.nonzero(wanted)[0], targets)
    return features[~is_query], answers.membership[taught], features[is_query]


def _learned(
    rows: NDArray[np.float32], labels: NDArray[np.bool_], queries: NDArray[np.float32], seed: int
) -> NDArray[np.float64]:
    """The log-odds ``[queries]`` of a classifier that learns from the rows."""
    # Nothing to learn: one kind of label, or so few shadows that no row could be compared with others.
    if labels.all() or not labels.any() or not rows.any():
        return np.zeros(len(queries))
    start = _linear_log_odds(rows, labels, queries)
    recipe = RECIPE | {"trees": min(MOST_TREES, len(rows) // ROWS_PER_TREE)}
    return fit_and_score(rows, labels, queries, recipe, seed, start)


def _linear_log_odds(
    rows: NDArray[np.float32], labels: NDArray[np.bool_], queries: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log-odds of a penalised logistic regression, for the rows that it was fitted to and for the queries."""
    from sklearn.linear_model import LogisticRegression  # half a second, in every process that knows of attacks

    inputs = _linear_inputs(rows)
    deviation = inputs.std(axis=0)
    # A feature that hardly varies among the rows, because it is at its limit everywhere, would be blown up elsewhere
    # or taken for the intercept where it is large.
    least = LEAST_DEVIATION * np.maximum(1.0, np.abs(inputs.mean(axis=0)))
    inputs /= (scale := np.where(deviation > least, deviation, 1.0))
    model = LogisticRegression(C=LINEAR_STRENGTH, solver="newton-cholesky", tol=1e-2).fit(inputs, labels)
    return model.decision_function(inputs), model.decision_function(_linear_inputs(queries) / scale)


def _linear_inputs(features: NDArray[np.float32]) -> NDArray[np.float64]:
    """Features as they are, limited, and on a logarithmic scale that keeps their sign."""
    logarithmic = np.copysign(np.log1p(2 * np.abs(features)), features)
    limited = np.clip(features, -LARGEST_INPUT, LARGEST_INPUT)
    return np.concatenate([limited, logarithmic], axis=-1, dtype=np.float64)
