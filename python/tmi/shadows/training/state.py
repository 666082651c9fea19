"""The state of a training: who watches it while it goes on, and how it is saved and gone on with."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from tmi.shadows.artefacts import Artefacts
from tmi.shadows.training.learners import Learner
from tmi.system.files import sidecar
from tmi.system.worker import samples_trained


class Watch:
    """What goes on beside the training; this one does nothing."""

    def saved(self) -> tuple[int, dict[str, Tensor]] | None:
        """Where an interrupted training was: the number of epochs done and the state after them."""
        return None

    def epoch_done(self, epochs: int, learners: Sequence[Learner]) -> None:
        """So many epochs are done."""

    def samples_done(self, samples: int) -> None:
        """So many more samples were trained on."""


def state_of(learners: Sequence[Learner]) -> dict[str, Tensor]:
    """Copies on the processor of everything that training changes, named ``LEARNER.weights.…`` and so on."""
    state: dict[str, Tensor] = {}
    for number, learner in enumerate(learners):
        for name, tensor in learner.tensors().items():
            state[f"{number}.weights.{name}"] = tensor
        for index, gathered in learner.optimizer.state_dict()["state"].items():
            for name, value in gathered.items():
                if isinstance(value, Tensor):
                    state[f"{number}.optimizer.{index}.{name}"] = value
    return {name: tensor.detach().cpu() for name, tensor in state.items()}


@torch.no_grad()
def load_state(learners: Sequence[Learner], state: Mapping[str, Tensor]) -> None:
    """Put back what `state_of` returned for learners of the same networks and recipe."""
    for number, learner in enumerate(learners):
        for name, tensor in learner.tensors().items():
            tensor.copy_(state[f"{number}.weights.{name}"])
        gathered: dict[int, dict[str, Tensor]] = {}
        prefix = f"{number}.optimizer."
        for name, tensor in state.items():
            if name.startswith(prefix):
                index, key = name.removeprefix(prefix).split(".")
                gathered.setdefault(int(index), {})[key] = tensor
        groups = learner.optimizer.state_dict()["param_groups"]
        learner.optimizer.load_state_dict({"state": gathered, "param_groups": groups})


class Checkpoints(Watch):
    """The checkpoint of one group of models in one stage.

    It holds all weights and everything that the optimisers remember after a whole number of epochs, and is saved every
    so many minutes; what a model draws in an epoch depends on the epoch's number only. The training therefore ends in
    the same bits.
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
