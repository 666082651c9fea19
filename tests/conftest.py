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
    """Figures of reports are composed but not drawn, which takes two thirds of a tiny run.

    Fixtures of a module come before this one, so the runs that they finish have figures; so have tests marked `drawn`.
    """
    if not request.node.get_closest_marker("drawn"):
        monkeypatch.setattr("tmi.report.document.png_bytes", lambda figure: b"undrawn")
        monkeypatch.setattr("tmi.report.document.svg_text", lambda figure: "<svg><title>undrawn</title></svg>")


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


@pytest.fixture
def shared() -> Path:
    """Frozen reference data that lives beside the checkout; tests that need it are skipped without it."""
    folder = Path(os.environ.get("TMI_SHARED", Path(__file__).parents[2] / "shared"))
    if not folder.is_dir():
        pytest.skip(f"needs the reference data in {folder}")
    return folder
