"""Layers that mix the points of a batch, and the one that replaces them.

Differentially private training bounds what each single point contributes to a step. That bound means nothing where a
layer makes the output at one point depend on the others.
"""

from __future__ import annotations

import math

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from tmi.shadows.networks.classifier import Classifier

# As in Opacus, and the paper's own default (Wu and He 2018).
MOST_GROUPS = 32


def use_group_normalisation(module: nn.Module) -> None:
    """Replace every batch normalisation inside ``module`` by group normalisation with the same scales and offsets."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, _BatchNorm):
                setattr(parent, name, _group_normalisation(child))


def point_mixing_layer(classifier: Classifier) -> str | None:
    """The name of the first layer that lets points of a batch depend on each other when the classifier is trained.

    Frozen batch normalisation stays in evaluation mode and uses its running statistics, so it mixes nothing.
    """
    trained = {id(module) for part in classifier.trained_parts for module in part.modules()}
    mixing = (name for name, module in classifier.named_modules() if _mixes_points(module, id(module) in trained))
    return next(mixing, None)


def _mixes_points(module: nn.Module, trained: bool) -> bool:
    if isinstance(module, _BatchNorm):
        return trained or not module.track_running_stats
    # Instance normalisation is of each point alone, but its running statistics are of all of them.
    return isinstance(module, _InstanceNorm) and trained and module.track_running_stats


def _group_normalisation(batch: _BatchNorm) -> nn.GroupNorm:
    channels = batch.num_features
    group = nn.GroupNorm(math.gcd(MOST_GROUPS, channels), channels, eps=batch.eps, affine=batch.affine)
    if batch.affine:
        group.load_state_dict({"weight": batch.weight, "bias": batch.bias})
    return group
