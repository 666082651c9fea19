"""What everyone who makes shadow models does, and the job that lets them do it."""

from __future__ import annotations

import gc
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tmi.config import Config
from tmi.errors import TmiError
from tmi.shadows.artefacts import Artefacts
from tmi.shadows.experiment import Experiment

if TYPE_CHECKING:
    from typing_extensions import Self

Step = Literal["pretrain", "finetune", "query", "query_pretrained"]


@dataclass(frozen=True)
class Made:
    """What is known about models that are made.

    Attributes:
        pretrained: facts about each pretrained model, such as its accuracies; empty where nobody measured them.
        finetuned: facts about each finetuned model: ``train_accuracy``, ``test_accuracy`` and ``learned``.
        transfer: how they were finetuned.
        given: the checkpoint that all of them were before; None where they were pretrained.
        private: the guarantee of a private finetuning.
    """

    pretrained: list[dict[str, Any]]
    finetuned: list[dict[str, Any]]
    transfer: str
    given: str | None = None
    private: dict[str, Any] | None = None


@dataclass(frozen=True)
class ShadowMaker(ABC):
    """Pretrains, finetunes and queries shadow models; knows which files that takes and leaves.

    It is sent to the process that does the work, where `moved` tells it where the files are.

    Attributes:
        experiment: what is computed.
        keys: the artefact key of every step; see `tmi.shadows.keys`.
        files: where the models and their predictions are kept.
    """

    experiment: Experiment
    keys: Mapping[str, str]
    files: Artefacts

    @staticmethod
    def key_inputs(config: Config, step: str) -> list[Any]:
        """What the artefacts of a step are made from, besides what `tmi.shadows.keys` covers for every maker."""
        return []

    @abstractmethod
    def check(self) -> None:
        """Raise a TmiError, before anything is written, if the models cannot be made."""

    @abstractmethod
    def groups(self, step: Step) -> list[range]:
        """Which models are made together, as one job; none where a step has nothing to make.

        The grouping depends on the configuration alone, never on what an interrupted run has left: a group is made
        again as a whole, and so ends in the same bits.
        """

    @abstractmethod
    def pretrain(self, models: range) -> None:
        """Write the pretrained models of a group."""

    @abstractmethod
    def finetune(self, models: range) -> None:
        """Write the finetuned models of a group."""

    @abstractmethod
    def query(self, models: range) -> None:
        """Write what the finetuned models of a group say about the challenge and the reference points."""

    @abstractmethod
    def query_pretrained(self, models: range) -> None:
        """Write what the pretrained models of a group say about the challenge points, for direct access."""

    @abstractmethod
    def prepare(self, step: Step) -> None:
        """Compute what all jobs of a step read, so that it is known when they are given to workers."""

    def samples(self, step: Step) -> int:
        """How many samples each model is trained on in a step; 0 where that is not known."""
        return 0

    def operations(self, step: Step) -> float:
        """Floating-point operations that a step takes for one model; 0 where nobody can count them."""
        return 0.0

    def pretrained(self, model: int) -> Path:
        """The artefact of a pretrained model."""
        return self.files.pretrained(model)

    def finetuned(self, model: int) -> Path:
        """The artefact of a finetuned model."""
        return self.files.finetuned(model)

    def reads(self, step: Step, model: int) -> list[Path]:
        """The artefacts that a step needs of a model."""
        return {
            "pretrain": [],
            "finetune": [self.pretrained(model)],
            "query": [self.finetuned(model)],
            "query_pretrained": [self.pretrained(model)],
        }[step]

    def writes(self, step: Step, model: int) -> dict[Path, str]:
        """The artefacts that a step leaves of a model, with their keys."""
        references = len(self.experiment.task.reference_points)
        files = {
            "pretrain": [self.pretrained(model)],
            "finetune": [self.finetuned(model)],
            "query": [
                self.files.predictions(model),
                *([self.files.reference_predictions(model)] if references else []),
            ],
            "query_pretrained": [self.files.pretrained_predictions(model)],
        }[step]
        return dict.fromkeys(files, self.keys[step])

    def unfinished(self, step: Step, models: range) -> list[Path]:
        """Where a job leaves what it can go on with; nothing is there when it is done."""
        return []

    def artefacts(self, *steps: Step) -> dict[Path, str]:
        """All artefacts that steps leave, with their keys."""
        return {
            path: key
            for step in steps
            for group in self.groups(step)
            for model in group
            for path, key in self.writes(step, model).items()
        }

    def describe(self) -> Made:
        """What is known about the models, all of which are made."""
        files, models = self.files, range(self.experiment.config.models)
        return Made(
            [files.facts(path) for path in self.artefacts("pretrain")],
            [files.facts(self.finetuned(model)) for model in models],
            self.experiment.config.finetune.transfer,
            private=files.facts(self.finetuned(0)).get("private"),
        )

    def moved(self, place: Callable[[Path], Path]) -> Self:
        """The same for files that lie elsewhere."""
        return replace(self, files=self.files.moved(place))


def make(maker: ShadowMaker, step: Step, models: range) -> list[str]:
    """Make a group of models, fewer at a time where the device's memory does not hold them all; notes for the user."""
    import torch

    from tmi.system.devices import is_out_of_memory

    try:
        getattr(maker, step)(models)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        if len(models) == 1:
            raise TmiError(
                f"the memory of {maker.experiment.config.compute.device} does not hold the training of one model; "
                "try a smaller batch_size or a smaller model"
            ) from None
    else:
        return []
    # Only here is the error gone, and with it its frames, which hold the tensors; networks refer to themselves.
    gc.collect()
    torch.cuda.empty_cache()
    middle = models.start + len(models) // 2
    note = f"the memory of the device does not hold {len(models)} models: {len(models) // 2} at once now"
    halves = (range(models.start, middle), range(middle, models.stop))
    return [note, *(note for half in halves for note in make(maker, step, half))]
