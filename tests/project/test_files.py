"""What the files beside the code say about the code is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import tmi
from tmi.attacks.registry import Attack
from tmi.data.sources import SOURCES
from tmi.predictions.formats import LAYOUTS
from tmi.predictions.views import NAMES

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


def test_modules_of_the_architecture_exist() -> None:
    table = text("CONTRIBUTING.md").partition("| layer |")[2].partition("\n\n")[0]
    named = set(re.findall(r"`([a-z_]+)`", table))
    assert {"attacks", "rundir", "pipeline", "doctor"} <= named
    missing = {name for name in named if not ((PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file())}
    assert missing == set()


def test_targets_of_make_that_are_named_exist() -> None:
    known = set(re.findall(r"^([a-z-]+):", text("Makefile"), re.MULTILINE))
    assert set(re.findall(r"^make (\w+)", text("CONTRIBUTING.md"), re.MULTILINE)) <= known


def test_the_places_to_extend_are_there() -> None:
    assert SOURCES
    assert LAYOUTS
    assert NAMES
    assert {"point_by_point", "needs", "upper_bound"} <= set(Attack.__annotations__)


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
