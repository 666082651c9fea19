"""Numerical kernels in Rust.

Rules for all of them:

- Arrays may have any strides and may be memory maps: nothing of an input's size is copied. float16 is widened to
  float32 in small blocks. Other types, or another byte order, raise TypeError; convert with ``astype`` first.
- Wrong shapes, axes of length zero, NaN and values outside their domain raise ValueError. The message names the
  argument, what was found and what is expected.
- Memory that is not there raises MemoryError; no call ends the process. Of more classes (or features) than 256 and than
  models (or points) no matrix of classes is made: what is computed are products of answers, which are the same, up to
  rounding, in the span of these.
- ``threads`` (at least 1) changes how long a call takes, never a bit of its result. The interpreter is released.
- Axes: N models, P points, M augmentations (queries of one point), K classes, T targets, R resamples. Membership
  is true where the point was in the model's pretraining set (IN), false where not (OUT).
"""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

_Floats: TypeAlias = NDArray[np.float32] | NDArray[np.float16]

__all__ = [
    "EMPIRICAL_BAYES_FEATURES",
    "__version__",
    "adapted_lira",
    "apply_view",
    "condition",
    "gaussian_scores",
    "label_probe",
    "leave_one_out_feature_names",
    "leave_one_out_features",
    "reduce_logits",
    "roc_curve",
    "roc_metrics",
    "roc_resample",
    "scale_logits",
]

__version__: str

def scale_logits(logits: _Floats, *, clip_norm: float | None = None, threads: int = 1) -> NDArray[np.float32]:
    """Log-odds of every class from raw logits.

    ``s_c = log(p_c / (1 - p_c)) = z_c - logsumexp over j != c of z_j``, the logit scaling of Carlini et al. 2022
    (section IV-C), for all classes as in arXiv 2306.01181 (section 4). Never by way of the probability, so the
    result is right to float32 rounding (within 6e-7 + 3e-7 |s|) however confident the model is. Logits are limited
    to ±10,000 first, which gives infinities a defined result.

    Args:
        logits: float32 or float16 [rows, K], K at least 2.
        clip_norm: scale rows of larger Euclidean norm down to this norm; positive.
        threads: number of threads.

    Returns:
        float32 [rows, K].

    Raises:
        ValueError: no rows, K below 2, NaN in logits, clip_norm not positive and finite.
        TypeError: logits of another type.
    """

def apply_view(
    logits: _Floats,
    kind: Literal["probabilities", "top", "top-unnamed", "label", "rounded"],
    parameter: int = 0,
    *,
    threads: int = 1,
) -> NDArray[np.float32]:
    """What an adversary sees of raw logits, as logarithms of the probabilities that are seen.

    With the float32 softmax ``p`` of a row:

    - ``probabilities``: ``p``
    - ``top``: ``p`` of the ``parameter`` largest classes; the others have equal shares of the rest, 1 - their sum
    - ``top-unnamed``: the ``parameter`` largest of ``p`` in descending order, then the equal shares
    - ``label``: 1 for the largest class, 0 for the others
    - ``rounded``: ``p`` rounded to ``parameter`` decimals, ties to even

    The largest are those of the largest logits, of equal logits the lower classes. What is seen has floors: e^-87
    (1.6e-38) for any probability, 2^-25 for the rest, 1e-3 for classes that are not the label, half of the last decimal
    of ``rounded``. No share of the rest is above the smallest of the probabilities seen. Infinite logits count as
    ±10,000.

    ``top`` and ``top-unnamed`` take ``parameter`` passes over a row: O(K * parameter), 16 rows at a time.

    Args:
        logits: float32 or float16 [rows, K], K at least 2.
        kind: see above.
        parameter: 1 to K for ``top`` and ``top-unnamed``, 1 to 7 for ``rounded``, else 0.
        threads: number of threads.

    Returns:
        float32 [rows, K], natural logarithms.

    Raises:
        ValueError: no rows, K below 2, NaN in logits, another kind, a parameter outside its domain.
        TypeError: logits of another type.
    """

