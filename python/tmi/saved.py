"""Models of a run read back from its directory."""

from __future__ import annotations

import torch

from tmi.encoders import encode
from tmi.models import Classifier, blank_head, build_classifier, load_weights
from tmi.run import Run


def load_pretrained(run: Run, model: int) -> Classifier:
    """A pretrained model with its own head, on the run's device, in evaluation mode."""
    pool = run.task.pool
    input_shape = encode(pool.raw[:1], pool.kind, run.config.encoder).shape[1:]
    classifier = build_classifier(run.config.model, input_shape, len(pool.class_names), seed=0)
    load_weights(classifier, run.directory.load_tensors(run.directory.pretrained(model)))
    return classifier.to(torch.device(run.config.compute.device)).eval()


def load_finetuned(run: Run, model: int) -> Classifier:
    """A finetuned model: the pretrained one with what finetuning changed or added."""
    classifier = load_pretrained(run, model)
    changed = run.directory.load_tensors(run.directory.finetuned(model))
    classifier.head = blank_head(classifier.head.in_features, len(run.task.downstream.class_names))
    kept = {name: tensor.cpu().numpy() for name, tensor in classifier.state_dict().items()}
    load_weights(classifier, kept | changed)
    return classifier.to(torch.device(run.config.compute.device)).eval()
