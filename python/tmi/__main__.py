"""The command ``tmi``: ctrl-C, from the first moment on, and an exit code."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

INTERRUPTED = 130
SHOW_CURSOR = b"\x1b[?25h"


def main() -> None:
    """Run the command line; exit with 2 on bad input, a full disk or too little memory, with 130 on ctrl-C."""
    # Everything else is imported below: importing takes longer than it takes to press ctrl-C.
    try:
        before = signal.signal(signal.SIGINT, _interrupt)
    except ValueError:  # not in the main thread, which alone is interrupted
        before = None
    try:
        from tmi.cli.start import run

        code = run()
    except KeyboardInterrupt as interrupt:
        # What is still to be tidied up is not to be disturbed.
        if before is not None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        kept = " What was finished is kept; the same command goes on from there." if interrupt.args else ""
        print(f"Interrupted.{kept}", file=sys.stderr)
        code = INTERRUPTED
    else:
        if before is not None:
            signal.signal(signal.SIGINT, before)
    sys.exit(code)


def _interrupt(_: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt, but not inside an import: Python loses it there, or a library fails in another way."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            # Workers end when this process does, and files are whole at any moment.
            os.write(2, (SHOW_CURSOR if os.isatty(2) else b"") + b"\nInterrupted.\n")
            os._exit(INTERRUPTED)
        frame = frame.f_back
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
