"""Shadow models that are finetunings of one given checkpoint, some of whose training points are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tmi.shadows.makers.maker import Made, Step
from tmi.shadows.makers.own_networks import OwnNetworks
from tmi.shadows.networks import Classifier


class GivenCheckpoint(OwnNetworks):
    """Nothing is pretrained: every pretrained model is the checkpoint itself, which is not copied into the run."""

    def groups(self, step: Step) -> list[range]:
        """Only finetuned models are made and queried: the checkpoint has no head that knows the classes of the pool."""
        return super().groups(step) if step in ("finetune", "query") else []

    def reads(self, step: Step, model: int) -> list[Path]:
        """Of the run, only what finetuning left."""
        return [path for path in super().reads(step, model) if path != self.pretrained(model)]

    def pretrained_network(self, model: int) -> Classifier:
        """The checkpoint, on this process's device, in evaluation mode."""
        return self.experiment.network(seed=0).to(self._device).eval()

    def describe(self) -> Made:
        """What is known about the finetuned models, and which checkpoint they were made from."""
        return replace(super().describe(), pretrained=[], given=self.experiment.config.model.checkpoint)
