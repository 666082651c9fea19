"""The command ``tmi``: errors as one sentence and an exit code."""

from __future__ import annotations

import os
import sys
import traceback

import click

from tmi.errors import TmiError

USAGE_ERROR = 2
INTERRUPTED = 130


def main() -> None:
    """Run the command line; exit with 2 on bad input or a full disk, with 130 on ctrl-C."""
    from tmi.cli import tmi

    debug = "--debug" in sys.argv
    try:
        code = tmi.main(prog_name="tmi", standalone_mode=False) or 0
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except click.ClickException as error:
        error.show()
        code = USAGE_ERROR
    except (TmiError, OSError) as error:
        if debug:
            traceback.print_exc()
        click.echo(f"Error: {_sentence(error)}", err=True)
        code = USAGE_ERROR
    except ModuleNotFoundError as error:
        # A light installation has no torch; whatever else is missing is a mistake that its traceback tells.
        if debug or error.name is None or error.name.startswith("tmi"):
            raise
        package = error.name.partition(".")[0]
        click.echo(
            f"Error: the package {package!r}, which this needs, is not installed; `pip install tmi-audit` installs all",
            err=True,
        )
        code = USAGE_ERROR
    except (KeyboardInterrupt, click.Abort):
        click.echo("\nInterrupted. What was finished is kept; the same command goes on from there.", err=True)
        code = INTERRUPTED
    sys.exit(code)


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{os.fspath(error.filename)}: {error.strerror}" if error.filename else error.strerror
    return str(error)


if __name__ == "__main__":
    main()
