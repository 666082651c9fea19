"""Configurations that run in about a second."""

from __future__ import annotations

from typing import Any

# A run of the preset's own code path that takes about a second.
TINY = {
    "models": 6,
    "pool.size": 40,
    "downstream.size": 60,
    "downstream.points_per_model": 30,
    "model.hidden": [16],
    "pretrain.epochs": 6,
    "finetune.epochs": 3,
    "query.count": 3,
    "evaluation.resamples": 100,
    "compute.models_at_once": 4,
    "compute.workers": 1,
}


def fitting(overrides: dict[str, Any]) -> dict[str, Any]:
    """Without the widths of a multilayer perceptron where the network is another one."""
    is_mlp = overrides.get("model.kind", "mlp") == "mlp"
    return {key: value for key, value in overrides.items() if is_mlp or key != "model.hidden"}
