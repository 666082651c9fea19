"""The command line as a user calls it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from made.configs import TINY
from tmi.__main__ import main

SETTINGS = [part for key, value in TINY.items() for part in ("--set", f"{key}={json.dumps(value)}")]


def tmi(*arguments: str | Path, cwd: Path | None = None, code: int = 0) -> str:
    """Run the command's entry point, which spares the seconds of importing torch, and return what it printed."""
    printed = io.StringIO()
    handler = signal.getsignal(signal.SIGINT)
    with (
        mock.patch.object(sys, "argv", ["tmi", *map(str, arguments)]),
        mock.patch.dict(os.environ, COLUMNS="100"),
        working_in(cwd or Path.cwd()),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
        pytest.raises(SystemExit) as end,
    ):
        main()
    signal.signal(signal.SIGINT, handler)
    output = printed.getvalue()
    assert end.value.code == code, output
    assert "Traceback" not in output
    return output


@contextlib.contextmanager
def working_in(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def leave_undrawn(patch: pytest.MonkeyPatch) -> None:
    """Figures of reports are composed but not drawn, which takes two thirds of a tiny run."""
    patch.setattr("tmi.report.document.png_bytes", lambda figure: b"undrawn")
    patch.setattr("tmi.report.document.svg_text", lambda figure: "<svg><title>undrawn</title></svg>")


def tiny_attack(out: Path, *arguments: str, code: int = 0) -> str:
    return tmi("attack", "digits", "--out", out, *SETTINGS, *arguments, code=code)


def typed(code: str, folder: Path, language: str = "sh") -> str:
    """What code of the documentation prints when it is typed in a folder, with the command of this environment."""
    command = ["bash", "-ec", code] if language == "sh" else [sys.executable, "-c", code]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    ended = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env=os.environ | {"PATH": path}, check=False
    )
    assert ended.returncode == 0, f"{code}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout


def refused(*arguments: str | Path) -> str:
    """The one sentence that the command prints when it refuses."""
    output = tmi(*arguments, code=2)
    assert "Error: " in output
    return output.partition("Error: ")[2]


def scores_of(out: Path) -> dict[str, bytes]:
    folder = out / "scores"
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.npy"))}
