"""Models of a run read back from its directory."""

from __future__ import annotations

from tmi.runs.run import Run
from tmi.shadows.networks import Classifier, apply_transfer, load_changed, load_weights
from tmi.system.devices import own_device


def load_pretrained(run: Run, model: int) -> Classifier:
    """A pretrained model with its own head, on the run's device, in evaluation mode.

    A given model is the checkpoint itself, which is not copied into the run.
    """
    classifier = run.build(run.encode(run.task.pool.raw[:1]).shape[1:], seed=0)
    if not run.config.given:
        load_weights(classifier, run.directory.load_tensors(run.directory.pretrained(model)))
    return classifier.to(own_device(run.config.compute.device)).eval()


def load_finetuned(run: Run, model: int) -> Classifier:
    """A finetuned model: the pretrained one with what finetuning changed or added."""
    classifier = load_pretrained(run, model)
    apply_transfer(classifier, run.config.finetune, len(run.task.downstream.class_names), seed=0)
    load_changed(classifier, run.directory.load_tensors(run.directory.finetuned(model)))
    return classifier.to(own_device(run.config.compute.device)).eval()
