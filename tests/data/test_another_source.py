"""A data source of another distribution."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from made.plugins import install
from tmi.config import SourceConfig, load_config
from tmi.data.sources import load_points
from tmi.errors import TmiError

COUNTED = """
from pathlib import Path
import numpy as np
from tmi.data.arrays import unlabelled

READS_FILES = True

def load(name, split=None):
    words = Path(name).read_text().split()
    return unlabelled(np.array(words[:1] if split == "first" else words, dtype=object), "text")
"""


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of three words, and a source that makes a point of each."""
    monkeypatch.delitem(sys.modules, "counted", raising=False)
    install(tmp_path / "site", monkeypatch, "counted-words", "[tmi.sources]\nwords = counted\n", counted=COUNTED)
    (tmp_path / "three.txt").write_text("one two three")
    return tmp_path


def test_a_source_of_another_distribution_is_one_file(words: Path) -> None:
    assert load_points(f"words:{words / 'three.txt'}").raw.tolist() == ["one", "two", "three"]
    first = load_points(SourceConfig(source=f"words:{words / 'three.txt'}", split="first"))
    assert first.raw.tolist() == ["one"]
    with pytest.raises(TmiError, match="words has no labels, only split"):
        load_points(SourceConfig(source="words:there", labels="fine"))
    with pytest.raises(TmiError, match=r"unknown kind 'word' \(did you mean 'words'\?"):
        load_points("word:there")


def test_its_path_is_relative_to_the_configuration(words: Path) -> None:
    config = load_config("digits", {}, data=words)
    assert config.pool.source == "sklearn:digits"
    path = words / "own.toml"
    path.write_text(config.to_toml().replace('"sklearn:digits"', '"words:three.txt"'))
    assert load_config(str(path)).pool.source == f"words:{words / 'three.txt'}"


@pytest.mark.parametrize(
    ("entry", "code", "problem"),
    [
        ("words = counted", "import absent_library", r"\(counted\) cannot be loaded: ModuleNotFoundError: No module"),
        ("words = counted", COUNTED.replace("load(", "read("), "expected a module with a function 'load'"),
        ("words = counted:load", COUNTED, "is a function, expected a module with a function 'load'"),
    ],
)
def test_a_broken_one_harms_only_those_who_ask_for_it(
    entry: str, code: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "counted", raising=False)
    install(tmp_path, monkeypatch, "counted-words", f"[tmi.sources]\n{entry}\n", counted=code)
    assert len(load_points("sklearn:digits")) == 1797
    with pytest.raises(TmiError, match=r"^the entry point 'words' of tmi\.sources in .* counted-words .*" + problem):
        load_points("words:there")


def test_points_are_expected_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "def load(name):\n    return [name]\n"
    install(tmp_path, monkeypatch, "lists", "[tmi.sources]\nlists = lists_of_mine\n", lists_of_mine=code)
    with pytest.raises(TmiError, match=r"lists loads a list, expected tmi\.data\.points\.Points"):
        load_points("lists:there")
