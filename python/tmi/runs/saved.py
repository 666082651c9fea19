"""A case whose models were trained and queried by others: their answers are read from files, where these lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tmi.attacks.checks import Finding, check_input, require_sound
from tmi.attacks.registry import Needs, attack_named, default_attacks, lacking
from tmi.config import SavedConfig, SavedFiles, SavedFinetuning, saved_config, with_values
from tmi.data.sources.jsonl import load as load_lines
from tmi.errors import TmiError
from tmi.predictions.arrays import Predictions
from tmi.predictions.attack_input import AttackInput, Reference
from tmi.predictions.formats import SavedArrays, read_saved, read_target
from tmi.predictions.formats.files import ARRAY_SUFFIXES, open_npy, read_array, read_ids
from tmi.predictions.formats.reading import LABELS, MEMBERSHIP, PRETRAINING_LABELS, TARGET
from tmi.predictions.intake import as_texts
from tmi.predictions.tokens import TOKEN
from tmi.predictions.views import View
from tmi.report.tables import Data, LooksAt, Models, Provenance, ReadFile
from tmi.runs.adversaries import HIDING, all_adversaries, main_adversary, with_attacks
from tmi.runs.directory import RunDirectory, usual_place
from tmi.runs.growing import attack_names, earlier_config, refuse_other_configuration
from tmi.runs.subject import Description, StoredSubject
from tmi.system.files import content_key, file_hash
from tmi.system.memory import DEFAULT_MEMORY

if TYPE_CHECKING:
    from typing_extensions import Self

# What is said of an attack that cannot be run.
ASKED_FOR = {
    Needs.KNOWN_MEMBERS: "is for one given model, whose points it needs; saved predictions have none",
    Needs.PRETRAINED_MODEL: "needs the answers of the pretrained models: --pretrained-predictions",
    Needs.PRETRAINING_LABELS: "needs the labels that the points had in pretraining: --pretraining-labels",
    Needs.TEXTS: "needs the texts themselves: --texts",
    Needs.VOCABULARY: "needs to know how likely all other tokens are in the place of each, which is not told",
    Needs.TOKENS: "needs models that write, and 'tokens' as the first view",
}


@dataclass(frozen=True)
class SavedPredictions(StoredSubject):
    """An audit of saved predictions and the directory of its scores and results."""

    config: SavedConfig
    directory: RunDirectory

    @cached_property
    def arrays(self) -> SavedArrays:
        """What the files hold; memory maps where the layout allows it."""
        return read_arrays(self.config.files)

    @cached_property
    def finetunings(self) -> list[SavedPredictions]:
        """This one, and the others that were named with it, of which each has its own predictions and target."""
        found = [self]
        for companion in self.config.files.companions:
            alone: dict[str, Any] = {"labels": None, "pretrained_predictions": None, "companions": []}
            files = self.config.files.model_copy(update={**dict(companion), **alone})
            found.append(SavedPredictions(self.config.model_copy(update={"files": files}), self.directory))
        return found

    def stages(self) -> list[str]:
        """Nothing is trained: the membership is copied into the directory, and attacked."""
        return ["read", "score"]

    def stage_files(self, stage: str) -> dict[Path, str]:
        """The files that a stage leaves, with their artefact keys."""
        if stage == "read":
            return dict.fromkeys([self.directory.membership, self.directory.challenge_points], self.answers_key)
        return self.score_files

    @cached_property
    def ids(self) -> Sequence[str]:
        """What the owner of the data calls each point; empty where nobody has said it."""
        path = self.config.files.ids
        return () if path is None else read_ids(Path(path), self.points)

    @property
    def points(self) -> int:
        """Number of challenge points."""
        return int(self.arrays.membership.shape[1])

    @property
    def answers_key(self) -> str:
        """A hash of the files, of the seed and of the number of targets."""
        target = self.config.files.target
        hashes = {path: sha256 for path, sha256 in self._hashes.items() if path != target}
        # Earlier versions did not look for them, so that the same file may say more now.
        known = ["pretraining labels"] if self.arrays.pretraining_labels is not None else []
        known += ["tokens"] if self.config.files.meaning == "tokens" else []
        return content_key("saved", self.arrays.version, hashes, self.config.seed, self.config.targets, *known)

    @property
    def keys(self) -> dict[str, str]:
        """The artefact key of what was read."""
        return {"answers": self.answers_key}

    @property
    def fingerprints(self) -> dict[str, str]:
        """SHA-256 of every file that is read."""
        return {path: sha256 for each in self.finetunings for path, sha256 in each._hashes.items()}

    @cached_property
    def _hashes(self) -> dict[str, str]:
        """SHA-256 of every file of this finetuning, that of the target last."""
        files = self.config.files
        named = (files.pretrained_predictions, files.texts, files.target)
        further = [Path(path) for path in named if path is not None]
        return {str(path): _hash(path) for path in [*self.arrays.files, *further]}

    @property
    def target_key(self) -> str | None:
        """SHA-256 of the target's predictions."""
        if self.config.files.target is not None:
            return self._hashes[self.config.files.target]
        return None if self.arrays.target is None else "read with the predictions"

    @property
    def target_finetunings(self) -> int:
        """All, where each has a target, which is one model finetuned in these ways."""
        return len(self.finetunings) if all(each.has_target for each in self.finetunings) else 1

    def check(self, *, force: bool = False) -> None:
        """Find out whether the arrays fit one another and the attacks, before anything is written.

        Args:
            force: go on with arrays that fit but are found to be wrong.

        Raises:
            TmiError: they do not.
        """
        with_attacks(self.config)
        _ = self.ids
        for each in self.finetunings[1:]:
            where = each.config.files.predictions
            try:
                points = each.arrays.point_ids
            except TmiError as error:
                raise TmiError(f"{where}, another finetuning: {error}") from None
            if not np.array_equal(points, self.arrays.point_ids):  # type: ignore[arg-type]  # None equals None
                raise TmiError(f"{where}: is about other points than {self.config.files.predictions}")
        view = main_adversary(self.config).view
        answers = self.answers(DEFAULT_MEMORY, view, len(self.finetunings))
        if answers.membership.all() or not answers.membership.any():
            raise TmiError("membership is the same for all models and points, expected members and non-members")
        for adversary in all_adversaries(self.config):
            for seen in (answers, *answers.companions)[: adversary.together]:
                require_shown(adversary.view, seen)
        asked = None
        if self.has_target:
            asked = self.answers(DEFAULT_MEMORY, view, self.target_finetunings, with_target=True)
            require_shown(view, asked)
        has = had(answers, asked)
        for name in self.config.attack.names:
            if needs := lacking(attack_named(name), has):
                raise TmiError(f"the attack {name!r} {ASKED_FOR[needs]}")
        require_sound(self.findings, force=force)

    @property
    def attack_files(self) -> list[Path]:
        """All files that were named."""
        return [Path(path) for path in self.config.files.named.values()]

    def moved(self, place: Callable[[Path], Path]) -> Self:
        """The same audit where another machine has the files."""

        def there(files: SavedFinetuning) -> dict[str, Any]:
            return {key: str(place(Path(path))) for key, path in files.named.items()}

        files = self.config.files
        companions = [each.model_copy(update=there(each)) for each in files.companions]
        files = files.model_copy(update=there(files) | {"companions": companions})
        config = self.config.model_copy(update={"files": files})
        return replace(self, config=config, directory=self.directory.moved(place))

    @cached_property
    def findings(self) -> list[Finding]:
        """What checks of the predictions, the membership, the labels and the target say."""
        answers = self.answers(DEFAULT_MEMORY, main_adversary(self.config).view, len(self.finetunings))
        asked = self.finetunings[: self.target_finetunings] if self.has_target else []
        return check_input(answers, *(each._target for each in asked))

    def opened_answers(self, memory: int) -> AttackInput:
        """The predictions of all models, where their files lie."""
        files, arrays = self.config.files, self.arrays
        pretrained = None
        if files.pretrained_predictions is not None:
            # An archive may hold the membership as well; where there is a folder, it lies in or beside that of these.
            membership = Path(files.membership or files.predictions)
            given = membership if membership.is_file() else None
            answers = read_saved(Path(files.pretrained_predictions), given, meaning=files.meaning)
            pretrained = Predictions(answers.models, memory)
        reference = None
        if (further := arrays.reference) is not None:
            labels = None if arrays.pretraining_labels is None else further.pretraining_labels
            reference = Reference(Predictions(further.models, memory), further.membership, labels)
        return AttackInput(
            Predictions(arrays.models, memory),
            arrays.membership,
            pretrained,
            self.config.seed,
            reference=reference,
            labels=arrays.labels,
            pretraining_labels=arrays.pretraining_labels,
            inputs=None if files.texts is None else read_texts(Path(files.texts), self.points),
        )

    def opened_with_target(self, memory: int) -> AttackInput:
        """The same with the target of unknown membership before all models."""
        return self.opened_answers(memory).with_target(self._target)

    @property
    def _target(self) -> NDArray[Any]:
        path = self.config.files.target
        meaning = self.config.files.meaning
        target = self.arrays.target if path is None else read_target(Path(path), self.arrays.point_ids, meaning)
        if target is None:
            raise TmiError("there is no target of unknown membership")
        return target

    def describe(self, provenance: Provenance, seconds: dict[str, float]) -> Description:
        """What the results say besides figures."""
        roles: dict[str | None, str] = {}
        read_as = [*self.arrays.read_as]
        for number, each in reversed([*enumerate(self.finetunings, 1)]):
            files, of = each.config.files, "" if number == 1 else f" of finetuning {number}"
            roles |= {path: _role(path, of) for path in each._hashes}
            roles |= {files.target: f"target{of}", files.membership: "membership", files.labels: "labels"}
            roles[files.pretraining_labels] = "pretraining labels"
            roles |= {files.pretrained_predictions: "pretrained predictions", files.texts: "texts"}
        for name, each in zip(self.config.companions, self.finetunings[1:], strict=True):
            read_as += [f"{name}: {sentence}" for sentence in each.arrays.read_as if sentence not in read_as]
        return described(
            self.answers(DEFAULT_MEMORY, main_adversary(self.config).view),
            self.config.targets,
            provenance,
            seconds,
            files=[
                ReadFile(role=roles[path], path=path, sha256=sha256, **_header(Path(path)))
                for path, sha256 in self.fingerprints.items()
            ],
            read_as=read_as,
            point_ids=self.arrays.point_ids,
            ids=self.ids,
            target=Path(self.config.files.target or "the target").name,
        )


