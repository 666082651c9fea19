"""What the files beside the code say about the code is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import tmi

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "python" / "tmi"


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_citation_is_of_this_version_and_cites_the_paper() -> None:
    citation = text("CITATION.cff")
    assert re.findall(r"^version: (.*)$", citation, re.MULTILINE) == [tmi.__version__]
    assert re.findall(r"family-names: (\w+)", citation) == ["Abascal", "Wu", "Oprea", "Ullman"]
    assert "2306.01181" in citation


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "SECURITY.md"])
def test_files_that_are_named_exist(name: str) -> None:
    named = {path for path in re.findall(r"`([\w./-]+\.(?:py|md|rs|toml))`", text(name)) if "/" in path}
    named |= set(re.findall(r"`((?:python|rust|docs|tests)/[\w/]+/?)`", text(name)))
    assert named
    folders = (ROOT, ROOT / "python", PACKAGE)
    assert [path for path in sorted(named) if not any((folder / path).exists() for folder in folders)] == []


def test_the_rooms_of_the_floor_plan_are_those_of_the_package() -> None:
    plan = re.findall(r"^\| \d \| `(\w+)/` \|", text("CONTRIBUTING.md"), re.MULTILINE)
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert sorted(plan) == sorted(rooms)
    assert {path.name for path in PACKAGE.glob("*.py*")} == {"__init__.py", "__main__.py", "errors.py", "_core.pyi"}


def test_what_a_stranger_asks_for_is_where_the_guide_says() -> None:
    answers = re.findall(r"^\| .*\? \| `([\w/.]+)` \| `(\w+)` \|$", text("CONTRIBUTING.md"), re.MULTILINE)
    assert len(answers) >= 10
    for file, name in answers:
        assert re.search(rf"^(def|class) {name}\b", (PACKAGE / file).read_text(encoding="utf-8"), re.MULTILINE), file


def test_no_test_imports_another() -> None:
    importing = re.compile(r"^\s*(?:from|import) (?:tests\.)?(?:[a-z_]+\.)*test_", re.MULTILINE)
    files = sorted((ROOT / "tests").rglob("*.py"))
    assert len(files) > 50
    assert [file.name for file in files if importing.search(file.read_text(encoding="utf-8"))] == []


def test_targets_of_make_that_are_named_exist() -> None:
    known = set(re.findall(r"^([a-z-]+):", text("Makefile"), re.MULTILINE))
    assert set(re.findall(r"^make ([\w-]+)", text("CONTRIBUTING.md"), re.MULTILINE)) <= known


def test_the_image_copies_no_more_than_it_is_given() -> None:
    copied = {
        word for line in re.findall(r"^COPY (.*) \S+$", text("Dockerfile"), re.MULTILINE) for word in line.split()
    }
    admitted = set(re.findall(r"^!(.*)$", text(".dockerignore"), re.MULTILINE))
    assert copied == admitted
    assert all((ROOT / name).exists() for name in copied)


def test_the_image_asks_for_the_packages_that_the_project_does() -> None:
    pyproject, dockerfile = text("pyproject.toml"), text("Dockerfile")
    for requirement in ("torch>=", "maturin>="):
        (wanted,) = re.findall(rf'"({requirement}[^"]*)"', pyproject)
        assert f'"{wanted}"' in dockerfile
    assert re.findall(r"^USER (.*)$", dockerfile, re.MULTILINE) == ["1000"]
