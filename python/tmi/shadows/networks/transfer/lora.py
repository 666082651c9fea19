"""``lora``: low-rank adapters of every layer (Hu et al. 2022) on the frozen backbone."""

from __future__ import annotations

import re
import warnings

from torch import nn

from tmi.config import FinetuneConfig
from tmi.errors import TmiError
from tmi.shadows.networks.classifier import Classifier

# Only these very classes: a subclass may do something else with its weights than multiply by them.
ADAPTED_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
# The linear layer of GPT-2: the transformers library's Conv1D, which is no convolution.
TRANSPOSED_LINEAR = "transformers.pytorch_utils.Conv1D"


def trained_parts(classifier: Classifier, finetune: FinetuneConfig, number: int) -> list[nn.Module]:
    """Adapters of all linear and convolution layers, of rank ``finetune.lora_rank``; they start as zeros, times noise.

    Grouped convolutions are left out: a product of rank r has no room for more groups than r.

    Raises:
        TmiError: peft is not installed, or there is nothing to adapt.
    """
    backbone = classifier.backbone
    try:
        from peft import LoraConfig, inject_adapter_in_model
        from peft.tuners.lora import LoraLayer
    except ImportError:
        raise TmiError("finetune.transfer 'lora' needs the peft library: `pip install peft`") from None

    def can_be_adapted(module: nn.Module) -> bool:
        # By name, so that nothing has to import the transformers library for a network that is not from it.
        name = f"{type(module).__module__}.{type(module).__qualname__}"
        return (type(module) in ADAPTED_LAYERS or name == TRANSPOSED_LINEAR) and getattr(module, "groups", 1) == 1

    names = [name for name, module in backbone.named_modules() if can_be_adapted(module)]
    if not names:
        raise TmiError("finetune.transfer is 'lora', but the backbone has no linear or convolution layer")
    config = LoraConfig(
        r=finetune.lora_rank,
        lora_alpha=2 * finetune.lora_rank,
        lora_dropout=0.0,
        # A pattern matches whole names; a list would also match names that end alike.
        target_modules="|".join(re.escape(name) for name in names),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inject_adapter_in_model(config, backbone)
    adapted = [module for module in backbone.modules() if isinstance(module, LoraLayer)]
    return [adapter for layer in adapted for adapter in (layer.lora_A, layer.lora_B)]
