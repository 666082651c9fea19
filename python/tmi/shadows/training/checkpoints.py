"""Saving a training while it goes on, and going on where it was."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from tmi.shadows.artefacts import Artefacts
from tmi.shadows.training.loop import Learner, Watch
from tmi.shadows.training.state import state_of
from tmi.system.files import sidecar
from tmi.system.worker import samples_trained


class Checkpoints(Watch):
    """The checkpoint of one group of models in one stage.

    It holds all weights and everything that the optimisers remember after a whole number of epochs; what a model
    draws in an epoch depends on the epoch's number only. The training therefore ends in the same bits.

    Args:
        files: writes and reads the checkpoint.
        path: of the checkpoint.
        key: its artefact key.
        minutes: how often it is saved.
    """

    def __init__(self, files: Artefacts, path: Path, key: str, minutes: float) -> None:
        self._files, self._path, self._key = files, path, key
        self._seconds = 60 * minutes
        self._last = time.monotonic()

    def saved(self) -> tuple[int, dict[str, Tensor]] | None:
        """The epochs done and the state after them, if there is a whole and current checkpoint."""
        if not self._files.is_current(self._path, self._key):
            return None
        state = {name: torch.from_numpy(array) for name, array in self._files.load_tensors(self._path).items()}
        return int(self._files.facts(self._path)["epochs"]), state

    def epoch_done(self, epochs: int, learners: Sequence[Learner]) -> None:
        """Save the state if the last time was long enough ago."""
        if time.monotonic() - self._last < self._seconds:
            return
        state = {name: tensor.numpy() for name, tensor in state_of(learners).items()}
        self._files.save_tensors(self._path, state, self._key, {"epochs": epochs})
        self._last = time.monotonic()

    def samples_done(self, samples: int) -> None:
        """Report the progress."""
        samples_trained(samples)

    def remove(self) -> None:
        """Nothing is left to go on with: the models are written."""
        for path in (self._path, sidecar(self._path)):
            path.unlink(missing_ok=True)
