from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# Read when NumPy is imported: workers of pytest share the cores, on which the threads of BLAS would wait in a loop.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from made.commands import leave_undrawn
from made.configs import TINY, fitting
from tmi.config import Config, load_config


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the tests that repeat whole experiments")


def pytest_configure(config: pytest.Config) -> None:
    # The same examples every time, so that a check fails because of a change; --slow searches for new ones.
    # How long one takes says something about the machine it shares, not about the code.
    settings.register_profile(
        "repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    if not config.getoption("--slow"):
        settings.load_profile("repeatable")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--slow"):
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="slow: run with --slow"))


@pytest.fixture(autouse=True)
def undrawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports of tests have no figures, unless they are marked `drawn` or come from a fixture of the module."""
    if not request.node.get_closest_marker("drawn"):
        leave_undrawn(monkeypatch)


@pytest.fixture
def tiny() -> Callable[..., Config]:
    """A tiny configuration; keyword arguments are dotted keys with `__` for the dot."""

    def make(preset: str = "digits", **changes: Any) -> Config:
        overrides = {key.replace("__", "."): value for key, value in changes.items()}
        return load_config(preset, fitting(TINY | overrides))

    return make


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the run that the module's own fixture ``finished`` has made once, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture(params=["digits", "text"])
def golden(request: pytest.FixtureRequest, shared: Path) -> Path:
    """Frozen predictions of real shadow models."""
    return frozen(shared / "golden" / request.param)


@pytest.fixture
def peers(shared: Path) -> Path:
    """What other tools have saved."""
    return frozen(shared / "peers")


@pytest.fixture
def shared() -> Path:
    """Frozen reference data that lives beside the checkout; tests that need it are skipped without it."""
    return frozen(Path(os.environ.get("TMI_SHARED", Path(__file__).parents[2] / "shared")))


def frozen(folder: Path) -> Path:
    if not folder.is_dir():
        pytest.skip(f"needs the reference data in {folder}")
    return folder
