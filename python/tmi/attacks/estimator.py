"""An attack as a scikit-learn estimator: fitted to shadow models, asked about any number of targets.

Unlike a run, in which every model plays the target once, the target here is a further model of unknown membership.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from tmi import _core
from tmi.attacks.checks import check_input, check_target, require_sound
from tmi.attacks.registry import Needs, Option, attack_named, lacking
from tmi.attacks.scoring import score
from tmi.errors import TmiError
from tmi.metrics.unknown_target import p_values
from tmi.predictions.attack_input import AttackInput
from tmi.predictions.intake import as_model, taken_in
from tmi.predictions.views import View

# What whoever has an estimator has.
HAS = frozenset({Needs.SHADOW_MODELS})


class MembershipAttack(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A membership inference attack on models whose pretraining data is unknown.

    It is fitted to the answers of shadow models, whose membership is known, and scores the points by the answers of a
    target, whose membership is not. All models must have been asked the same questions: the same points in the same
    order, the same augmentations.

    Args:
        attack: the name of an attack that needs no more than shadow models, and labels that the points had in
            pretraining if these are given; ``tmi attacks`` lists them.
        view: what is seen of the logits, for instance ``"top-3"``; see `tmi.View`.
        seed: for attacks that draw random numbers.
        threads: for kernels; never changes a score.
        options: of the attack, for instance ``{"gamma": 2}`` of ``"rmia"``; its defaults if left out.
        force: go on although a check finds that the arrays are wrong; ``findings_`` says what.

    Attributes:
        attack_: the attack, see `tmi.attacks.registry.Attack`.
        answers_: those of the shadow models, as `tmi.Answers`.
        findings_: what the checks of ``tmi check`` say about the shadow models.
        n_models_: number of shadow models.
        n_points_: number of points.

    Examples:
        >>> import numpy as np
        >>> from tmi.attacks.estimator import MembershipAttack
        >>> random = np.random.default_rng(0)
        >>> membership = random.random((17, 40)) < 0.5  # 17 models, 40 points
        >>> direction = 2 * random.normal(size=(40, 5))  # 5 classes
        >>> logits = random.normal(size=(17, 40, 5)) + membership[:, :, None] * direction
        >>> attack = MembershipAttack("gaussian").fit(logits[1:], membership[1:])
        >>> attack.score_samples(logits[0]).shape
        (40,)
        >>> called = attack.predict(logits[0], fpr=0.05)
        >>> bool(membership[0][called].mean() > 0.8)
        True
        >>> attack.score(logits[0], membership[0]) > 0.9
        True
    """

    n_models_: int
    n_points_: int

    def __init__(
        self,
        attack: str = "tmi",
        view: str = "logits",
        seed: int = 0,
        threads: int = 1,
        options: Mapping[str, Option] | None = None,
        force: bool = False,
    ) -> None:
        self.attack = attack
        self.view = view
        self.seed = seed
        self.threads = threads
        self.options = options
        self.force = force

    def fit(
        self,
        predictions: NDArray[Any] | Sequence[NDArray[Any]],
        membership: NDArray[np.bool_],
        labels: NDArray[np.int64] | None = None,
        pretraining_labels: NDArray[np.int64] | None = None,
    ) -> MembershipAttack:
        """Keep the answers of the shadow models. Nothing is computed before the first target is known.

        Args:
            predictions: floats ``[models, points, augmentations, classes]`` or ``[models, points, classes]``, raw
                logits; one array, or one per model, which may be memory maps. float64 is rounded to float32.
            membership: bool ``[models, points]``, was the point in the model's pretraining set.
            labels: int64 ``[points]``, the class of each point among those of the predictions, for attacks that look
                at the confidence in it.
            pretraining_labels: int64 ``[points]``, the class that each point had in pretraining, any integers.

        Raises:
            TmiError: there is no such attack or view, the attack needs more than there is, the arrays do not fit
                one another, hold NaN, or are of fewer than three models, or a check finds that they are wrong.
        """
        attack = attack_named(self.attack, self.options)
        needs = lacking(attack, HAS if pretraining_labels is None else HAS | {Needs.PRETRAINING_LABELS})
        if needs is Needs.PRETRAINING_LABELS:
            raise TmiError(f"the attack {self.attack!r} needs {needs.value}, expected fit(..., pretraining_labels=...)")
        if needs:
            raise TmiError(
                f"the attack {self.attack!r} needs {needs.value}, expected one that needs shadow models only"
            )
        answers = taken_in(
            predictions,
            membership,
            labels,
            pretraining_labels=pretraining_labels,
            seed=self.seed,
            threads=self.threads,
            view=View.parse(self.view),
        )
        self.findings_ = check_input(answers)
        require_sound(self.findings_, force=self.force)
        self.attack_, self.answers_ = attack, answers
        self.n_models_, self.n_points_ = answers.membership.shape
        self._shadow_scores: NDArray[np.float64] | None = None
        return self

    def score_samples(self, target: NDArray[Any]) -> NDArray[np.float64]:
        """Score every point against all shadow models.

        Args:
            target: floats ``[points, augmentations, classes]`` or ``[points, classes]``, raw logits of one model about
                the same points.

        Returns:
            float64 ``[points]``, higher = member.

        Raises:
            TmiError: the target's answers do not fit those of the shadow models, or a check finds that the target does
                not belong to them.
        """
        check_is_fitted(self, "answers_")
        shadows: AttackInput = self.answers_
        asked = as_model(target, "target")
        if asked.shape != (expected := shadows.predictions.shape[1:]):
            raise TmiError(
                f"target has shape {asked.shape}, expected {expected} [points, augmentations, classes] as "
                "the shadow models have"
            )
        require_sound(check_target(shadows, asked), force=self.force)
        scores: NDArray[np.float64] = score(self.attack_, shadows.with_target(asked), range(1))[0]
        return scores

    def shadow_scores(self) -> NDArray[np.float64]:
        """Scores of the shadow models, each in turn the target of the others; computed once.

        Returns:
            float64 ``[models, points]``, read-only, higher = member.
        """
        check_is_fitted(self, "answers_")
        if self._shadow_scores is None:
            self._shadow_scores = score(self.attack_, self.answers_, range(self.n_models_))
            self._shadow_scores.setflags(write=False)
        return self._shadow_scores

    def p_values(self, target: NDArray[Any]) -> NDArray[np.float64]:
        """The probability that a non-member scores as high as each point of the target.

        See `tmi.metrics.unknown_target.p_values`.

        Args:
            target: as for `score_samples`.

        Returns:
            float64 ``[points]``, in (0, 1]; small = member.
        """
        return p_values(self.score_samples(target), self.shadow_scores(), self.answers_.membership)

    def predict(self, target: NDArray[Any], fpr: float = 0.01) -> NDArray[np.bool_]:
        """Call points members so that about a share ``fpr`` of the non-members is called wrongly.

        No point is called where the shadow models have fewer than ``1 / fpr - 1`` non-members between them, which is
        too few to know so small a rate.

        Args:
            target: as for `score_samples`.
            fpr: the false positive rate, in (0, 1).

        Returns:
            bool ``[points]``.

        Raises:
            TmiError: as `score_samples`; also if ``fpr`` is no rate.
        """
        if not 0 < fpr < 1:
            raise TmiError(f"fpr is {fpr!r}, expected a rate between 0 and 1")
        called: NDArray[np.bool_] = self.p_values(target) <= fpr
        return called

    def score(self, target: NDArray[Any], membership: NDArray[np.bool_]) -> float:
        """The AUC for a target whose membership is known after all; 0.5 = coin flip, higher is better.

        Args:
            target: as for `score_samples`.
            membership: bool ``[points]`` of the target.

        Raises:
            TmiError: as `score_samples`; also if ``membership`` does not fit or all of it is equal.
        """
        check_is_fitted(self, "answers_")
        truth = np.asarray(membership)
        if truth.dtype != np.bool_ or truth.shape != (self.n_points_,):
            raise TmiError(
                f"membership of the target has type {truth.dtype} and shape {truth.shape}, "
                f"expected bool {(self.n_points_,)}, one per point"
            )
        if truth.all() or not truth.any():
            raise TmiError("all memberships of the target are equal, expected members and non-members")
        return float(_core.roc_metrics(self.score_samples(target)[None], truth[None], np.empty(0))[0])
