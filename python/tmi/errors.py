"""The one exception that a user is meant to read, and the wording that its sentences share."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

# Characters that a terminal or browser obeys instead of showing them: control characters but for line breaks and tabs,
# those that reverse the order of what follows, and halves of characters, which nothing can encode.
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# Longer messages of other libraries are dumps of what they worked on.
MOST_OF_A_MESSAGE = 200
# Of names that are listed: their characters, and how many. There are fewer attacks, presets and classes of CIFAR.
LONGEST_NAME, MOST_NAMES = 60, 100


class TmiError(Exception):
    """A mistake in the input or the environment, told in one sentence.

    The sentence names the file, key or array, what was found and what was expected. The command line prints it
    without a traceback and exits with code 2.
    """


def did_you_mean(name: str, known: Iterable[str], *, brief: bool = False) -> str:
    """`` (did you mean 'digits'? known: ...)`` for an error message; ``brief``: no more than the nearest name."""
    known = list(known)
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if brief and nearest:
        return f" (did you mean {nearest[0]!r}?)"
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    return f" ({hint}known: {listed(known)})"


def listed(names: Iterable[str]) -> str:
    """Names of unknown origin with commas between: cut, not all of many, and as Python writes what has line breaks."""
    shown = [name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}…" for name in names]
    some = ", ".join(name if name.isprintable() else repr(name) for name in shown[:MOST_NAMES])
    return some if len(shown) <= MOST_NAMES else f"{some} and {len(shown) - MOST_NAMES} more"


def first_line(error: BaseException) -> str:
    """``ValueError: what it says``, without what another library's error adds in further lines."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:MOST_OF_A_MESSAGE].rstrip('.')}" if lines else type(error).__name__


def visible(text: str) -> str:
    r"""A text of unknown origin as it may be shown: what steers a terminal or browser as ``\x1b`` or ``\u202e``."""
    return STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
