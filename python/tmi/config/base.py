"""What all tables of a configuration have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

Entry = TypeVar("Entry", str, int)


class Table(BaseModel):
    """A TOML table: unknown keys are errors, numbers are finite and no strings, nothing changes afterwards."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class ContradictionsError(ValueError):
    """Values that are good by themselves and do not fit together.

    Attributes:
        found: the dotted keys of each, and a sentence about it.
    """

    def __init__(self, found: Sequence[tuple[tuple[str, ...], str]]) -> None:
        super().__init__("; ".join(sentence for _, sentence in found))
        self.found = found


def without_repetition(entries: list[Entry]) -> list[Entry]:
    """The entries, which must differ."""
    for index, entry in enumerate(entries):
        if entry in entries[:index]:
            raise ValueError(f"{entry!r} is given twice")
    return entries
