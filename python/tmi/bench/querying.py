"""``tmi bench train``: how fast a model that writes is asked about every token, next to one text after another."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from tmi.bench.training import Load, Speed, made_up, tokens_in
from tmi.data.tokens import PADDING
from tmi.shadows.experiment import on_this_machine
from tmi.shadows.networks import Classifier, answers_of, build_classifier
from tmi.system.devices import on_one_thread, own_device


@on_one_thread
def bench_querying(load: Load, rounds: int) -> list[tuple[Speed, Speed]]:
    """Time both by turns, one network on one thread.

    Returns:
        For every round the speeds of the plain loop and of this package's, which finds ranks and standardised
        log-probabilities besides.
    """
    config = on_this_machine(load.config)
    inputs = made_up(load)[0].to(device := own_device(config.compute.device))
    vocabulary = config.encoder.vocabulary
    network = build_classifier(
        config.model, config.encoder, load.shape, load.classes, 0, vocabulary=vocabulary, objective="causal"
    )
    network.to(device).eval()
    longest, tokens, speeds = int((inputs != PADDING).sum(dim=1).max()), tokens_in(load, inputs), []
    # The first time is no time of either.
    _one_by_one(network, inputs[:1])
    for _ in range(rounds):
        started = time.perf_counter()
        _one_by_one(network, inputs)
        between = time.perf_counter()
        answers_of(network, inputs, longest)
        plain, fast = between - started, time.perf_counter() - between
        speeds.append(
            (Speed("one text at a time", load.points, plain, tokens), Speed("tmi", load.points, fast, tokens))
        )
    return speeds


@torch.no_grad()
def _one_by_one(network: Classifier, inputs: Tensor) -> list[Tensor]:
    """The log-probabilities of every token but the first of each text."""
    found = []
    for row in inputs:
        text = row[row != PADDING]
        log_p = network(text[None])[0, :-1].float().log_softmax(dim=-1)
        found.append(log_p.gather(1, text[1:, None])[:, 0].cpu())
    return found
