"""The one exception that a user is meant to read."""

from __future__ import annotations

import difflib


class TmiError(Exception):
    """A mistake in the input or the environment, told in one sentence.

    The sentence names the file, key or array, what was found and what was expected. The command line prints it
    without a traceback and exits with code 2.
    """


def did_you_mean(name: str, known: list[str]) -> str:
    """`` (did you mean 'digits'? known: ...)`` for an error message."""
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    return f" ({hint}known: {', '.join(known)})"
