"""Functions of a user that train: the nearest class mean, and a configuration that names them."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from tmi.config import Config, validate
from tmi.shadows.makers import user_functions

# A classifier by the nearest class mean: what it was trained on is in its means. It writes a line for every call.
MEANS = """
import random
from pathlib import Path
import numpy as np
import torch

def log(*words):
    with Path("calls.txt").open("a") as file:
        print(*words, file=file)

def flat(inputs):
    return np.asarray(inputs, dtype=np.float64).reshape(len(inputs), -1) / (255 if inputs.dtype == np.uint8 else 1)

def means(inputs, labels, classes):
    rows = flat(inputs)
    return np.stack([rows[labels == label].sum(axis=0) / (0.1 + (labels == label).sum()) for label in range(classes)])

def pretrain(inputs, labels, *, seed, directory, device, classes=10):
    log("pretrain")
    if Path("fail").exists() and len(Path("calls.txt").read_text().splitlines()) > 3:
        raise ValueError("out of paper")
    (directory / "deep").mkdir()
    draws = [random.random(), np.random.rand(), torch.rand(1).item()]
    np.savez(directory / "deep" / "means.npz", means=means(inputs, labels, classes), draws=draws, seed=seed,
             inputs=inputs, labels=labels)
    (directory / "notes.tmp").write_text(device)
    return {"points": np.int64(len(inputs)), "test_accuracy": 0.5}

def finetune(inputs, labels, *, pretrained, seed, directory, device, classes=10):
    log("finetune")
    base = np.load(pretrained / "deep" / "means.npz")["means"]
    head = means(flat(inputs) @ base.T, labels, 5)
    np.savez(directory / "model.npz", base=base, head=head, seed=seed, inputs=inputs, labels=labels)

def query(inputs, *, directory, device):
    model = np.load(directory / "model.npz")
    features = flat(inputs) @ model["base"].T
    return -((features[:, None] - model["head"]) ** 2).sum(axis=2)

def query_pretrained(inputs, *, directory, device):
    means = np.load(directory / "deep" / "means.npz")["means"]
    return -((flat(inputs)[:, None] - means) ** 2).sum(axis=2)
"""
DOCUMENT: dict[str, Any] = {
    "name": "own",
    "models": 6,
    "pool": {"source": "sklearn:digits", "size": 40},
    "downstream": {
        "source": "sklearn:digits",
        "relabel": [0, 1, 2, 3, 4] * 2,
        "size": 60,
        "points_per_model": 30,
    },
    "recipe": {
        "pretrain": "means.pretrain",
        "finetune": "means.finetune",
        "query": "means.query",
        "query_pretrained": "means.query_pretrained",
    },
    "query": {"augmentation": "shift", "count": 3, "strength": 0.25},
    "attack": {"names": ["adapted-lira", "direct"]},
    "evaluation": {"resamples": 100},
    "compute": {"workers": 1},
}


def configured(**tables: Any) -> Config:
    return validate(DOCUMENT | tables, "test")


def forget(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """What a new process does not know."""
    for module in modules:
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setattr(user_functions, "_hashes", {})
