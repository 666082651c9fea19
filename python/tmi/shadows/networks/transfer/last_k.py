"""``last-K``: the last K blocks of the backbone and what comes after them."""

from __future__ import annotations

from torch import nn

from tmi.config import FinetuneConfig
from tmi.errors import TmiError
from tmi.shadows.networks.classifier import Classifier


def trained_parts(classifier: Classifier, finetune: FinetuneConfig, number: int) -> list[nn.Module]:
    """The last ``number`` blocks and whatever the backbone registers after them: a final normalisation, a pooler.

    Raises:
        TmiError: the backbone has fewer blocks.
    """
    if number > len(classifier.blocks):
        raise TmiError(
            f"finetune.transfer is 'last-{number}', but the backbone has only {len(classifier.blocks)} blocks; "
            "'full' finetunes everything"
        )
    # Depth first: what contains the first trained block comes before it, what is behind it comes after it.
    modules = list(classifier.backbone.modules())
    first = next(index for index, module in enumerate(modules) if module is classifier.blocks[-number])
    return modules[first:]
