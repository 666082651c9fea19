"""``full``: everything is finetuned."""

from __future__ import annotations

from torch import nn

from tmi.config import FinetuneConfig
from tmi.shadows.networks.classifier import Classifier


def trained_parts(classifier: Classifier, finetune: FinetuneConfig, number: int) -> list[nn.Module]:
    """The whole backbone."""
    return [classifier.backbone]
