"""Every tutorial followed word by word: its Python is run, its configuration is `mine.toml`, its commands are typed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from made.commands import typed

TUTORIALS = Path(__file__).parents[2] / "docs" / "tutorials"
CODE_BLOCK = re.compile(r"^```(python|toml|sh)\n(.*?)^```", re.DOTALL | re.MULTILINE)

# The one about a GPU needs one.
FOLLOWED = ["first-audit", "images", "texts", "writing", "endpoint-of-a-generator", "without-shadow-models", "cluster"]


def follow(tutorial: str, folder: Path) -> None:
    text = (TUTORIALS / f"{tutorial}.md").read_text(encoding="utf-8")
    blocks = CODE_BLOCK.findall(text)
    assert blocks
    for kind, code in blocks:
        if kind == "toml":
            (folder / "mine.toml").write_text(code, encoding="utf-8")
            continue
        typed(code, folder, kind)


@pytest.mark.slow
@pytest.mark.parametrize("tutorial", FOLLOWED)
def test_following_a_tutorial_works(tutorial: str, tmp_path: Path) -> None:
    if tutorial == "cluster":
        pytest.importorskip("ray", reason="needs Ray")
    follow(tutorial, tmp_path)
    assert list((tmp_path / "runs").glob("*/report.html"))


def test_every_tutorial_is_followed() -> None:
    assert {path.stem for path in TUTORIALS.glob("*.md")} == {*FOLLOWED, "gpu"}