def read_file(path: Path, role: str) -> ReadFile:
    """What the report says of a file that was read."""
    return ReadFile(role=role, path=str(path), sha256=_hash(path), **_header(path))


def _role(path: str, of: str) -> str:
    """What a file holds that was not named, of the first finetuning or ``of`` another."""
    roles = {
        "membership": MEMBERSHIP,
        "labels": LABELS,
        "pretraining labels": PRETRAINING_LABELS,
        f"target{of}": TARGET,
    }
    return next((role for role, names in roles.items() if Path(path).stem in names), f"predictions{of}")


def _header(path: Path) -> dict[str, Any]:
    """Shape and type of the array in a file, empty where it holds several or another format."""
    if path.suffix != ".npy":
        return {"shape": [], "dtype": ""}
    array = open_npy(path)
    return {"shape": list(array.shape), "dtype": "tokens" if array.dtype == TOKEN else str(array.dtype)}


def described(
    answers: AttackInput,
    targets: int,
    provenance: Provenance,
    seconds: dict[str, float],
    *,
    files: Sequence[ReadFile] = (),
    read_as: Sequence[str] = (),
    point_ids: NDArray[np.int64] | None = None,
    ids: Sequence[str] = (),
    target: str = "the target",
) -> Description:
    """What the results say about predictions that were made by others.

    Args:
        answers: the predictions, and what is known of their points.
        targets: number of models that play the target.
        provenance: what the figures rest on.
        seconds: time of every stage.
        files: what was read, a table row each.
        read_as: what was understood.
        point_ids: what each point is called, its number if left out.
        ids: what the owner of the data calls each point; empty where that is its number.
        target: what the target of unknown membership is called.
    """
    models, points, augmentations, classes = answers.predictions.shape
    labels, pretraining_labels = answers.labels, answers.pretraining_labels
    writes = answers.predictions.dtype == TOKEN
    looks_at: LooksAt = "text" if writes else "label" if labels is not None else "top class of the target"
    said = labels if pretraining_labels is None else pretraining_labels
    return Description(
        kind="saved predictions",
        models=Models(count=models, targets=targets, given=None, not_pretrained=[], not_finetuned=[]),
        data=Data(
            files=list(files),
            read_as=list(read_as),
            classes=None if writes else classes,
            pretraining_labels=None if pretraining_labels is None else len(np.unique(pretraining_labels)),
            queries_per_point=augmentations,
        ),
        points=np.arange(points) if point_ids is None else point_ids,
        labels=[""] * points if said is None else [str(label) for label in said.tolist()],
        provenance=provenance,
        seconds=seconds,
        target=target,
        looks_at=looks_at,
        ids=ids,
    )


