"""Networks: what a backbone and a head are made of, and which of their parts finetuning changes.

``build_classifier`` makes a network from a configuration, ``apply_transfer`` prepares it for finetuning.
"""

from tmi.models.building import build_classifier
from tmi.models.classifier import Classifier, blank_head, load_weights, weights_of
from tmi.models.normalisation import point_mixing_layer
from tmi.models.transfer import apply_transfer, changed_weights, load_changed

__all__ = [
    "Classifier",
    "apply_transfer",
    "blank_head",
    "build_classifier",
    "changed_weights",
    "load_changed",
    "load_weights",
    "point_mixing_layer",
    "weights_of",
]
