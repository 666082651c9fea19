"""A case: models whose answers are attacked and judged, whether they were trained here or their answers were saved."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from tmi.attacks.registry import Option, attack_named, options_of
from tmi.config import AttackedConfig
from tmi.predictions.attack_input import AttackInput
from tmi.predictions.views import View
from tmi.report.results import Data, Models, Provenance
from tmi.runs.adversaries import Adversary, all_adversaries, attack_of
from tmi.runs.directory import RunDirectory
from tmi.system.files import content_key

if TYPE_CHECKING:
    from typing_extensions import Self


class Case(ABC):
    """What the stages that attack and judge need to know; cheap to send to a worker process.

    Attributes:
        config: the attacks, their evaluation and the machine.
        directory: where scores and results lie.
    """

    config: AttackedConfig
    directory: RunDirectory

    @property
    @abstractmethod
    def points(self) -> int:
        """Number of challenge points."""

    @property
    @abstractmethod
    def answers_key(self) -> str:
        """A hash of everything that the answers come from, and of the number of targets."""

    @property
    @abstractmethod
    def target_key(self) -> str | None:
        """A hash of what the answers of a target of unknown membership come from; None without such a target."""

    @property
    @abstractmethod
    def attack_files(self) -> list[Path]:
        """The files and folders that attacks read."""

    @abstractmethod
    def moved(self, place: Callable[[Path], Path]) -> Self:
        """The same for a machine that has the file or directory ``path`` at ``place(path)``."""

    @abstractmethod
    def opened_answers(self, memory: int) -> AttackInput:
        """The answers of all models, within so many bytes of working memory."""

    @abstractmethod
    def opened_with_target(self, memory: int) -> AttackInput:
        """The same with the target of unknown membership before all models, which are its shadows."""

    def answers(self, memory: int, view: View) -> AttackInput:
        """What is seen of the answers of all models; the same object for all attacks of a process on them."""
        return _cached(content_key(self._where, self.answers_key, memory, view.name), self.opened_answers, memory, view)

    def target_answers(self, memory: int, view: View) -> AttackInput:
        """What is seen of those with the target of unknown membership, likewise."""
        key = content_key(self._where, self.answers_key, self.target_key, memory, view.name)
        return _cached(key, self.opened_with_target, memory, view)

    @property
    def _where(self) -> str:
        return str(self.directory.root)

    def label(self, stage: str) -> str:
        """What a stage is called in the progress display."""
        return stage

    @property
    def target_attacks(self) -> list[str]:
        """The attacks on a target of unknown membership: those that need nothing of it but its answers."""
        if self.target_key is None:
            return []
        return [name for name in self.config.attack.names if not attack_named(name).upper_bound]

    def score_key(self, attack: str, adversary: Adversary) -> str:
        """The artefact key of the scores of an adversary's attack."""
        return content_key(
            self.answers_key, attack, adversary.view.name, adversary.shadows, *self._options_in_keys(attack)
        )

    def target_score_key(self, attack: str) -> str:
        """The artefact key of the scores of the target of unknown membership under an attack."""
        options = self._options_in_keys(attack)
        return content_key("target", self.answers_key, self.target_key, attack, self.config.attack.views[0], *options)

    def _options_in_keys(self, attack: str) -> list[dict[str, Option]]:
        """What an attack's options add to the keys of its scores: their values, the defaults as well."""
        options = options_of(attack_of(self.config, attack))
        return [options] if options else []

    @property
    def score_files(self) -> dict[Path, str]:
        """All files of scores with their artefact keys."""
        files = {
            self.directory.scores(attack, adversary.folder): self.score_key(attack, adversary)
            for adversary in all_adversaries(self.config)
            for attack in self.config.attack.names
        }
        return files | {self.directory.target_scores(name): self.target_score_key(name) for name in self.target_attacks}


_answers: dict[str, AttackInput] = {}


def _cached(key: str, opened: Callable[[int], AttackInput], memory: int, view: View) -> AttackInput:
    """The answers, opened once per process: attacks on the same ones share what they make of them."""
    if key not in _answers:
        _answers.clear()
        _answers[key] = opened(memory).seen_through(view)
    return _answers[key]


@dataclass(frozen=True)
class Description:
    """What the results say about a case besides figures.

    Attributes:
        kind: ``run`` or ``saved predictions``.
        models: what was attacked.
        data: without what membership tells.
        points: int64 ``[points]``, what each challenge point is called.
        labels: of each challenge point; empty strings where points have none.
        provenance: what the figures rest on.
        seconds: time of every stage.
        target: what the target of unknown membership is called.
        labelled: whether attacks know the class of each point among those of the predictions.
    """

    kind: Literal["run", "saved predictions"]
    models: Models
    data: Data
    points: NDArray[np.int64]
    labels: Sequence[str]
    provenance: Provenance
    seconds: dict[str, float]
    target: str = ""
    labelled: bool = False
