"""The configuration of an audit of saved predictions: which files, instead of how models are trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from tmi.config.attacking import AttackedConfig
from tmi.config.base import Table


class SavedFinetuning(Table):
    """The files of one finetuning; absolute paths."""

    predictions: str
    """Answers of all models whose membership is known; a file or a folder in one of the `tmi.predictions.formats`."""
    target: str | None = None
    """Answers of one more model, whose membership nobody knows."""

    @property
    def named(self) -> dict[str, str]:
        """The files and folders of this finetuning, by key."""
        return self.model_dump(exclude_none=True, exclude={"layout", "meaning", "companions"})

    @property
    def name(self) -> str:
        """What the finetuning is called: after the file, or after the folder where that says no more."""
        path = Path(self.predictions)
        return path.stem if path.stem != "predictions" else path.parent.name or path.stem


class SavedFiles(SavedFinetuning):
    """The files whose arrays are attacked; absolute paths."""

    membership: str | None = None
    """Which model was pretrained on which point; None where the layout brings it along."""
    labels: str | None = None
    """The class of each point among those of the predictions."""
    pretraining_labels: str | None = None
    """The class that each point had in pretraining, any integers."""
    pretrained_predictions: str | None = None
    """Answers of the pretrained models themselves, for attacks with direct access."""
    ids: str | None = None
    """What the owner of the data calls each point."""
    texts: str | None = None
    """The texts that models that write were asked about."""
    meaning: Literal["logits", "tokens"] = "logits"
    """What the numbers are: raw logits of classes, or log-probabilities of the tokens of texts."""
    layout: str | None = None
    """The layout by name; found out if left out."""
    companions: list[SavedFinetuning] = []
    """Other finetunings of the same models, about the same points, that adversaries see together with this one."""


class SavedConfig(AttackedConfig):
    """An audit of saved predictions, complete."""

    files: SavedFiles

    @model_validator(mode="after")
    def _finetunings_are_files(self) -> SavedConfig:
        if self.attack.together:
            raise ValueError(
                "attack.together names variants of a run; of saved predictions, name those of each finetuning"
            )
        return self

    @property
    def companions(self) -> list[str]:
        """Names of the other finetunings, or their paths where they would be called alike."""
        names = [self.name, *(each.name for each in self.files.companions)]
        return [each.name if names.count(each.name) == 1 else each.predictions for each in self.files.companions]


class TargetFiles(Table):
    """The files of an audit without shadow models; absolute paths."""

    target: Annotated[list[str], Field(min_length=1)]
    """Answers of the one model that is attacked, in each of its finetunings."""
    pretraining_labels: str
    """The class that each point had in pretraining."""
    non_members: str | None = None
    """Which of the points are known to be no members."""
    ids: str | None = None
    """What the owner of the data calls each point."""


class WithoutShadowsConfig(AttackedConfig):
    """An audit of one model without shadow models, complete."""

    models: Literal[1] = 1
    files: TargetFiles | None = None
    """None for arrays in memory."""
