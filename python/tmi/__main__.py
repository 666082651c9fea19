"""The command ``tmi``: errors as one sentence and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from importlib import import_module

import click

from tmi.errors import TmiError, first_line

USAGE_ERROR = 2
INTERRUPTED = 130


def main() -> None:
    """Run the command line; exit with 2 on bad input, a full disk or too little memory, with 130 on ctrl-C."""
    from tmi.cli import tmi

    debug = "--debug" in sys.argv
    try:
        code = tmi.main(prog_name="tmi", standalone_mode=False) or 0
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except click.ClickException as error:
        error.show()
        code = USAGE_ERROR
    except (TmiError, OSError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _is_out_of_memory(error):
            raise
        if debug:
            traceback.print_exc()
        click.echo(f"Error: {_sentence(error)}", err=True)
        code = USAGE_ERROR
    except ImportError as error:
        problem = _missing(error)
        if debug or problem is None:
            raise
        click.echo(f"Error: {problem}", err=True)
        code = USAGE_ERROR
    except (KeyboardInterrupt, click.Abort):
        click.echo("\nInterrupted. What was finished is kept; the same command goes on from there.", err=True)
        code = INTERRUPTED
    sys.exit(code)


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


if __name__ == "__main__":
    main()
