from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import tmi

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "version.py"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PINNED = re.compile(r"[\w-]+/[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")


def version_script(*tags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *tags], capture_output=True, text=True, check=False)


def test_the_package_has_the_version_of_the_workspace() -> None:
    assert version_script().stdout.strip() == tmi.__version__


def test_the_version_is_written_in_no_other_place() -> None:
    for manifest in ROOT.glob("rust/*/Cargo.toml"):
        assert "version.workspace = true" in manifest.read_text(encoding="utf-8")
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'dynamic = ["version"]' in pyproject
    assert not re.search(r"^version\s*=", pyproject, re.MULTILINE)


@pytest.mark.parametrize("tag", ["v999.0.0", tmi.__version__, f"v{tmi.__version__}.1"])
def test_a_tag_of_another_version_is_refused(tag: str) -> None:
    answer = version_script(tag)
    assert answer.returncode == 1
    assert f"expected the tag v{tmi.__version__}" in answer.stderr


def test_a_release_needs_a_dated_heading() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    dated = re.search(rf"^## {re.escape(tmi.__version__)} \(\d{{4}}-\d\d-\d\d\)$", changelog, re.MULTILINE)
    answer = version_script(f"v{tmi.__version__}")
    assert (answer.returncode == 0) == bool(dated), answer.stderr


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_to_a_commit(path: Path) -> None:
    for used in re.findall(r"uses: (.+)", path.read_text(encoding="utf-8")):
        assert used.startswith("./") or PINNED.fullmatch(used), used


def test_nothing_is_compiled_for_one_processor() -> None:
    files = [ROOT / "Makefile", ROOT / "Cargo.toml", ROOT / "pyproject.toml", *WORKFLOWS]
    files += [path for path in (ROOT / ".cargo" / "config.toml", ROOT / ".cargo" / "config") if path.exists()]
    for path in files:
        assert "target-cpu" not in path.read_text(encoding="utf-8"), path
