"""A case whose models were trained and queried by others: their answers are read from files, where these lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tmi.attacks.check import Finding, check_input, require_sound
from tmi.attacks.registry import Needs, attack_named, default_attacks
from tmi.config import SavedConfig, SavedFiles, saved_config, with_values
from tmi.errors import TmiError
from tmi.predictions.arrays import Predictions
from tmi.predictions.attack_input import AttackInput
from tmi.predictions.formats import SavedArrays, read_saved, read_target
from tmi.predictions.views import View
from tmi.report.tables import Data, Models, Provenance, ReadFile
from tmi.runs.adversaries import by_view, main_adversary, with_attacks
from tmi.runs.directory import RunDirectory
from tmi.runs.subject import Description, StoredSubject
from tmi.system.files import content_key, file_hash
from tmi.system.memory import DEFAULT_MEMORY

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True)
class SavedPredictions(StoredSubject):
    """An audit of saved predictions and the directory of its scores and results."""

    config: SavedConfig
    directory: RunDirectory

    @cached_property
    def arrays(self) -> SavedArrays:
        """What the files hold; memory maps where the layout allows it."""
        return read_arrays(self.config.files)

    def stages(self) -> list[str]:
        """Nothing is trained: the membership is copied into the directory, and attacked."""
        return ["read", "score"]

    def stage_files(self, stage: str) -> dict[Path, str]:
        """The files that a stage leaves, with their artefact keys."""
        if stage == "read":
            return dict.fromkeys([self.directory.membership, self.directory.challenge_points], self.answers_key)
        return self.score_files

    @property
    def points(self) -> int:
        """Number of challenge points."""
        return int(self.arrays.membership.shape[1])

    @property
    def answers_key(self) -> str:
        """A hash of the files, of the seed and of the number of targets."""
        target = self.config.files.target
        hashes = {path: sha256 for path, sha256 in self.fingerprints.items() if path != target}
        return content_key("saved", self.arrays.version, hashes, self.config.seed, self.config.targets)

    @property
    def keys(self) -> dict[str, str]:
        """The artefact key of what was read."""
        return {"answers": self.answers_key}

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """SHA-256 of every file that is read, that of the target last."""
        files = self.config.files
        further = [Path(path) for path in (files.pretrained_predictions, files.target) if path is not None]
        return {str(path): _hash(path) for path in [*self.arrays.files, *further]}

    @property
    def target_key(self) -> str | None:
        """SHA-256 of the target's predictions."""
        if self.config.files.target is not None:
            return self.fingerprints[self.config.files.target]
        return None if self.arrays.target is None else "read with the predictions"

    def check(self, *, force: bool = False) -> None:
        """Find out whether the arrays fit one another and the attacks, before anything is written.

        Args:
            force: go on with arrays that fit but are found to be wrong.

        Raises:
            TmiError: they do not.
        """
        with_attacks(self.config)
        answers = self.answers(DEFAULT_MEMORY, View())
        if answers.membership.all() or not answers.membership.any():
            raise TmiError("membership is the same for all models and points, expected members and non-members")
        for adversary in by_view(self.config).values():
            adversary.view.require_classes(answers.predictions.shape[-1])
        for name in self.config.attack.names:
            if attack_named(name).needs is Needs.KNOWN_MEMBERS:
                raise TmiError(
                    f"the attack {name!r} is for one given model, whose points it needs; saved predictions have none"
                )
            if attack_named(name).needs is Needs.PRETRAINED_MODEL and answers.pretrained is None:
                raise TmiError(
                    f"the attack {name!r} needs the answers of the pretrained models: --pretrained-predictions"
                )
        if self.has_target:
            answers.predictions.with_first(self._target)
        require_sound(self.findings, force=force)

    @property
    def attack_files(self) -> list[Path]:
        """All files that were named."""
        return [Path(path) for path in self._named.values()]

    def moved(self, place: Callable[[Path], Path]) -> Self:
        """The same audit where another machine has the files."""
        files = self.config.files.model_copy(update={key: str(place(Path(path))) for key, path in self._named.items()})
        config = self.config.model_copy(update={"files": files})
        return replace(self, config=config, directory=self.directory.moved(place))

    @property
    def _named(self) -> dict[str, str]:
        return self.config.files.model_dump(exclude_none=True, exclude={"layout"})

    @cached_property
    def findings(self) -> list[Finding]:
        """What checks of the predictions, the membership, the labels and the target say."""
        answers = self.answers(DEFAULT_MEMORY, main_adversary(self.config).view)
        return check_input(answers, self._target if self.has_target else None)

    def opened_answers(self, memory: int) -> AttackInput:
        """The predictions of all models, where their files lie."""
        files, arrays = self.config.files, self.arrays
        pretrained = None
        if files.pretrained_predictions is not None:
            answers = read_saved(Path(files.pretrained_predictions), Path(files.membership or files.predictions))
            pretrained = Predictions(answers.models, memory)
        predictions = Predictions(arrays.models, memory)
        return AttackInput(predictions, arrays.membership, pretrained, self.config.seed, labels=arrays.labels)

    def opened_with_target(self, memory: int) -> AttackInput:
        """The same with the target of unknown membership before all models."""
        return self.opened_answers(memory).with_target(self._target)

    @property
    def _target(self) -> NDArray[Any]:
        path = self.config.files.target
        target = self.arrays.target if path is None else read_target(Path(path), self.arrays.point_ids)
        if target is None:
            raise TmiError("there is no target of unknown membership")
        return target

    def describe(self, provenance: Provenance, seconds: dict[str, float]) -> Description:
        """What the results say besides figures."""
        files = self.config.files
        roles = {files.membership: "membership", files.labels: "labels", files.target: "target"}
        roles[files.pretrained_predictions] = "pretrained predictions"
        return described(
            self.answers(DEFAULT_MEMORY, View()).predictions.shape,
            self.config.targets,
            provenance,
            seconds,
            files=[
                ReadFile(role=roles.get(path, "predictions"), path=path, sha256=sha256, **_header(Path(path)))
                for path, sha256 in self.fingerprints.items()
            ],
            read_as=self.arrays.read_as,
            point_ids=self.arrays.point_ids,
            labelled=self.arrays.labels is not None,
            target=Path(files.target or "the target").name,
        )


