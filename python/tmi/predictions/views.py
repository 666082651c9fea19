"""What the adversary sees of a model's answers: everything from raw logits down to the label alone.

A view is a function of a prediction. Its result is again logit-like, the logarithm of the probability that is seen of
every class, so that every attack works on every view unchanged. ``docs/views.md`` says what each one means.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from numpy.typing import NDArray

from tmi import _core
from tmi.errors import TmiError, did_you_mean

Kind: TypeAlias = Literal["logits", "probabilities", "top", "top-unnamed", "label", "rounded"]

# The pattern of every view's name, with the letter that stands for its number.
NAMES: dict[str, Kind] = {
    "logits": "logits",
    "probabilities": "probabilities",
    "top-K": "top",
    "top-K-unnamed": "top-unnamed",
    "label": "label",
    "rounded-D": "rounded",
}
# A float32 probability has no more decimals than that.
MOST_DECIMALS = 7


@dataclass(frozen=True)
class View:
    """One way to look at predictions.

    Attributes:
        kind: what is seen.
        number: of the classes that ``top`` and ``top-unnamed`` show, or of the decimals of ``rounded``; else 0.
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
        """What the adversary sees, as a clause for the report."""
        number, plural = self.number, "" if self.number == 1 else "s"
        largest = f"the {number} largest probabilities" if plural else "the largest probability"
        descriptions: dict[Kind, str] = {
            "logits": "the raw logits of all classes",
            "probabilities": "the probabilities of all classes",
            "top": f"{largest}, with the class name{plural}",
            "top-unnamed": f"{largest}, without the class name{plural}",
            "label": "the name of the most likely class, nothing else",
            "rounded": f"the probabilities of all classes, rounded to {number} decimal{plural}",
        }
        return descriptions[self.kind]

    def require_classes(self, classes: int) -> None:
        """Refuse to show more classes than there are.

        Raises:
            TmiError: the view shows more than ``classes``.
        """
        if self.kind.startswith("top") and self.number > classes:
            raise TmiError(
                f"the view {self.name!r} shows {self.number} classes, expected at most {classes}, all there are"
            )

    def within(self, classes: int) -> View:
        """The same view of models that may have fewer classes: it shows all of them rather than too many."""
        return View(self.kind, min(self.number, classes)) if self.kind.startswith("top") else self

    def apply(self, logits: NDArray[Any]) -> NDArray[Any]:
        """What is seen of some answers.

        Args:
            logits: float32 or float16 ``[..., classes]``, raw logits.

        Returns:
            ``logits`` itself for the view ``logits``; else float32 of the same shape, logarithms of the probabilities
            that are seen.

        Raises:
            TmiError: the view shows more classes than there are.
            ValueError: NaN, or fewer than two classes.
        """
        if self.kind == "logits":
            return logits
        self.require_classes(logits.shape[-1])
        rows = logits.reshape(-1, logits.shape[-1])
        return _core.apply_view(rows, self.kind, self.number).reshape(logits.shape)


LOGITS = View()
