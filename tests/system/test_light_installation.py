"""Without torch: saved predictions are attacked, and what needs it says so in a sentence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

# Stands for an installation in which some packages are missing.
WITHOUT = """
import sys
from importlib.abc import MetaPathFinder

MISSING = {"torch", "transformers", "opacus", "peft", "accelerate", "huggingface_hub", "datasets", "pyarrow"}

class Missing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in MISSING:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
from tmi.__main__ import main
main()
"""


def light(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT, *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_saved_predictions_need_no_torch(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    np.savez(
        tmp_path / "saved.npz",
        predictions=random.normal(size=(9, 40, 1, 4)).astype(np.float32),
        membership=random.random((9, 40)) < 0.5,
    )
    words = ("--predictions", "saved.npz", "--attack", "tmi", "--attack", "gaussian", "--workers", "1", "--out", "out")
    assert light(tmp_path, "check", "saved.npz").returncode == 0
    result = light(tmp_path, "attack", *words)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out" / "report.html").exists()


def test_what_needs_torch_says_so(tmp_path: Path) -> None:
    result = light(tmp_path, "attack", "--out", "out")
    assert result.returncode == 2
    (line,) = result.stderr.strip().splitlines()
    assert "'torch'" in line
    assert "pip install tmi-audit" in line
