"""The table about training code of the user's own."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import Field, field_validator

from tmi.config.base import Table

# What stands in the tables that nothing reads where the user's own functions train.
UNUSED_TRAINING = {"learning_rate": 1e-3, "epochs": 1, "batch_size": 1}
UNUSED_TABLES: dict[str, dict[str, Any]] = {
    "encoder": {"kind": "pixels"},
    "model": {},
    "pretrain": UNUSED_TRAINING,
    "finetune": UNUSED_TRAINING,
}
# The arguments of the functions that settings may not replace.
ARGUMENTS = ("inputs", "labels", "pretrained", "seed", "directory", "device")

FunctionName = Annotated[str, Field(pattern=r"^[^\W\d]\w*(\.[^\W\d]\w*)+$")]


class RecipeConfig(Table):
    """Python functions that pretrain, finetune and query in place of the tool's networks."""

    pretrain: FunctionName
    """``module.function``, called as ``pretrain(inputs, labels, seed, directory, device)`` for every model."""
    finetune: FunctionName
    """Called as ``finetune(inputs, labels, pretrained, seed, directory, device)``."""
    query: FunctionName
    """Called as ``query(inputs, directory, device)``; returns the logits of a finetuned model."""
    query_pretrained: FunctionName | None = None
    """The same of a pretrained model, for the attacks that query it; without it there are none."""
    settings: dict[str, Any] = {}
    """Further keyword arguments of ``pretrain`` and ``finetune``."""

    @field_validator("settings")
    @classmethod
    def _are_plain_values(cls, settings: dict[str, Any]) -> dict[str, Any]:
        if taken := [name for name in settings if name in ARGUMENTS]:
            raise ValueError(f"expected no {taken[0]!r}, which is an argument that every call has")
        try:
            json.dumps(settings, allow_nan=False)
        except (TypeError, ValueError):
            raise ValueError("expected strings, finite numbers, booleans, and lists and tables of them") from None
        return settings