def reduce_logits(
    predictions: _Floats, *, threads: int = 1
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Scaled logits reduced over the augmentations, in one pass over the predictions.

    Args:
        predictions: raw logits, float32 or float16 [N, P, M, K], K at least 2.
        threads: number of threads.

    Returns:
        Three float32 arrays: the mean over M of ``scale_logits`` [N, P, K]; the mean over M of ``scale_logits`` with
        ``clip_norm=1`` [N, P, K]; the standard deviation (divisor M) over M of the largest scaled logit [N, P].

    Raises:
        ValueError: an axis of length zero, K below 2, NaN in predictions.
        TypeError: predictions of another type.
    """

def leave_one_out_features(
    x: NDArray[np.float32],
    membership: NDArray[np.bool_],
    target: int,
    *,
    apart: NDArray[np.bool_] | None = None,
    wanted: NDArray[np.bool_] | None = None,
    ridges: Sequence[float] = ...,
    prior: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
    share: float = 0.6,
    threads: int = 1,
) -> NDArray[np.float32]:
    """How each model's answers compare with those of the IN and the OUT shadows of each point.

    A model is compared with all models but the target and itself, the target with all but itself, so a feature means
    the same for both. Means and variances are per point and class. With the pooled within-side variance ``vp``,
    unbiased and not below ``max(1e-3 * its mean over the classes, 1e-6)``, each side's own variance is 0.7 of its
    own, floored alike, and 0.3 of ``vp``. Features, named by ``leave_one_out_feature_names``:

    - ``llr_shared``: sum over the classes of ``((x - mean_out)^2 - (x - mean_in)^2) / (2 vp)``, the log-likelihood
      ratio of online LiRA (Carlini et al. 2022, section IV) with one variance; ``llr_separate``: with each side's
      own; ``max_llr``, ``min_llr``: largest and smallest term of the former
    - ``top_llr_shared``, ``top_llr_separate``, ``top_z_out`` = ``(x - mean_out) / sqrt(vp)``, ``top_z_in``,
      ``top_shift`` = ``(mean_in - mean_out) / sqrt(vp)``, ``top_value`` = ``x``: at the class where the model's own
      ``x`` is largest
    - ``separation``: sum of ``(mean_in - mean_out)^2 / vp``; ``distance_out``, ``distance_in``: square roots of the
      sums of ``(x - mean)^2 / vp``
    - ``lda_<ridge>``: linear discriminant ``(mean_in - mean_out)' C^-1 (x - (mean_in + mean_out) / 2)`` where
      ``C = S + ridge * max(trace(S) / K, 1e-6) I`` and S is the pooled covariance, the model left out of all of it

    With a prior, ``EMPIRICAL_BAYES_FEATURES`` follow: likelihood ratios along an IN - OUT shift that is shrunken
    towards an expected one. With the difference ``D`` of the means, its sampling variance ``v`` per class, the prior
    mean ``f`` and variance ``t``, the shift is ``h = (D t + f v) / (t + v)`` (empirical Bayes) and the score
    ``h^T C^-1 (x - m + (p - 1/2) h)`` with the mean ``m`` of the shadows, the share ``p`` of the IN ones and
    ``C = (1 - share) S + share trace(S) / K I``.

    - ``expected``: the score along ``f``; ``shrunken``: along ``h``; ``certainty``: the norm ``sqrt(h^T C^-1 h)``

    Costs O(N K^2 + K^3) per point and O(K^2) per row.

    Args:
        x: finite numbers, float32 [N, P, K]; for example a mean of scaled logits.
        membership: bool [N, P]; the target's row has no influence.
        target: index of the target.
        apart: bool [N, P], other models that are treated as the target is: they get features and enter no statistic.
        wanted: bool [N, P], the models and points that features are wanted of; all of them unless given.
        ridges: (0.5, 2.0) unless given; one discriminant each, between 1e-6 and 1e6.
        prior: the expected shift, float64 [P, K], and how far true shifts lie from it, variances from 0, float64 [K].
            ``x`` should be whitened by the mean covariance over points.
        share: of the identity in the covariance, with a prior; in (0, 1).
        threads: number of threads.

    Returns:
        float32 [rows, 13 + len(ridges)], or 3 more with a prior. A row is a model at a point, of those wanted, in the
        order of the models and, within a model, of the points. Finite, limited to ±1,000,000. Where no IN or no OUT
        shadow is left, all features but ``top_value`` are exactly 0.

    Raises:
        ValueError: an axis of length zero, shapes that do not fit, NaN or infinity in x or the prior, no such target,
            a ridge, a variance or a share outside its domain.
        TypeError: an array of another type.
    """

def leave_one_out_feature_names(ridges: Sequence[float] = ...) -> list[str]:
    """Names of the last axis of ``leave_one_out_features`` without a prior, in order."""

EMPIRICAL_BAYES_FEATURES: list[str]
"""Names of the features that ``leave_one_out_features`` has with a prior besides, in order."""

def gaussian_scores(
    x: NDArray[np.float32],
    membership: NDArray[np.bool_],
    targets: NDArray[np.int64],
    *,
    ridge: float = 0.5,
    threads: int = 1,
) -> NDArray[np.float64]:
    """Linear discriminant score of each target against all other models.

    The feature ``lda_<ridge>`` of ``leave_one_out_features`` with nothing but the scored target left out, for any
    number of targets from one factorisation per point.

    Args:
        x: finite numbers, float32 [N, P, K].
        membership: bool [N, P].
        targets: indices of the targets, int64 [T].
        ridge: between 1e-6 and 1e6.
        threads: number of threads.

    Returns:
        float64 [T, P], higher = more likely a member; 0 where no IN or no OUT shadow is left.

    Raises:
        ValueError: an axis of length zero, shapes that do not fit, NaN or infinity in x, no such target, a ridge
            outside its domain.
        TypeError: an array of another type.
    """

def adapted_lira(
    predictions: _Floats,
    membership: NDArray[np.bool_],
    targets: NDArray[np.int64],
    *,
    covariance: Literal["full", "pooled", "diagonal"] = "full",
    threads: int = 1,
) -> NDArray[np.float64]:
    """Adapted LiRA, the baseline of arXiv 2306.01181: Gaussian likelihood ratio over the augmentations.

    For each augmentation the answer compared is the scaled logit of the class that the target holds most likely.
    Multivariate Gaussians over the M augmentations are fitted to the answers of the IN and of the OUT shadows (all
    models but the target); the score is ``log N(target | IN) - log N(target | OUT)``.

    Every variance is raised by a jitter of 1e-6 of the mean pooled variance at the point (at least 1e-9), the same
    for both sides: repeated queries, or fewer shadows than augmentations, leave the score defined.

    Args:
        predictions: raw logits, float32 or float16 [N, P, M, K], K at least 2.
        membership: bool [N, P].
        targets: indices of the targets, int64 [T].
        covariance: "full", an unbiased covariance for each side, as in the paper; "pooled", one for both, 0.7 of it
            and 0.3 of its mean variance times the identity; "diagonal", variances only, for each side. A side of one
            shadow takes the pooled estimate.
        threads: number of threads.

    Returns:
        float64 [T, P], higher = more likely a member; 0 where no IN or no OUT shadow is left.

    Raises:
        ValueError: an axis of length zero, K below 2, shapes that do not fit, NaN in predictions, no such target,
            another covariance.
        TypeError: an array of another type.
    """

def roc_curve(
    scores: NDArray[np.float64], labels: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """ROC curve with every distinct score as a threshold; higher scores mean members.

    Equal to ``sklearn.metrics.roc_curve(labels, scores, drop_intermediate=False)``, except that infinite scores are
    legal.

    Args:
        scores: float64 [n], without NaN.
        labels: bool [n], true for members; both values must occur.

    Returns:
        False positive rates, true positive rates and thresholds, float64 [distinct scores + 1], from the threshold
        infinity, which takes nothing, to the lowest score, which takes everything.

    Raises:
        ValueError: no entries, other lengths, NaN in scores, labels all alike.
        TypeError: an array of another type.
    """

def roc_metrics(
    scores: NDArray[np.float64],
    labels: NDArray[np.bool_],
    false_positive_rates: NDArray[np.float64],
    *,
    threads: int = 1,
) -> NDArray[np.float64]:
    """AUC, best balanced accuracy and true positive rates of all entries pooled.

    Entries of equal score are taken together, as in scikit-learn. The balanced accuracy is the largest
    ``1 - (FPR + FNR) / 2`` over all thresholds. The true positive rate at a given false positive rate is that of the
    lowest threshold whose false positive rate is not above it: a step function, nothing is interpolated.

    Args:
        scores: float64 [T, P], without NaN; infinities are legal.
        labels: bool [T, P], true for members; both values must occur.
        false_positive_rates: float64 [F], each from 0 to 1.
        threads: number of threads.

    Returns:
        float64 [2 + F]: AUC, balanced accuracy, then one true positive rate per given false positive rate.

    Raises:
        ValueError: an axis of length zero (but F may be 0), other shapes, NaN in scores, labels all alike, rates
            outside [0, 1].
        TypeError: an array of another type.
    """

def roc_resample(
    scores: NDArray[np.float64],
    labels: NDArray[np.bool_],
    target_weights: NDArray[np.uint16],
    point_weights: NDArray[np.uint16],
    false_positive_rates: NDArray[np.float64],
    *,
    threads: int = 1,
) -> NDArray[np.float64]:
    """``roc_metrics`` in each of R resamples of the targets and the points.

    In resample r the entry of target t and point p counts ``target_weights[r, t] * point_weights[r, p]`` times: the
    pigeonhole bootstrap (Owen 2007), which respects that entries share targets and points. Equal to scikit-learn's
    metrics with these products as ``sample_weight``. The scores are sorted once; a resample is one pass.

    Args:
        scores: float64 [T, P], without NaN; infinities are legal.
        labels: bool [T, P], true for members.
        target_weights: how often each target is drawn, uint16 [R, T].
        point_weights: how often each point is drawn, uint16 [R, P].
        false_positive_rates: float64 [F], each from 0 to 1.
        threads: number of threads.

    Returns:
        float64 [R, 2 + F], columns as in ``roc_metrics``. A resample without a member or without a non-member has AUC
        and balanced accuracy 0.5 and all true positive rates 0.

    Raises:
        ValueError: T or P of zero, shapes that do not fit, NaN in scores, rates outside [0, 1].
        TypeError: an array of another type.
    """

def condition(
    x: NDArray[np.float32],
    regressors: NDArray[np.float32],
    weights: NDArray[np.float32],
    *,
    penalty: float = 1.0,
    threads: int = 1,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Leave-one-model-out residuals of answers after a kernel ridge regression on the same models' other answers.

    The kernel between models at point ``p`` is ``K_p = 1 + sum_q weights[p, q] B_q B_q^T / dimensions`` with the rows
    of ``B_q = regressors[:, q]``; with ``A = (K_p + penalty I)^-1`` the residual of model ``n`` is
    ``(A x)_n / A_nn`` (Rasmussen and Williams 2006, section 5.4.2).

    Args:
        x: float32 ``[models, points, features]``.
        regressors: float32 ``[models, others, dimensions]``, standardised over the models.
        weights: float32 ``[points, others]``, from 0; the weight of a point for itself should be 0.
        penalty: between 1e-3 and 1e6.
        threads: number of threads, from 1; never changes a bit of the result.

    Returns:
        The residuals, float32 ``[models, points, features]``, and the matrices ``A``, float32
        ``[points, models, models]``.

    Raises:
        ValueError: an axis of length zero, shapes that do not fit, an argument outside its domain, NaN or infinity.
        TypeError: an array of another type.
    """

def label_probe(
    x: NDArray[np.float32],
    labels: NDArray[np.int64],
    weights: NDArray[np.float32],
    *,
    penalty: float = 0.1,
    threads: int = 1,
) -> NDArray[np.float64]:
    """Log odds of each point's own label, from every model's answers to labelled points alone.

    A linear discriminant per model, which points teach. With ``w_p = weights[n, p]``, the weight ``W`` of all teachers
    of model ``n``, their mean ``m`` and the weight ``W_c`` of those with label ``c``:

    - means: ``m_c = (sum of w_p x_p over c + m) / (W_c + 1)``, one pseudo-count at ``m``
    - covariance: ``C = (1 - penalty) S + penalty trace(S) / d I`` with ``S = sum_p w_p (x_p - m_c) (x_p - m_c)^T / W``
      about the mean of each teacher's own label
    - log odds: ``-D / 2 - logsumexp over the other taught labels c of -D_c / 2`` with the squared distance
      ``D_c = (x_p - m_c)^T C^-1 (x_p - m_c)``; ``D`` is that to the mean of the point's own label without the point

    The point itself is left out of that mean alone. A point without weight is scored and has no influence on others.
    Within 1e-6 of float64 arithmetic, but for the rounding of distances that are large. Costs O(P d (d + labels)) per
    model; one model is worked on by one thread.

    Args:
        x: finite numbers, float32 ``[models, points, d]``.
        labels: any integers, at least 2 different ones, int64 ``[points]``.
        weights: how much each point teaches the probe of each model, from 0, float32 ``[models, points]``: 1 for a
            teacher, 0 for a point that is only scored, or a probability.
        penalty: share of the identity in the covariance, between 1e-6 and 1.
        threads: number of threads, from 1; never changes a bit of the result.

    Returns:
        float64 ``[models, points]``, natural logarithms, higher = the own label shows more. 0 where no other teacher
        has the point's own label, where no other label has a teacher, and in a model whose teachers are all alike.

    Raises:
        ValueError: an axis of length zero, shapes that do not fit, labels all alike, NaN or infinity in x, a weight
            that is negative or not finite, a penalty outside its domain.
        TypeError: an array of another type.
    """
