"""Progress bars on a terminal; anywhere else a line per finished piece of work, and one a minute meanwhile."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

# As long as the longest labels of a run of the usual attacks, so that the times stand below one another.
LABEL_WIDTH = 36
SECONDS_BETWEEN_LINES = 60.0


class Bars:
    """Shows each piece of work as a bar while it goes on and as a line when it is done."""

    def __init__(self, console: Console, seconds_between_lines: float = SECONDS_BETWEEN_LINES) -> None:
        self._console = console
        self._between = seconds_between_lines
        self._bars: Progress | None = None
        self._label = ""
        self._total = self._done = 0
        self._all_samples = self._samples = 0
        self._started = self._last_line = 0.0

    def begin(self, label: str, total: int, samples: int = 0) -> None:
        """A piece of work of ``total`` steps begins; where it is training, on so many samples."""
        self._label, self._total, self._done = label, total, 0
        self._all_samples, self._samples = samples, 0
        self._started = self._last_line = time.monotonic()
        if total and self._console.is_terminal:
            self._bars = Progress(
                TextColumn(f"{{task.description:<{LABEL_WIDTH}}}"),
                BarColumn(),
                TextColumn("{task.fields[state]}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._bars.add_task(label, total=samples or total, state=self._state())
            self._bars.start()

    def advance(self, steps: int) -> None:
        """Some steps are done."""
        self._done += steps
        self._show(0 if self._all_samples else steps)

    def trained(self, samples: int) -> None:
        """Some samples were trained on."""
        self._samples += samples
        self._show(samples)

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

    def _show(self, advanced: int) -> None:
        if self._bars is not None:
            self._bars.update(self._bars.task_ids[0], advance=advanced, state=self._state())
        elif time.monotonic() - self._last_line > self._between and self._done < self._total:
            self._last_line = time.monotonic()
            done, total = (self._samples, self._all_samples) if self._all_samples else (self._done, self._total)
            left = (self._last_line - self._started) * (total - done) / done if done else None
            ending = f", {left / 60:.0f} min left" if left is not None else ""
            self._console.print(f"{self._label:<{LABEL_WIDTH}} {self._state()}{ending}", style="dim", highlight=False)

    def _state(self) -> str:
        """For instance ``12/64 models, 8,200 samples/s``."""
        if not self._all_samples:
            return f"{self._done}/{self._total}"
        rate = self._samples / max(time.monotonic() - self._started, 1e-9)
        return f"{self._done}/{self._total} models, {rate:,.0f} samples/s"
