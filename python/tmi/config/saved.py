"""The configuration of an audit of saved predictions: which files, instead of how models are trained."""

from __future__ import annotations

from tmi.config.attacking import AttackedConfig
from tmi.config.base import Table


class SavedFiles(Table):
    """The files whose arrays are attacked; absolute paths."""

    predictions: str
    """Answers of all models whose membership is known; a file or a folder in one of the `tmi.predictions.formats`."""
    membership: str | None = None
    """Which model was pretrained on which point; None where the layout brings it along."""
    labels: str | None = None
    """The class of each point among those of the predictions."""
    pretrained_predictions: str | None = None
    """Answers of the pretrained models themselves, for the upper bound."""
    target: str | None = None
    """Answers of one more model, whose membership nobody knows."""
    layout: str | None = None
    """The layout by name; found out if left out."""


class SavedConfig(AttackedConfig):
    """An audit of saved predictions, complete."""

    files: SavedFiles
