"""Which models are trained and queried as one group."""

from __future__ import annotations

from tmi.config import Config


def groups(config: Config, stage: str) -> list[range]:
    """Consecutive models that are worked on together.

    The grouping depends on the configuration alone, never on what an interrupted run has left: a group is trained
    again as a whole, and so ends in the same bits.
    """
    size = _group_size(config, stage)
    return [range(start, min(start + size, config.models)) for start in range(0, config.models, size)]


def _group_size(config: Config, stage: str) -> int:
    """Side by side only where it helps: small networks and heads anywhere, others on an accelerator."""
    trains_heads = stage == "finetune" and config.finetune.transfer == "head"
    if stage == "query" or trains_heads or config.model.kind == "mlp" or not config.compute.device.startswith("cpu"):
        return config.compute.models_at_once
    return 1
