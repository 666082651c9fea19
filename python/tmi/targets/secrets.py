"""Secrets of the environment: filled into what is sent, and taken out of what is shown."""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

from tmi.config.target import INPUTS, PLACEHOLDER
from tmi.errors import TmiError

HIDDEN = "(hidden)"
MOST_OF_A_MESSAGE = 200


class Secrets:
    """The environment variables that some templates name.

    Args:
        templates: texts with ``${NAME}``.

    Raises:
        TmiError: a variable is not set, is empty, or cannot be sent.
    """

    def __init__(self, templates: Iterable[str]) -> None:
        names = {name for template in templates for name in PLACEHOLDER.findall(template)} - set(INPUTS)
        self._values = {name: os.environ.get(name, "") for name in sorted(names)}
        for name, value in self._values.items():
            if not value:
                raise TmiError(f"the environment variable {name}, which target names, is not set")
            if not (value.isascii() and value.isprintable()):
                raise TmiError(f"the environment variable {name} has a line break or a character that cannot be sent")
        slashes = (lambda value: quote(value, safe=""), lambda value: in_json(value).replace("/", "\\/"))
        ways = (str, str.strip, quote, quote_plus, in_json, html.escape, *slashes)
        written = {way(value) for value in self._values.values() for way in ways} - {""}
        # The longest first: one secret may be part of another.
        self._hidden = re.compile("|".join(map(re.escape, sorted(written, key=len, reverse=True))), re.IGNORECASE)
        self._any = bool(written)

    def fill(self, template: str, write: Callable[[str], str] = str, given: Mapping[str, str] | None = None) -> str:
        """The template with its variables, each as ``write`` puts it, and with ``given``, which is put as it is.

        Both are filled in at once: a point that contains ``${NAME}`` is sent as it is.
        """
        given = given or {}
        return PLACEHOLDER.sub(lambda found: given.get(found[1]) or write(self._values[found[1]]), template)

    def hide(self, text: str) -> str:
        """A text without any of the secrets."""
        return self._hidden.sub(HIDDEN, text) if self._any else text

    def show(self, value: Any) -> str:
        """The beginning of a text or of a value of JSON, on one line, without any of the secrets.

        They are taken out before it is cut, so that no piece of one is left at the end.
        """
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        return " ".join("".join(c if c.isprintable() else " " for c in self.hide(text)).split())[:MOST_OF_A_MESSAGE]


def in_json(value: str) -> str:
    """A text as it is written between the quotes of a JSON string."""
    return json.dumps(value)[1:-1]
