"""Distributions that are installed for one test, with entry points of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tmi.attacks import registry
from tmi.system import plugins


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, entry_points: str, **modules: str) -> None:
    """Put modules and the metadata of a distribution on the path, as pip does; forgotten after the test.

    Args:
        folder: where.
        monkeypatch: undoes it.
        name: of the distribution.
        entry_points: the text of its ``entry_points.txt``.
        modules: their code by name.
    """
    metadata = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(entry_points)
    for module, code in modules.items():
        (folder / f"{module}.py").write_text(code)
    for known in ("_registered", "_broken"):
        monkeypatch.setattr(registry, known, dict(getattr(registry, known)))
    monkeypatch.setattr(registry, "_loaded", set(registry._loaded))
    monkeypatch.setattr(plugins, "plugins", plugins.plugins.__wrapped__)
    monkeypatch.setattr(registry, "plugins", plugins.plugins)
    monkeypatch.syspath_prepend(str(folder))
