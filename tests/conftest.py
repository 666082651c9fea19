from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tmi.config import Config, load_config

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


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the tests that repeat whole experiments")


def pytest_configure(config: pytest.Config) -> None:
    # The same examples every time, so that a check fails because of a change; --slow searches for new ones.
    settings.register_profile("repeatable", derandomize=True)
    if not config.getoption("--slow"):
        settings.load_profile("repeatable")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--slow"):
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="slow: run with --slow"))


@pytest.fixture
def tiny() -> Callable[..., Config]:
    """A tiny configuration; keyword arguments are dotted keys with `__` for the dot."""

    def make(preset: str = "digits", **changes: Any) -> Config:
        overrides = {key.replace("__", "."): value for key, value in changes.items()}
        return load_config(preset, fitting(TINY | overrides))

    return make


@pytest.fixture
def shared() -> Path:
    """Frozen reference data that lives beside the checkout; tests that need it are skipped without it."""
    folder = Path(os.environ.get("TMI_SHARED", Path(__file__).parents[2] / "shared"))
    if not folder.is_dir():
        pytest.skip(f"needs the reference data in {folder}")
    return folder
