"""What is attacked and judged: a run, saved predictions, or arrays in memory."""

from __future__ import annotations

import pickle
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from tmi.attacks.checks import Finding
from tmi.attacks.registry import Option, attack_named, options_of
from tmi.config import AttackedConfig
from tmi.predictions.attack_input import AttackInput
from tmi.predictions.views import View
from tmi.report.results import Results
from tmi.report.tables import Data, LooksAt, Models, Provenance
from tmi.runs.adversaries import Adversary, all_adversaries, attack_of, attacks_by, main_adversary
from tmi.runs.directory import RunDirectory
from tmi.system.files import content_key, known_hashes, learn_hashes, sidecar

if TYPE_CHECKING:
    from typing_extensions import Self

    from tmi.report.exhibits import Exhibit


@dataclass(frozen=True)
class Description:
    """What the results say about a subject besides figures.

    Attributes:
        kind: ``run`` or ``saved predictions``.
        models: what was attacked.
        data: without what membership tells.
        points: int64 ``[points]``, what each challenge point is called.
        labels: of each challenge point; empty strings where points have none.
        provenance: what the figures rest on.
        seconds: time of every stage.
        target: what the target of unknown membership is called.
        ids: what the owner of the data calls each point; empty where that is its number.
        looks_at: whose confidence attacks see that look at one number of each answer.
    """

    kind: Literal["run", "saved predictions"]
    models: Models
    data: Data
    points: NDArray[np.int64]
    labels: Sequence[str]
    provenance: Provenance
    seconds: dict[str, float]
    target: str = ""
    looks_at: LooksAt = "top class of the target"
    ids: Sequence[str] = ()


class Subject(ABC):
    """Models whose predictions are attacked and judged.

    Attributes:
        config: the attacks, their evaluation and the machine.
    """

    config: AttackedConfig

    @property
    @abstractmethod
    def has_target(self) -> bool:
        """Whether there is a target of unknown membership beside the models."""

    @property
    @abstractmethod
    def membership(self) -> NDArray[np.bool_]:
        """Bool ``[models, points]``."""

    @abstractmethod
    def scores(self, attack: str, adversary: Adversary) -> NDArray[np.float64]:
        """Scores ``[targets, points]`` of an adversary's attack."""

    @abstractmethod
    def target_scores(self, attack: str) -> NDArray[np.float64]:
        """Scores ``[points]`` of the target of unknown membership."""

    @abstractmethod
    def seconds(self, attack: str) -> float:
        """How long the main adversary's attack took."""

    @abstractmethod
    def describe(self, provenance: Provenance, seconds: dict[str, float]) -> Description:
        """What the results say besides figures.

        Args:
            provenance: what the figures rest on.
            seconds: time of every stage.
        """

    @property
    @abstractmethod
    def findings(self) -> Sequence[Finding]:
        """What checks of the input say, good or bad, about what is there already."""

    @property
    def target_finetunings(self) -> int:
        """In how many of the finetunings, the first ones, the target of unknown membership was asked."""
        return 1

    def target_adversary(self, attack: str) -> Adversary:
        """Who attacks the target of unknown membership, and the models with which it is compared."""
        together = self.target_finetunings if attack_named(attack).together else 1
        return replace(main_adversary(self.config), together=together)

    @property
    def target_attacks(self) -> list[str]:
        """The attacks on a target of unknown membership: those that need nothing of it but its predictions."""
        names = attacks_by(self.config, main_adversary(self.config)) if self.has_target else []
        return [name for name in names if not attack_named(name).direct_access]

    def label(self, stage: str) -> str:
        """What a stage is called in the progress display."""
        return stage


