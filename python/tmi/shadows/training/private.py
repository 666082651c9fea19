"""Differentially private training of one network: DP-SGD (Abadi et al. 2016, algorithm 1) through Opacus.

Opacus clips every point's gradient, adds the noise and accounts for it; batches are Poisson samples, as its accountant
assumes. A single linear layer, as a head on frozen features is, needs Opacus to account alone: what it clips has a
closed form. The noise comes from a seeded generator, so that a run can be repeated: this measures what a private
finetuning leaks, it is no way to release a model.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tmi.config import FinetuneConfig, PrivacyConfig
from tmi.errors import TmiError, first_line
from tmi.shadows.training.data import TrainingSet, epoch_seed
from tmi.shadows.training.recipe import (
    autocast,
    learning_rate,
    optimizer_of,
    point_losses,
    set_learning_rate,
    trainable,
)

ACCOUNTANT = "prv"
# Beyond it nothing is kept private. At 210 Opacus takes 2 seconds and 0.2 GB, at some thousands more than 5 GB.
LARGEST_EPSILON = 1000.0
# What Opacus adds to a norm before it divides by it.
CLIP_MARGIN = 1e-6


@dataclass(frozen=True)
class Guarantee:
    """What private training promises for its own points.

    Attributes:
        epsilon: by Opacus's accountant; infinite without noise.
        delta: the probability that the promise does not cover.
        noise_multiplier: standard deviation of the noise in units of the clipping norm.
        sampling_rate: the probability with which a point is in a batch.
        steps: number of updates.
    """

    epsilon: float
    delta: float
    noise_multiplier: float
    sampling_rate: float
    steps: int


def guarantee_of(private: PrivacyConfig, size: int, batch_size: int, epochs: int) -> Guarantee:
    """The noise that a privacy budget asks for, or the budget that a noise spends, on ``size`` points.

    Raises:
        TmiError: there is none.
    """
    rate = min(1.0, batch_size / size)
    steps = epochs * math.ceil(1 / rate)
    delta = private.delta or 1 / (10 * size)
    noise, epsilon = _noise_and_epsilon(private.noise_multiplier, private.epsilon or math.inf, delta, rate, steps)
    return Guarantee(epsilon, delta, noise, rate, steps)


def train_privately(
    network: nn.Module,
    data: TrainingSet,
    recipe: FinetuneConfig,
    seed: int,
    samples_done: Callable[[int], None],
) -> Guarantee:
    """Train one network in place so that nothing but the guarantee's epsilon can be learned about one of its points.

    The data has the subset of this network alone; the recipe's batch size is the expected one. The seed is that of the
    batches and the noise. ``samples_done`` is told how many samples each step was about.
    """
    private = recipe.private
    if private is None:
        raise ValueError("recipe.private is None, expected a privacy budget")
    guarantee = guarantee_of(private, data.size, recipe.batch_size, recipe.epochs)
    network.train()
    # The noise of every step; the batches have a generator of their own.
    noise = torch.Generator(data.labels.device).manual_seed(epoch_seed(seed, 0))
    how = (recipe, private, guarantee, noise)
    # That very class only: a subclass may do something else with its weights.
    learner = _HeadUpdates(network, *how) if type(network) is nn.Linear else _Updates(network, *how)
    # For the points of a batch, each of which is in it with the sampling rate's probability; a batch may be empty.
    generator, points = torch.Generator().manual_seed(seed), data.subsets[0]
    inputs = data.inputs[0] if data.per_model else data.inputs
    for number in range(guarantee.steps):
        drawn = torch.rand(data.size, generator=generator) < guarantee.sampling_rate
        chosen = points[drawn.to(points.device)]
        set_learning_rate(learner.optimizer, learning_rate(recipe, number / guarantee.steps))
        learner.step(inputs[chosen], data.labels[chosen])
        samples_done(recipe.batch_size)
    learner.done()
    return guarantee


class _HeadUpdates:
    """Updates of a single linear layer, whose gradient at a point is that at its logits times its features.

    Neither the norm nor the sum over a batch needs the gradients of single points themselves (Goodfellow 2015,
    "Efficient per-example gradient computations"). All else is what Opacus's optimiser does, in its order.
    """

    def __init__(
        self,
        head: nn.Linear,
        recipe: FinetuneConfig,
        private: PrivacyConfig,
        guarantee: Guarantee,
        noise: torch.Generator,
    ) -> None:
        self._head, self._recipe, self._clip, self._noise = head, recipe, private.clip, noise
        self._deviation = guarantee.noise_multiplier * private.clip
        self.optimizer = optimizer_of(trainable(head), recipe)

    @torch.no_grad()
    def step(self, inputs: Tensor, labels: Tensor) -> None:
        """One update from features ``[points, width]`` and labels ``[points]``, of which none is left out."""
        head, smoothing = self._head, self._recipe.label_smoothing
        with autocast(labels.device, self._recipe):
            logits = head(inputs)
        # The derivative of `loss_of`: the probabilities less the smoothed target.
        at_logits = logits.float().softmax(dim=1).sub_(smoothing / logits.shape[1])
        at_logits.scatter_add_(1, labels[:, None], at_logits.new_full((len(labels), 1), smoothing - 1))
        # The bias is the weight of one feature more, which is 1 at all points.
        lengths = torch.linalg.vector_norm(inputs, dim=1).square_().add_(0 if head.bias is None else 1).sqrt_()
        norms = torch.linalg.vector_norm(at_logits, dim=1).mul_(lengths)
        clipped = at_logits.mul_((self._clip / norms.add_(CLIP_MARGIN)).clamp_(max=1)[:, None])
        for parameter, total in ((head.weight, clipped.T @ inputs), (head.bias, clipped.sum(dim=0))):
            if parameter is None:
                continue
            if self._deviation:
                total += torch.normal(0.0, self._deviation, total.shape, generator=self._noise, device=total.device)
            parameter.grad = total / self._recipe.batch_size
        self.optimizer.step()

    def done(self) -> None:
        """Leave nothing behind."""
        self.optimizer.zero_grad()


class _Updates:
    """Updates that hold the gradient of every point of a batch.

    With ghost clipping they find the norm of every point's gradient without storing it, and weigh the points in a
    second pass (Li et al. 2022, "Large language models can be strong differentially private learners").
    """

    def __init__(
        self,
        network: nn.Module,
        recipe: FinetuneConfig,
        private: PrivacyConfig,
        guarantee: Guarantee,
        noise: torch.Generator,
    ) -> None:
        from opacus.grad_sample import GradSampleModule, GradSampleModuleFastGradientClipping
        from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping

        self._recipe, self._ghost = recipe, private.ghost_clipping
        # Not strict: buffers are refused there, and the constants of a scaling layer are some.
        how: dict[str, Any] = {"loss_reduction": "sum", "strict": False}
        if self._ghost:
            how |= {"max_grad_norm": private.clip, "use_ghost_clipping": True}
        self._module = (GradSampleModuleFastGradientClipping if self._ghost else GradSampleModule)(network, **how)
        # The sum of clipped gradients, noise, and the expected batch size.
        self.optimizer = (DPOptimizerFastGradientClipping if self._ghost else DPOptimizer)(
            optimizer_of(trainable(network), recipe),
            noise_multiplier=guarantee.noise_multiplier,
            max_grad_norm=private.clip,
            expected_batch_size=recipe.batch_size,
            loss_reduction="mean",
            generator=noise,
        )

    def step(self, inputs: Tensor, labels: Tensor) -> None:
        """One update from inputs ``[points, ...]`` and labels ``[points]``."""
        with warnings.catch_warnings():
            # Opacus's hooks sit on layers whose inputs need no gradient, as those of a first layer never do.
            warnings.filterwarnings("ignore", "Full backward hook is firing")
            if len(inputs):
                with autocast(labels.device, self._recipe):
                    logits = self._module(inputs)
                self._backward(point_losses(logits, labels, self._recipe))
            else:
                self._nothing_to_learn()
            self.optimizer.step()
            self.optimizer.zero_grad()

    def done(self) -> None:
        """Take Opacus's hooks from the network."""
        self._module.to_standard_module()

    def _backward(self, losses: Tensor) -> None:
        """Gradients from the losses ``[points]`` of a batch."""
        if self._ghost:
            from opacus.utils.fast_gradient_clipping_utils import DPTensorFastGradientClipping

            DPTensorFastGradientClipping(self._module, self.optimizer, losses, "sum").backward()
        else:
            torch.autograd.backward(losses.sum())

    def _nothing_to_learn(self) -> None:
        """The gradients of a batch without points, which gets its noise like any other."""
        for parameter in self.optimizer.params:
            if self._ghost:
                parameter.grad = torch.zeros_like(parameter)
            else:
                parameter.grad_sample = parameter.new_zeros(0, *parameter.shape)