def _header(path: Path) -> dict[str, Any]:
    """Shape and type of the array in a file, empty where it holds several or another format."""
    if path.suffix != ".npy":
        return {"shape": [], "dtype": ""}
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    return {"shape": list(array.shape), "dtype": str(array.dtype)}


def described(
    shape: tuple[int, int, int, int],
    targets: int,
    provenance: Provenance,
    seconds: dict[str, float],
    *,
    files: Sequence[ReadFile] = (),
    read_as: Sequence[str] = (),
    point_ids: NDArray[np.int64] | None = None,
    labelled: bool = False,
    target: str = "the target",
) -> Description:
    """What the results say about predictions that were made by others.

    Args:
        shape: of the predictions, ``(models, points, augmentations, classes)``.
        targets: number of models that play the target.
        provenance: what the figures rest on.
        seconds: time of every stage.
        files: what was read, a table row each.
        read_as: what was understood.
        point_ids: what each point is called, its number if left out.
        labelled: whether the class of each point is known.
        target: what the target of unknown membership is called.
    """
    models, points, augmentations, classes = shape
    return Description(
        kind="saved predictions",
        models=Models(count=models, targets=targets, given=None, not_pretrained=[], not_finetuned=[]),
        data=Data(files=list(files), read_as=list(read_as), classes=classes, queries_per_point=augmentations),
        points=np.arange(points) if point_ids is None else point_ids,
        labels=[""] * points,
        provenance=provenance,
        seconds=seconds,
        target=target,
        labelled=labelled,
    )


def read_arrays(files: SavedFiles) -> SavedArrays:
    """The arrays of the predictions' files, without those of the target and of the pretrained models.

    Raises:
        TmiError: the files are missing or damaged, or do not fit one another.
    """
    membership, labels = (None if path is None else Path(path) for path in (files.membership, files.labels))
    return read_saved(Path(files.predictions), membership, labels, files.layout)


def audit_of(files: dict[str, str], changes: dict[str, Any], out: Path | None = None) -> SavedPredictions:
    """An audit of saved predictions by the attacks that the files allow.

    Args:
        files: those of `SavedFiles` that are there.
        changes: values by dotted key of the configuration that replace the defaults.
        out: its directory; ``runs/NAME`` if left out.

    Raises:
        TmiError: the files cannot be read, or a key is unknown or has a wrong value.
    """
    arrays = read_arrays(SavedFiles.model_validate(files))
    names = possible_attacks(
        has_labels=arrays.labels is not None,
        has_pretrained="pretrained_predictions" in files,
        signals_only=arrays.labels is not None and not arrays.labels.any() and arrays.models[0].shape[-1] == 2,
    )
    path = Path(files["predictions"])
    document: dict[str, Any] = {
        "name": path.stem if path.stem != "predictions" else path.parent.name or path.stem,
        "models": len(arrays.models),
        "files": files,
        "attack": {"names": names},
    }
    config = saved_config(with_values(document, changes), "--predictions")
    subject = SavedPredictions(config, RunDirectory(out or Path("runs") / config.name))
    # Not to be read again: some layouts are converted in memory.
    vars(subject)["arrays"] = arrays
    return subject


def possible_attacks(*, has_labels: bool, has_pretrained: bool, signals_only: bool = False) -> list[str]:
    """The attacks that are run on saved predictions unless some are named.

    Args:
        has_labels: the class of each point is known.
        has_pretrained: the answers of the pretrained models are there.
        signals_only: the predictions are one number per model and point, which has no top class.
    """
    has = {
        Needs.SHADOW_MODELS: True,
        Needs.LABELS: has_labels,
        Needs.PRETRAINED_MODEL: has_pretrained,
        Needs.TOP_CLASS: not signals_only,
    }
    return default_attacks([need for need, there in has.items() if there])


def _hash(path: Path) -> str:
    found = file_hash(path)
    if found is None:
        raise TmiError(f"{path}: there is no such file")
    return found
