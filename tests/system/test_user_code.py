from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tmi.errors import TmiError
from tmi.system import user_code
from tmi.system.user_code import call_named, function_named, look_in

MINE = """
import json

def below(text):
    return json.loads(text)

def fails(text):
    return below(text)

def found():
    return __file__
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the user's modules, and another one, in which nothing is, to work in."""
    monkeypatch.setattr(user_code, "_folders", [])
    (tmp_path / "code").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "code" / "mine_in_a_folder.py").write_text(MINE)
    (tmp_path / "code" / "broken_in_a_folder.py").write_text("import os\n\nos.no_such_thing\n")
    (tmp_path / "code" / "half_in_a_folder.py").write_text("def f(:\n")
    monkeypatch.chdir(tmp_path / "elsewhere")
    for name in ("mine_in_a_folder", "broken_in_a_folder"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path / "code"


def test_modules_in_a_folder_are_found_and_the_path_stays_as_it_was(folder: Path) -> None:
    with pytest.raises(TmiError, match=re.escape(f"cannot be imported from {Path.cwd()} or the installed packages")):
        function_named("mine_in_a_folder.found", "here")
    before = list(sys.path)
    look_in(str(folder))
    assert call_named("mine_in_a_folder.found", "here") == str(folder / "mine_in_a_folder.py")
    assert sys.path == before


def test_the_innermost_line_of_the_user_is_named_not_that_of_a_library(folder: Path) -> None:
    look_in(str(folder))
    where = re.escape(f"({folder / 'mine_in_a_folder.py'}, line 5)")
    with pytest.raises(TmiError, match=f"here: the function raised JSONDecodeError: .* {where}$"):
        call_named("mine_in_a_folder.fails", "here", text="{")


def test_the_line_is_named_on_which_a_module_fails(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(TmiError, match=r"AttributeError: .*no_such_thing.* \(broken_in_a_folder\.py, line 3\)$"):
        function_named("broken_in_a_folder.f", "here")
    with pytest.raises(TmiError, match=r"SyntaxError: .*half_in_a_folder\.py, line 1\)$"):
        function_named("half_in_a_folder.f", "here")
