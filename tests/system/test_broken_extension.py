"""Where the Rust extension is missing or broken the package can be imported, and says so."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tmi

# The packages that the doctor imports besides would take seconds.
COMMAND = """
import sys
import tmi
from tmi.__main__ import main
from tmi.system import doctor

assert tmi.__version__ and tmi.TmiError
doctor.DEPENDENCIES, doctor._torch = doctor.DEPENDENCIES[1:2], lambda: None
sys.argv = ["tmi", *sys.argv[1:]]
main()
"""


def installed(folder: Path, extension: bytes | None) -> Path:
    """A copy of the package with another extension, or without."""
    shutil.copytree(
        Path(tmi.__file__).parent, folder / "tmi", ignore=shutil.ignore_patterns("_core*.so", "__pycache__")
    )
    if extension is not None:
        (folder / "tmi" / "_core.abi3.so").write_bytes(extension)
    return folder


@pytest.mark.parametrize("extension", [None, b"no library"])
def test_the_doctor_says_what_is_broken(extension: bytes | None, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(installed(tmp_path, extension))}

    def told(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", COMMAND, *words]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    examined = told("doctor")
    assert examined.returncode == 2, examined.stderr
    assert "The Rust extension tmi._core does not work: ImportError: " in " ".join(examined.stdout.split())
    attacked = told("attacks")
    assert attacked.returncode == 2
    assert attacked.stderr.startswith("Error: the Rust extension tmi._core cannot be loaded: ")
    assert len(attacked.stderr.splitlines()) == 1
