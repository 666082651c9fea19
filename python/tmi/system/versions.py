"""What results rest on besides their configuration: versions, the machine, hashes of the data."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

# Packages whose version may change a figure, those that are installed.
PACKAGES = ("numpy", "scipy", "scikit-learn", "lightgbm", "torch", "transformers", "opacus", "peft")


@cache
def package_versions() -> dict[str, str]:
    """Those of `PACKAGES` that are installed."""
    versions = {}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def provenance(hashes: Mapping[str, str], keys: Mapping[str, str]) -> dict[str, Any]:
    """The table ``provenance`` of ``results.json``: with the SHA-256 of what was read and the stages' artefact keys."""
    return {
        "packages": package_versions(),
        "python": platform.python_version(),
        "machine": {"system": platform.platform(), "processor": platform.machine(), "cores": os.cpu_count()},
        "hashes": dict(hashes),
        "keys": dict(keys),
    }
