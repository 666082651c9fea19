"""Private finetuning of a head on frozen features: the closed form beside Opacus's hooks, in seconds of the processor.

    python benches/private_head.py

Both draw the same batches and the same noise; inside another module a linear layer is trained through Opacus.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import nn

from tmi.config import FinetuneConfig
from tmi.shadows.networks import blank_head
from tmi.shadows.training.data import TrainingSet
from tmi.shadows.training.private import train_privately

ROUNDS = 5
# Points, width of the features, classes, batch size and epochs: `cifar100-coarse-small`, `cifar100-coarse`, `digits`.
HEADS = ((1000, 128, 20, 50, 10), (8500, 512, 20, 128, 4), (500, 64, 10, 50, 10))


def main() -> None:
    torch.set_num_threads(1)
    print("| points × features × classes | Opacus | ghost clipping | closed form | ratio | largest difference |")
    print("|---|---:|---:|---:|---:|---:|")
    for points, width, classes, batch_size, epochs in HEADS:
        generator = torch.Generator().manual_seed(0)
        inputs = torch.randn(points, width, generator=generator)
        labels = torch.randint(classes, (points,), generator=generator)
        data = TrainingSet(inputs, labels, torch.arange(points)[None])
        steps, weights = epochs * -(-points // batch_size), {}
        times: dict[str, list[float]] = {"opacus": [], "ghost": [], "closed": []}
        # The first round is not counted: it computes what the noise spends of a budget.
        for counted in range(-1, ROUNDS):
            for name, of_loop in times.items():
                head = blank_head(width, classes)
                recipe = FinetuneConfig.model_validate(
                    {"optimizer": "adamw", "learning_rate": 0.01, "epochs": epochs, "batch_size": batch_size}
                    | {"private": {"noise_multiplier": 1.0, "ghost_clipping": name == "ghost"}}
                )
                started = time.process_time()
                train_privately(head if name == "closed" else nn.Sequential(head), data, recipe, 3, lambda _: None)
                if counted >= 0:
                    of_loop.append(1e6 * (time.process_time() - started) / steps)
                weights[name] = head.weight.detach()
        opacus, ghost, closed = (np.asarray(of_loop) for of_loop in times.values())
        ratio, different = opacus / closed, (weights["opacus"] - weights["closed"]).abs().max()
        print(
            f"| {points:,} × {width} × {classes} | {np.median(opacus):,.0f} µs | {np.median(ghost):,.0f} µs | "
            f"{np.median(closed):,.0f} µs | {np.median(ratio):.1f} [{ratio.min():.1f}-{ratio.max():.1f}] | "
            f"{different:.0e} of {weights['opacus'].abs().max():.1f} |"
        )


if __name__ == "__main__":
    main()
