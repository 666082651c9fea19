"""Texts are printed as they are, whatever is in them."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from tmi.errors import visible
from tmi.system.bars import Bars
from tmi.system.screen import Screen

STEERING = "\x1b[31m \u202egnp.exe \x9b2J \udcff \u2066"
SHOWN = "\\x1b[31m \\u202egnp.exe \\x9b2J \\udcff \\u2066"


def printed(*things: object, terminal: bool = False) -> str:
    output = io.StringIO()
    screen = Screen(file=output, width=200, force_terminal=terminal, legacy_windows=False)
    for thing in things:
        screen.print(thing)
    return output.getvalue()


@pytest.mark.parametrize("text", ["e/[/foo]", "[bold]name[/]", "[link=x]", "[[", STEERING])
def test_no_text_is_markup_or_steers(text: str) -> None:
    table = Table(title=Text(text))
    table.add_row(text, Text(text))
    found = printed(text, Text(text), table)
    assert found.count(text) == 5 if text != STEERING else found.count(SHOWN) >= 2
    assert visible(found) == found


def test_styles_are_those_of_texts() -> None:
    assert "\x1b[32m" in printed(Text("well", "green"), terminal=True)


@pytest.mark.parametrize("terminal", [False, True])
def test_bars_of_work_with_any_name(terminal: bool) -> None:
    output = io.StringIO()
    bars = Bars(Screen(file=output, width=200, force_terminal=terminal, legacy_windows=False))
    bars.begin("[/foo] [bold]x", 2)
    bars.note("[/foo]")
    bars.advance(2)
    bars.end()
    assert "[/foo] [bold]x" in output.getvalue()


@given(st.text())
def test_what_is_visible_can_be_encoded_and_stays(text: str) -> None:
    shown = visible(text)
    assert shown.encode().decode() == shown
    assert visible(shown) == shown
    if text.isprintable():
        assert shown == text