@lru_cache(maxsize=64)
def _noise_and_epsilon(
    noise: float | None, epsilon: float, delta: float, rate: float, steps: int
) -> tuple[float, float]:
    """The noise that a budget asks for unless it is given, and what it spends."""
    from opacus.accountants import create_accountant
    from opacus.accountants.utils import get_noise_multiplier

    # Only the search for the size of a domain is coarse, not the epsilon itself; and the logarithm of zero that Opacus
    # takes where every batch has all points is meant to be minus infinity.
    with warnings.catch_warnings(), np.errstate(divide="ignore", over="ignore"):
        warnings.filterwarnings("ignore", "Optimal order is the")
        if noise is None and epsilon > LARGEST_EPSILON:
            raise TmiError(
                f"finetune.private.epsilon is {epsilon:g}, expected at most {LARGEST_EPSILON:,.0f}, or inf for no noise"
            )
        if noise is None:
            budget: dict[str, Any] = {
                "target_epsilon": epsilon,
                "target_delta": delta,
                "sample_rate": rate,
                "steps": steps,
            }
            try:
                noise = float(get_noise_multiplier(**budget, accountant=ACCOUNTANT))
            except (ArithmeticError, ValueError, RuntimeError, MemoryError) as error:
                raise TmiError(
                    f"finetune.private.epsilon is {epsilon:g}, for which Opacus finds no noise with delta {delta:g} in "
                    f"{steps} steps ({first_line(error)}); expected a budget nearer to 1"
                ) from None
        if not noise:
            return noise, math.inf
        # By an accountant that is coarse and quick: the other one takes time and memory that grow with the epsilon.
        accountant = create_accountant("rdp")
        accountant.history = [(noise, rate, steps)]
        if not (rough := float(accountant.get_epsilon(delta))) <= LARGEST_EPSILON:
            raise TmiError(
                f"finetune.private.noise_multiplier is {noise:g}, which spends an epsilon of about {rough:.2g} in "
                f"{steps} steps, expected at most {LARGEST_EPSILON:,.0f}; take more noise, or 0 for none"
            )
        accountant = create_accountant(ACCOUNTANT)
        accountant.history = [(noise, rate, steps)]
        try:
            return noise, float(accountant.get_epsilon(delta))
        except (ArithmeticError, ValueError, RuntimeError, MemoryError) as error:
            raise TmiError(
                f"finetune.private: Opacus finds no epsilon for a noise_multiplier of {noise:g} with delta {delta:g} "
                f"in {steps} steps ({first_line(error)}); expected one nearer to 1, or 0"
            ) from None
