"""Whether a network can be finetuned with differential privacy, and the layers that prevent it.

Private training bounds what each single point contributes to a step. That bound means nothing where a layer makes the
output at one point depend on the others, or where Opacus does not see the gradients of single points.
"""

from __future__ import annotations

import copy
import math
import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from tmi.data.tokens import PADDING
from tmi.errors import TmiError
from tmi.shadows.networks.classifier import Classifier
from tmi.shadows.networks.language import TokenBackbone
from tmi.system.libraries import explained

# As in Opacus, and the paper's own default (Wu and He 2018).
MOST_GROUPS = 32


def use_group_normalisation(module: nn.Module) -> None:
    """Replace every batch normalisation inside ``module`` by group normalisation with the same scales and offsets."""
    for parent in list(module.modules()):
        for name, batch in list(parent.named_children()):
            if not isinstance(batch, _BatchNorm):
                continue
            channels = batch.num_features
            group = nn.GroupNorm(math.gcd(MOST_GROUPS, channels), channels, eps=batch.eps, affine=batch.affine)
            if batch.affine:
                group.load_state_dict({"weight": batch.weight, "bias": batch.bias})
            setattr(parent, name, group)


def point_mixing_layer(classifier: Classifier) -> str | None:
    """The name of the first layer that lets points of a batch depend on each other when the classifier is trained.

    Frozen batch normalisation stays in evaluation mode and uses its running statistics, so it mixes nothing.
    """
    trained = {id(module) for part in classifier.trained_parts for module in part.modules()}
    for name, module in classifier.named_modules():
        if isinstance(module, _BatchNorm) and (id(module) in trained or not module.track_running_stats):
            return str(name)
        # Instance normalisation is of each point alone, but its running statistics are of all of them.
        if isinstance(module, _InstanceNorm) and id(module) in trained and module.track_running_stats:
            return str(name)
    return None


POINTS = 2
# Tokens of the texts that are tried: as good as many, and quicker.
TOKENS = 8
# Scale of what is put in place of zeros.
NOISE = 0.02
TOLERANCE = 1e-4


def check_private(classifier: Classifier, inputs: Tensor, ghost_clipping: bool = False) -> None:
    """Find out whether Opacus bounds what each single point contributes to the training of a classifier.

    Opacus takes the gradients of single points layer by layer, and takes the first axis of a layer's input for the
    points. Where that is not so, for instance in position embeddings that are looked up once for a whole batch, it
    fails or is wrong. The norms of its gradients for the first two points of inputs ``[points, ...]`` are compared
    with those of each point alone. The classifier, for which `apply_transfer` was called, is left as it is.

    Raises:
        TmiError: a layer that finetuning changes is not bounded.
    """
    points = inputs[torch.arange(POINTS, device=inputs.device) % len(inputs)]
    if isinstance(classifier.backbone, TokenBackbone):
        points = points[:, :TOKENS]
    labels = torch.arange(POINTS, device=inputs.device) % classifier.head.out_features
    trial = _trial(classifier)
    with explained("finetune.private: Opacus cannot train this network"), warnings.catch_warnings():
        # Opacus's hooks sit on layers whose inputs need no gradient, as those of a first layer never do.
        warnings.filterwarnings("ignore", "Full backward hook is firing")
        alone = _norms_alone(trial, points, labels)
        together = _norms_by_opacus(trial, points, labels, ghost_clipping)
    # Some gradients are zero but for rounding, for instance those of the biases of an attention's keys.
    rounding = TOLERANCE * max(float(norms.max()) for norms in alone.values())
    for name, expected in alone.items():
        found = together[name]
        if found is None or found.shape != expected.shape or not torch.allclose(found, expected, TOLERANCE, rounding):
            raise TmiError(
                f"finetune.private: Opacus does not find the gradients of single points for {name!r}; let "
                "finetune.transfer leave it frozen, as 'head' or 'lora' may, or choose another architecture"
            )


def _trial(classifier: Classifier) -> Classifier:
    """A copy without dropout, in which gradients reach everything that is trained.

    A blank head passes none on, and neither does an adapter that starts at zero.
    """
    trial = copy.deepcopy(classifier).eval()
    generator = torch.Generator().manual_seed(0)
    for module in trial.modules():
        trained = [parameter for parameter in module.parameters(recurse=False) if parameter.requires_grad]
        # Opacus looks at layers in training mode only; dropout is in others.
        module.training = bool(trained)
        for parameter in trained:
            if not parameter.any():
                parameter.data.copy_(NOISE * torch.randn(parameter.shape, generator=generator))
    return trial


def _losses(network: nn.Module, points: Tensor, labels: Tensor) -> Tensor:
    logits = network(points)
    if logits.ndim == 3:
        # Of a model that writes, about all tokens but the first.
        return functional.cross_entropy(
            logits[:, :-1].transpose(1, 2), points[:, 1:], ignore_index=PADDING, reduction="sum"
        )
    return functional.cross_entropy(logits, labels, reduction="sum")


def _norms_alone(trial: Classifier, points: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Norms ``[points]`` of the gradients of every trained parameter, from one point after another."""
    trained = {name: parameter for name, parameter in trial.named_parameters() if parameter.requires_grad}
    norms = []
    for point in range(len(points)):
        loss = _losses(trial, points[point : point + 1], labels[point : point + 1])
        gradients = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
        norms.append([loss.new_zeros(()) if gradient is None else gradient.norm() for gradient in gradients])
    return {name: torch.stack(of_points) for name, of_points in zip(trained, zip(*norms, strict=True), strict=True)}


def _norms_by_opacus(trial: Classifier, points: Tensor, labels: Tensor, ghost: bool) -> dict[str, Tensor | None]:
    """The same as Opacus finds them in one pass; None where it finds none."""
    from opacus.grad_sample import GradSampleModule, GradSampleModuleFastGradientClipping

    # As in private training, which is not strict either.
    module_class = GradSampleModuleFastGradientClipping if ghost else GradSampleModule
    module = module_class(trial, loss_reduction="sum", strict=False)
    torch.autograd.backward(_losses(module, points, labels))
    norms: dict[str, Tensor | None] = {}
    for name, parameter in trial.named_parameters():
        found = getattr(parameter, "_norm_sample" if ghost else "grad_sample", None)
        norms[name] = found if ghost or found is None else found.flatten(1).norm(dim=1)
    return norms
