"""How far long work is: what shows it implements `Progress`."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Where the advance of long work is shown."""

    def begin(self, label: str, total: int, samples: int = 0) -> None:
        """A piece of work of ``total`` steps begins; where it is training, on so many samples."""

    def advance(self, steps: int) -> None:
        """Some steps are done."""

    def trained(self, samples: int) -> None:
        """Some samples were trained on."""

    def end(self) -> None:
        """The piece of work is done."""

    def note(self, message: str) -> None:
        """Something that the user should know."""


class Silent:
    """Shows nothing."""

    def _nothing(self, *_: object, **__: object) -> None:
        pass

    begin = advance = trained = end = note = _nothing


def shown(wanted: Progress | bool | None) -> Progress:
    """What shows the progress: bars on the error stream for True, nothing for False and None."""
    if not isinstance(wanted, bool):
        return wanted or Silent()
    if not wanted:
        return Silent()
    # Where nothing is to be shown, nothing is imported to show it.
    from tmi.system.bars import Bars
    from tmi.system.screen import Screen

    return Bars(Screen(stderr=True))