def read_arrays(files: SavedFiles) -> SavedArrays:
    """The arrays of the predictions' files, without those of the target and of the pretrained models.

    Raises:
        TmiError: the files are missing or damaged, or do not fit one another.
    """
    named = files.membership, files.labels, files.pretraining_labels
    membership, labels, pretraining_labels = (None if path is None else Path(path) for path in named)
    return read_saved(
        Path(files.predictions),
        membership,
        labels,
        files.layout,
        pretraining_labels=pretraining_labels,
        meaning=files.meaning,
    )


def audit_of(
    files: dict[str, Any],
    changes: dict[str, Any],
    out: Path | None = None,
    *,
    fresh: bool = False,
    added: Sequence[str] = (),
) -> SavedPredictions:
    """An audit of saved predictions by the attacks that the files allow.

    Args:
        files: those of `SavedFiles` that are there.
        changes: values by dotted key of the configuration that replace the defaults.
        out: its directory; ``runs/NAME`` if left out.
        fresh: what is in the directory will be thrown away.
        added: attacks besides those of an audit that is there; alone where there is none.

    Raises:
        TmiError: the files cannot be read, or a key is unknown or has a wrong value.
    """
    read = SavedFiles.model_validate(files)
    arrays = read_arrays(read)
    document: dict[str, Any] = {
        "name": read.name,
        "models": len(arrays.models),
        "files": files,
        "attack": {"views": [Predictions(arrays.models).view.name]},
    }
    config = saved_config(with_values(document, changes), "--predictions")
    directory = RunDirectory(out or usual_place(config.name))
    earlier = None if fresh else earlier_config(directory)
    refuse_other_configuration(directory.root, earlier, config)
    subject = SavedPredictions(config, directory)
    # Not to be read again: some layouts are converted in memory.
    vars(subject)["arrays"] = arrays
    answers = subject.opened_answers(DEFAULT_MEMORY).seen_through(main_adversary(config).view)
    is_asked = read.target is not None or arrays.target is not None
    has = had(answers, subject.opened_with_target(DEFAULT_MEMORY) if is_asked else None)
    names = attack_names(config.attack.names, default_attacks(has), added, earlier)
    attack = config.attack.model_copy(update={"names": names})
    with_names = replace(subject, config=config.model_copy(update={"attack": attack}))
    vars(with_names)["arrays"] = arrays
    return with_names


