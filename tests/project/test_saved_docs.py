"""What the documentation says about saved predictions is typed and run, on predictions made here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]


def blocks(page: str, kind: str, beginning: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.findall(rf"^```{kind}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [code for code in found if beginning in code]


def simulated() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    membership = random.random((10, 40)) < 0.5
    direction = random.normal(size=(40, 1, 4))
    logits = random.normal(size=(10, 40, 2, 4)) + membership[:, :, None, None] * direction
    return logits.astype(np.float32), membership


def test_the_commands_of_the_readme(tmp_path: Path) -> None:
    logits, membership = simulated()
    np.save(tmp_path / "predictions.npy", logits[1:])
    np.save(tmp_path / "membership.npy", membership[1:])
    np.save(tmp_path / "victim.npy", logits[0])
    (code,) = blocks("README.md", "sh", "--predictions predictions.npy")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    result = subprocess.run(
        ["bash", "-ec", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "are called members" in result.stdout
    assert len(list(tmp_path.glob("runs/*/report.html"))) == 1


def test_the_python_of_the_guide(tmp_path: Path) -> None:
    logits, membership = simulated()
    for model, (answers, members) in enumerate(zip(logits, membership, strict=True)):
        folder = tmp_path / "exp" / "cifar10" / str(model)
        folder.mkdir(parents=True)
        np.save(folder / "logits.npy", answers)
        np.save(folder / "keep.npy", members)
    (code,) = blocks("docs/saved-predictions.md", "python", "check_arrays")
    result = subprocess.run(
        [sys.executable, "-c", code + "\nprint(audit.verdict)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "AUC" in result.stdout
