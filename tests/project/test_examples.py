"""The notebooks in `examples/`: their cells are run from the first to the last, in a folder where nothing else is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from made.commands import typed

EXAMPLES = Path(__file__).parents[2] / "examples"
NOTEBOOKS = sorted(path.stem for path in EXAMPLES.glob("*.ipynb"))
# Nothing is trained in these.
QUICK = {"saved-predictions"}


def cells(name: str, kind: str) -> list[dict[str, Any]]:
    notebook = json.loads((EXAMPLES / f"{name}.ipynb").read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    return [cell for cell in notebook["cells"] if cell["cell_type"] == kind]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in NOTEBOOKS]
)
def test_a_notebook_runs_from_its_first_cell_to_its_last(name: str, tmp_path: Path) -> None:
    code = "\n".join("".join(cell["source"]) for cell in cells(name, "code"))
    assert typed(code, tmp_path, "python")
    assert list((tmp_path / "runs").glob("*/report.html"))


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_short_and_has_no_outputs(name: str) -> None:
    code = cells(name, "code")
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert 6 <= len(code) + len(cells(name, "markdown")) <= 13
    for cell in code:
        compile("".join(cell["source"]), name, "exec")
