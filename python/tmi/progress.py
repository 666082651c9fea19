"""Progress bars on a terminal, one line per finished piece of work anywhere else."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

# As long as the longest labels of a run of the usual attacks, so that the times stand below one another.
LABEL_WIDTH = 36


class Bars:
    """Shows each piece of work as a bar while it goes on and as a line when it is done."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars: Progress | None = None
        self._label = ""
        self._total = 0
        self._done = 0
        self._started = 0.0

    def begin(self, label: str, total: int) -> None:
        """A piece of work of ``total`` steps begins."""
        self._label, self._total, self._done, self._started = label, total, 0, time.monotonic()
        if total and self._console.is_terminal:
            self._bars = Progress(
                TextColumn(f"{{task.description:<{LABEL_WIDTH}}}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._bars.add_task(label, total=total)
            self._bars.start()

    def advance(self, steps: int) -> None:
        """Some steps are done."""
        self._done += steps
        if self._bars is not None:
            self._bars.advance(self._bars.task_ids[0], steps)

    def end(self) -> None:
        """The piece of work is done, or has failed."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
        if self._done < self._total:
            return
        outcome = f"{time.monotonic() - self._started:6.1f} s" if self._total else "already done"
        self._console.print(f"{self._label:<{LABEL_WIDTH}} {outcome:>12}", style="dim", highlight=False)

    def note(self, message: str) -> None:
        """Something that the user should know."""
        self._console.print(message, style="yellow", highlight=False, markup=False)
