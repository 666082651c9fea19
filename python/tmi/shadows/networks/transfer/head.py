"""``head``: a new linear head on the frozen backbone."""

from __future__ import annotations

from torch import nn

from tmi.config import FinetuneConfig
from tmi.shadows.networks.classifier import Classifier


def trained_parts(classifier: Classifier, finetune: FinetuneConfig, number: int) -> list[nn.Module]:
    """Nothing of the backbone."""
    return []
