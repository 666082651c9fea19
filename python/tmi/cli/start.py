"""How the command line starts and ends: output that cannot fail, errors as one sentence, an exit code."""

from __future__ import annotations

import io
import os
import sys
import traceback
from importlib import import_module

import click

from tmi.cli import tmi
from tmi.cli.options import Interrupted
from tmi.errors import TmiError, first_line, visible

USAGE_ERROR = 2


def run() -> int:
    """Run the command of ``sys.argv``.

    Returns:
        The exit code: 2 on bad input, a full disk or too little memory.

    Raises:
        KeyboardInterrupt: the user pressed ctrl-C; see `tmi.cli.options.Interrupted`.
    """
    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal cannot show must not end the work that it belongs to.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    debug = "--debug" in sys.argv
    try:
        _require_text([*sys.argv[1:], os.getcwd()])  # noqa: PTH109
        return tmi.main(prog_name="tmi", standalone_mode=False) or 0
    except click.exceptions.Exit as stop:
        return int(stop.exit_code)
    except click.Abort as abort:
        # Click makes one of ctrl-C, and ends the line on which the terminal shows it.
        raise (abort.__cause__ if isinstance(abort.__cause__, KeyboardInterrupt) else Interrupted()) from None
    except click.ClickException as error:
        error.show()
        return USAGE_ERROR
    except (TmiError, OSError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _is_out_of_memory(error):
            raise
        if debug:
            traceback.print_exc()
        click.echo(f"Error: {visible(_sentence(error))}", err=True)
        return USAGE_ERROR
    except ImportError as error:
        problem = _missing(error)
        if debug or problem is None:
            raise
        click.echo(f"Error: {problem}", err=True)
        return USAGE_ERROR


def _require_text(names: list[str]) -> None:
    """Refuse names that no file of a run, all of which are UTF-8, could hold."""
    for name in names:
        if not name.isascii() and name.encode(errors="ignore").decode() != name:
            raise TmiError(f"'{visible(name)}': is not UTF-8 text; rename it, or reach it through a link")


def _missing(error: ImportError) -> str | None:
    """What an installation lacks; None if the error is a mistake in the code, which its traceback tells."""
    try:
        import_module("tmi._core")
    except ImportError as broken:
        return (
            f"the Rust extension tmi._core cannot be loaded: {first_line(broken)}; `tmi doctor` says what else is wrong"
        )
    if not isinstance(error, ModuleNotFoundError) or error.name is None or error.name.startswith("tmi"):
        return None
    package = error.name.partition(".")[0]
    return f"the package {package!r}, which this needs, is not installed; `pip install tmi-audit` installs all"


def _is_out_of_memory(error: RuntimeError) -> bool:
    # torch has an error of its own for devices and none for the processor's memory, and says so in words alone.
    return any(words in str(error) for words in ("out of memory", "can't allocate memory"))


def _sentence(error: Exception) -> str:
    if isinstance(error, MemoryError | RuntimeError):
        return (
            f"the memory is not enough: {first_line(error)}; fewer workers (--workers) and less working memory "
            "(--memory) take less, and `tmi doctor` says how much there is"
        )
    if isinstance(error, OSError) and error.strerror:
        return f"{os.fspath(error.filename)}: {error.strerror}" if error.filename else error.strerror
    return str(error)
