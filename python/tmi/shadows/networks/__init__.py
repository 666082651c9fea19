"""Networks: what a backbone and a head are made of, and which of their parts finetuning changes.

``build_classifier`` makes a network from a configuration, ``apply_transfer`` prepares it for finetuning.
"""

from tmi.shadows.networks.building import build_classifier
from tmi.shadows.networks.classifier import Classifier, blank_head, load_weights, weights_of
from tmi.shadows.networks.language import (
    LanguageModel,
    Likelihoods,
    answers_in_windows,
    answers_of,
    consecutive,
    token_targets,
)
from tmi.shadows.networks.library import checkpoint_folder, export_checkpoint
from tmi.shadows.networks.private import check_private, point_mixing_layer
from tmi.shadows.networks.text import require_own_head
from tmi.shadows.networks.transfer import apply_transfer, changed_weights, load_changed

__all__ = [
    "Classifier",
    "LanguageModel",
    "Likelihoods",
    "answers_in_windows",
    "answers_of",
    "apply_transfer",
    "blank_head",
    "build_classifier",
    "changed_weights",
    "check_private",
    "checkpoint_folder",
    "consecutive",
    "export_checkpoint",
    "load_changed",
    "load_weights",
    "point_mixing_layer",
    "require_own_head",
    "token_targets",
    "weights_of",
]
