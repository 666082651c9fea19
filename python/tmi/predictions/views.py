"""What the adversary sees of a model's answers: everything from raw logits down to the label alone.

A view is a function of a prediction. Of classes its result is again logit-like, the logarithm of the probability that
is seen of each, so that every attack works on every view unchanged; of the tokens of a text it is the log-odds of each,
or one number for the text, as logits of two classes. ``docs/views.md`` says what each one means.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tmi import _core
from tmi.errors import TmiError, did_you_mean
from tmi.predictions import tokens

Kind: TypeAlias = Literal["logits", "probabilities", "top", "top-unnamed", "label", "rounded", "tokens", "loss", "text"]

# The pattern of every view's name, with the letter that stands for its number.
NAMES: dict[str, Kind] = {
    "logits": "logits",
    "probabilities": "probabilities",
    "top-K": "top",
    "top-K-unnamed": "top-unnamed",
    "label": "label",
    "rounded-D": "rounded",
    "tokens": "tokens",
    "loss": "loss",
    "text": "text",
}
# What is seen of models that write, and what of those that tell classes apart.
OF_TOKENS: tuple[Kind, ...] = ("tokens", "top", "loss", "text")
OF_CLASSES: tuple[Kind, ...] = ("logits", "probabilities", "top", "top-unnamed", "label", "rounded")
# A float32 probability has no more decimals than that.
MOST_DECIMALS = 7


@dataclass(frozen=True)
class View:
    """One way to look at predictions.

    Attributes:
        kind: what is seen.
        number: of the classes that ``top`` and ``top-unnamed`` show, of the likeliest tokens in each place that
            ``top`` shows and ``loss`` may be made of, or of the decimals of ``rounded``; else 0.
    """

    kind: Kind = "logits"
    number: int = 0

    @classmethod
    def parse(cls, name: str) -> View:
        """The view of that name, for instance ``top-3``.

        Raises:
            TmiError: there is no such view, or its number is outside its range.
        """
        # ``top-3-unnamed`` is of the pattern ``top-K-unnamed``.
        found = re.fullmatch(r"([a-z]+-)(0|[1-9]\d*)((?:-[a-z]+)?)", name)
        number = int(found[2]) if found else 0
        pattern = f"{found[1]}{'D' if found[1] == 'rounded-' else 'K'}{found[3]}" if found else name
        if pattern not in NAMES:
            raise TmiError(f"there is no view named {name!r}{did_you_mean(pattern, list(NAMES))}")
        kind = NAMES[pattern]
        if pattern != kind and number < 1:
            raise TmiError(f"the view {name!r} has the number {number}, expected at least 1")
        if kind == "rounded" and number > MOST_DECIMALS:
            raise TmiError(f"the view {name!r} has {number} decimals, expected 1 to {MOST_DECIMALS}")
        return cls(kind, number)

    @property
    def name(self) -> str:
        """As on the command line, for instance ``top-3``."""
        pattern = next(pattern for pattern, kind in NAMES.items() if kind == self.kind)
        return re.sub("[KD]", str(self.number), pattern)

    @property
    def description(self) -> str:
        """What the adversary sees of an answer about classes, or of any that no other is like."""
        return self.described("class name")

    def described(self, names: str) -> str:
        """What the adversary sees, as a clause for the report.

        Args:
            names: what likely answers are called by, ``class name`` or ``token``.
        """
        number, plural = self.number, "" if self.number == 1 else "s"
        largest = f"the {number} largest probabilities" if plural else "the largest probability"
        descriptions: dict[Kind, str] = {
            "logits": "the raw logits of all classes",
            "probabilities": "the probabilities of all classes",
            "top": f"{largest}, with the {names}{plural}",
            "top-unnamed": f"{largest}, without the {names}{plural}",
            "label": "the name of the most likely class, nothing else",
            "rounded": f"the probabilities of all classes, rounded to {number} decimal{plural}",
            "tokens": "the log-probability of every token of the text",
            "loss": "the mean log-probability of the text's tokens",
            "text": "how much of the text's second half a model writes that is given the first",
        }
        return descriptions[self.kind]

    def require(self, dtype: np.dtype[Any], classes: int) -> None:
        """Refuse what cannot be shown of such answers.

        Args:
            dtype: of the answers, ``TOKEN`` where they are about the tokens of texts.
            classes: how many there are, of answers about classes.

        Raises:
            TmiError: the view is for answers of another kind, or shows more than ``classes``.
        """
        is_written = dtype == tokens.TOKEN
        if self.kind not in (allowed := OF_TOKENS if is_written else OF_CLASSES):
            what = "the tokens of texts" if is_written else "classes"
            names = [name for name, kind in NAMES.items() if kind in allowed]
            raise TmiError(
                f"there is no view {self.name!r} of answers about {what}, expected one of {', '.join(names)}"
            )
        if is_written:
            return
        if self.kind.startswith("top") and self.number > classes:
            raise TmiError(
                f"the view {self.name!r} shows {self.number} classes, expected at most {classes}, all there are"
            )

    def within(self, dtype: np.dtype[Any], classes: int) -> View:
        """The same view of models that may have fewer classes: it shows all of them rather than too many."""
        is_cut = self.kind.startswith("top") and dtype != tokens.TOKEN
        return View(self.kind, min(self.number, classes)) if is_cut else self

    def shows_log_odds(self, dtype: np.dtype[Any]) -> bool:
        """Whether what is seen of answers are log-odds already, not logits whose scale says nothing."""
        return dtype == tokens.TOKEN and self.kind in ("tokens", "top")

    def width(self, dtype: np.dtype[Any], classes: int) -> int:
        """How many numbers are seen of an answer of so many classes or tokens."""
        return 2 if dtype == tokens.TOKEN and not self.shows_log_odds(dtype) else classes

    def apply(self, logits: NDArray[Any]) -> NDArray[Any]:
        """What is seen of some answers.

        Args:
            logits: float32 or float16 ``[..., classes]``, raw logits; or ``[..., tokens]`` of type ``TOKEN``.

        Returns:
            ``logits`` itself for the view ``logits``; else float32 of the same shape, logarithms of the probabilities
            that are seen. Of tokens float32 ``[..., tokens]``, log-odds, 0 where there is no token; or ``[..., 2]``,
            logits of two classes whose scaled difference is what is seen of the text.

        Raises:
            TmiError: the view is for answers of another kind, or shows more classes than there are.
            ValueError: NaN, or fewer than two classes.
        """
        self.require(logits.dtype, logits.shape[-1])
        if logits.dtype == tokens.TOKEN:
            if self.kind == "text":
                seen = tokens.reproduced(logits)
            else:
                shown = tokens.shown(logits, self.number)
                if self.kind != "loss":
                    return shown
                seen = tokens.least_likely(shown, tokens.tokens_there(logits), (100,))[..., 0]
            return np.stack([seen, np.zeros_like(seen)], axis=-1)
        if self.kind == "logits":
            return logits
        # Those are of tokens alone.
        assert self.kind != "tokens"
        assert self.kind != "loss"
        assert self.kind != "text"
        rows = logits.reshape(-1, logits.shape[-1])
        return _core.apply_view(rows, self.kind, self.number).reshape(logits.shape)


LOGITS, TOKENS = View(), View("tokens")