class StoredSubject(Subject):
    """A subject whose scores and results lie in a directory; cheap to send to a worker process.

    It is a dataclass. A process that is sent it several times keeps the first, and with it what was cached in it.

    Attributes:
        directory: where scores and results lie.
    """

    directory: RunDirectory

    @abstractmethod
    def stages(self) -> list[str]:
        """The stages in their order, each a module of `tmi.runs.stages`."""

    @abstractmethod
    def stage_files(self, stage: str) -> dict[Path, str]:
        """The files that a stage leaves, with their artefact keys."""

    @abstractmethod
    def check(self, *, force: bool = False) -> None:
        """Find out whether everything fits, before anything is written.

        Args:
            force: go on with what fits but is found to be wrong.

        Raises:
            TmiError: it does not.
        """

    @property
    @abstractmethod
    def points(self) -> int:
        """Number of challenge points."""

    @property
    @abstractmethod
    def answers_key(self) -> str:
        """A hash of everything that the predictions come from, and of the number of targets."""

    @property
    @abstractmethod
    def target_key(self) -> str | None:
        """A hash of what the predictions of a target of unknown membership come from; None without such a target."""

    @property
    @abstractmethod
    def fingerprints(self) -> dict[str, str]:
        """Hashes of the data or files that are read, for the provenance."""

    @property
    @abstractmethod
    def keys(self) -> Mapping[str, str]:
        """Artefact keys, for the provenance."""

    @property
    @abstractmethod
    def attack_files(self) -> list[Path]:
        """The files and folders that attacks read."""

    @abstractmethod
    def moved(self, place: Callable[[Path], Path]) -> Self:
        """The same for a machine that has the file or directory ``path`` at ``place(path)``."""

    @abstractmethod
    def opened_answers(self, memory: int) -> AttackInput:
        """The predictions of all models, within so many bytes of working memory."""

    @abstractmethod
    def opened_with_target(self, memory: int) -> AttackInput:
        """The same with the target of unknown membership before all models, which are its shadows."""

    def files(self) -> dict[Path, str]:
        """All artefacts that it may write, with their keys."""
        return {path: key for stage in self.stages() for path, key in self.stage_files(stage).items()}

    @property
    def leaves(self) -> list[Path]:
        """Everything below its directory that it may write, besides configuration and manifest."""
        files = [*self.files(), *self.unfinished]
        own = [*files, *map(sidecar, files), *self.directory.documents]
        return [*own, *(path for variant in self.variants for path in variant.leaves)]

    @property
    def unfinished(self) -> list[Path]:
        """What stages leave on their way to their files."""
        return []

    @property
    def variants(self) -> Sequence[StoredSubject]:
        """Others that share stages with it and are reported with it."""
        return []

    @property
    def finetunings(self) -> Sequence[StoredSubject]:
        """Itself, and the other finetunings of the same models that adversaries see with it, in their order."""
        return [self]

    def with_variants(self, results: Results, of_variants: Mapping[str, Results]) -> Results:
        """The results with what they say about its variants side by side.

        Args:
            results: of the subject itself.
            of_variants: of its variants, by name.
        """
        return results

    def exhibits(self, points: Sequence[int]) -> list[Exhibit]:
        """What challenge points look like, given by what they are called; empty where that is not known."""
        return []

    def answers(self, memory: int, view: View, together: int = 1, *, with_target: bool = False) -> AttackInput:
        """What is seen of the predictions; the same object for all attacks on them, which share what they make of it.

        Args:
            memory: bytes of working memory.
            view: what is seen.
            together: in how many finetunings.
            with_target: with the target of unknown membership before all models.
        """
        key, kept = (memory, view.name, together, with_target), vars(self)
        if kept.get("_answers", (None,))[0] != key:
            # What is let go makes room before the next is opened.
            kept.pop("_answers", None)
            own, *others = (
                each.opened_with_target(memory) if with_target else each.opened_answers(memory)
                for each in self.finetunings[:together]
            )
            kept["_answers"] = key, replace(own, companions=tuple(others)).seen_through(view)
        seen: AttackInput = kept["_answers"][1]
        return seen

    @property
    def has_target(self) -> bool:
        """Whether there is a target of unknown membership beside the models."""
        return self.target_key is not None

    @property
    def membership(self) -> NDArray[np.bool_]:
        """Bool ``[models, points]``, as it was written."""
        return np.asarray(self.directory.load_array(self.directory.membership))

    def scores(self, attack: str, adversary: Adversary) -> NDArray[np.float64]:
        """Scores ``[targets, points]`` of an adversary's attack, as they were written."""
        return np.asarray(self.directory.load_array(self.directory.scores(attack, adversary.folder)))

    def target_scores(self, attack: str) -> NDArray[np.float64]:
        """Scores ``[points]`` of the target of unknown membership, as they were written."""
        scores: NDArray[np.float64] = self.directory.load_array(self.directory.target_scores(attack))[0]
        return np.asarray(scores)

    def seconds(self, attack: str) -> float:
        """How long the main adversary's attack took when it was run."""
        path = self.directory.scores(attack, main_adversary(self.config).folder)
        return float(self.directory.facts(path).get("seconds", 0.0))

    def score_key(self, attack: str, adversary: Adversary) -> str:
        """The artefact key of the scores of an adversary's attack."""
        seen = (adversary.view.name, adversary.shadows, *self._attack_in_keys(attack))
        others = [each.answers_key for each in self.finetunings[1 : adversary.together]]
        return content_key(self.answers_key, attack, *seen, *([others] if others else []))

    def target_score_key(self, attack: str) -> str:
        """The artefact key of the scores of the target of unknown membership under an attack."""
        asked = (self.answers_key, self.target_key, attack, self.config.attack.views[0], *self._attack_in_keys(attack))
        together = self.target_adversary(attack).together
        others = [(each.answers_key, each.target_key) for each in self.finetunings[1:together]]
        return content_key("target", *asked, *([others] if others else []))

    def _attack_in_keys(self, name: str) -> list[dict[str, Option] | int]:
        """What an attack adds to the keys of its scores: its options, the defaults as well, and its version."""
        attack = attack_of(self.config, name)
        options = options_of(attack)
        return [*([options] if options else []), *([attack.version] if attack.version > 1 else [])]

    @property
    def score_files(self) -> dict[Path, str]:
        """All files of scores with their artefact keys."""
        files = {
            self.directory.scores(attack, adversary.folder): self.score_key(attack, adversary)
            for adversary in all_adversaries(self.config)
            for attack in attacks_by(self.config, adversary)
        }
        return files | {self.directory.target_scores(name): self.target_score_key(name) for name in self.target_attacks}

    @property
    def device(self) -> str | None:
        """Where models are trained; None where none are."""
        return None

    @property
    def sent(self) -> dict[str, Any]:
        """What is sent to worker processes beside the fields, by the names of attributes."""
        return {}

    def __reduce__(self) -> tuple[Any, ...]:
        """The fields and what is sent with them, not all that was cached."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        known = known_hashes([path for each in self.finetunings for path in each.attack_files])
        return _received, (pickle.dumps((type(self), values, self.sent, known)),)


# One, and with it the predictions that it has opened; the run that a variant belongs to is within the variant.
@lru_cache(maxsize=1)
def _received(sent: bytes) -> StoredSubject:
    """The subject that a worker process was sent, the same for all jobs on it."""
    kind, values, further, known = pickle.loads(sent)
    learn_hashes(known)
    subject: StoredSubject = kind(**values)
    vars(subject).update(further)
    return subject
