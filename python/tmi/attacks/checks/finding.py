"""What checks find, and what is refused because of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tmi.errors import TmiError

Severity = Literal["error", "warning", "ok"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        severity: "error" where figures would be wrong or an attack would fail, "warning" where they may be, "ok".
        subject: what was looked at, a word or two.
        message: what was found and what to do about it.
    """

    severity: Severity
    subject: str
    message: str


def require_sound(findings: Sequence[Finding], *, force: bool = False) -> None:
    """Refuse what was found to be wrong.

    Args:
        findings: of the input.
        force: go on all the same.

    Raises:
        TmiError: there is an error among them.
    """
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors and not force:
        first, *others = errors
        more = f" (and {some(len(others), 'further error')})" if others else ""
        raise TmiError(
            f"{first.subject}: {first.message}{more}; `tmi check` says more, --force (force=True) goes on all the same"
        )


def some(number: int, thing: str) -> str:
    """A number of things, as one says it."""
    return f"{number} {thing}{'' if number == 1 else 's'}"
