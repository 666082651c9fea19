"""Progress bars on a terminal; anywhere else a line per finished piece of work, and one a minute meanwhile."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

# As long as the longest labels of a run of the usual attacks, so that the times stand below one another; a narrow
# terminal has less room for them, and needs what is left for the speed and the time left.
LABEL_WIDTH = 36
NARROW, NARROW_LABEL_WIDTH, NARROW_BAR_WIDTH = 110, 26, 10
SECONDS_BETWEEN_LINES = 60.0


class Bars:
    """Shows each piece of work as a bar while it goes on and as a line when it is done."""

    def __init__(self, console: Console, seconds_between_lines: float = SECONDS_BETWEEN_LINES) -> None:
        self._console = console
        is_narrow = console.is_terminal and console.width < NARROW
        self._label_width = NARROW_LABEL_WIDTH if is_narrow else LABEL_WIDTH
        self._bar_width = NARROW_BAR_WIDTH if is_narrow else None
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
                # Nothing but the bar may be left out where there is no room: a label is cut before.
                TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
                BarColumn(bar_width=self._bar_width or 30),
                TextColumn("{task.fields[state]}", markup=False, table_column=Column(no_wrap=True)),
                TimeRemainingColumn(compact=True),
                TextColumn("left"),
                console=self._console,
                transient=True,
            )
            self._bars.add_task(self._shown, total=samples or total, state=self._state())
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
        self._line(f"{outcome:>12}")

    def note(self, message: str) -> None:
        """Something that the user should know."""
        wraps = self._console.is_terminal
        self._console.print(message, style="yellow", highlight=False, markup=False, soft_wrap=not wraps)

    def _show(self, advanced: int) -> None:
        if self._bars is not None:
            self._bars.update(self._bars.task_ids[0], advance=advanced, state=self._state())
        elif time.monotonic() - self._last_line > self._between and self._done < self._total:
            self._last_line = time.monotonic()
            done, total = (self._samples, self._all_samples) if self._all_samples else (self._done, self._total)
            left = (self._last_line - self._started) * (total - done) / done if done else None
            ending = "" if left is None else f", {left:.0f} s left" if left < 90 else f", {left / 60:.0f} min left"
            self._line(f"{self._state()}{ending}")

    @property
    def _shown(self) -> str:
        """The label, as wide as all are; one that is too long loses its middle, for its end tells it from others."""
        width = self._label_width
        if self._console.is_terminal and len(self._label) > width:
            return f"{self._label[: width // 2 - 1]}…{self._label[-(width - width // 2) :]}"
        return f"{self._label:<{width}}"

    def _line(self, outcome: str) -> None:
        # A log file has no width at which a line would have to be broken.
        self._console.print(f"{self._shown} {outcome}", style="dim", highlight=False, markup=False, soft_wrap=True)

    def _state(self) -> str:
        """For instance ``12/64 models, 8,200 samples/s``; shorter where there is little room."""
        if not self._all_samples:
            return f"{self._done}/{self._total}"
        rate = self._samples / max(time.monotonic() - self._started, 1e-9)
        if self._bar_width is not None:
            return f"{self._done}/{self._total}, {rate:,.0f}/s"
        return f"{self._done}/{self._total} models, {rate:,.0f} samples/s"