def require_shown(view: View, answers: AttackInput) -> None:
    """Refuse a view that shows more than there is.

    Raises:
        TmiError: it is for answers of another kind, or shows more classes or the ranks of tokens, which have none.
    """
    predictions = answers.predictions
    view.require(predictions.dtype, predictions.shape[-1])
    if predictions.dtype == TOKEN and view.kind in ("top", "text") and not predictions.ranks:
        raise TmiError(
            f"the view {view.name!r} shows which tokens are the likeliest, which log-probabilities do not tell"
        )


def had(answers: AttackInput, asked: AttackInput | None = None) -> set[Needs]:
    """What an adversary has who sees these answers of models that others have trained.

    Args:
        answers: of the models.
        asked: the same with a target of unknown membership before them, if there is one.
    """
    predictions, labels = answers.predictions, answers.labels
    arrays = {
        Needs.LABELS: labels,
        Needs.PRETRAINED_MODEL: answers.pretrained,
        Needs.PRETRAINING_LABELS: answers.pretraining_labels,
        Needs.TEXTS: answers.inputs,
    }
    has = {Needs.SHADOW_MODELS, *(need for need, array in arrays.items() if array is not None)}
    if predictions.dtype == TOKEN:
        has.add(Needs.LABELS)
        if all(each.predictions.standardises for each in (answers, asked) if each is not None):
            has.add(Needs.VOCABULARY)
        return has if predictions.view.kind in HIDING else has | {Needs.TOKENS}
    # One number per model and point has no top class.
    is_signal = labels is not None and not labels.any() and predictions.shape[-1] == 2
    return has if is_signal else has | {Needs.TOP_CLASS}


def read_texts(path: Path, points: int) -> NDArray[Any]:
    """The texts that models were asked about, objects ``[points]``: an array of strings, or a JSON object a line.

    Raises:
        TmiError: the file is missing or damaged, or holds no text per point.
    """
    is_array = path.suffix in ARRAY_SUFFIXES
    return as_texts(read_array(path, ["texts"]) if is_array else load_lines(str(path)).raw, points, str(path))


def _hash(path: Path) -> str:
    found = file_hash(path)
    if found is None:
        raise TmiError(f"{path}: there is no such file")
    return found
