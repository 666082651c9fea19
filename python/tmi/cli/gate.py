"""A gate for releases: `--fail-if "tpr@1% > 5%"` makes a command that has measured end with exit code 3."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from tmi.errors import TmiError

if TYPE_CHECKING:
    from tmi.metrics.estimate import Estimate

Command = TypeVar("Command", bound=Callable[..., Any])
End = Literal["upper", "lower"]

FAILED = 3
EXAMPLES = "expected for instance 'tpr@1% > 5%', 'auc > 0.55' or 'epsilon > 2'"
_NUMBER = r"(\d+(?:\.\d*)?|\.\d+)(%?)"
EXPRESSION = re.compile(rf"\s*(auc|epsilon|tpr\s*@\s*{_NUMBER})\s*(>=?)\s*{_NUMBER}\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Condition:
    """What must not be.

    Attributes:
        text: as it was written.
        figure: ``auc``, ``tpr`` or ``epsilon``.
        rate: the false positive rate of a true positive rate, as in the keys of results; empty for others.
        limit: above which it holds.
        reached: whether it also holds at the limit.
    """

    text: str
    figure: str
    rate: str
    limit: float
    reached: bool

    def holds(self, value: float) -> bool:
        """Whether a figure is too high."""
        return value >= self.limit if self.reached else value > self.limit


@dataclass(frozen=True)
class Judged:
    """A condition and what was measured.

    Attributes:
        condition: as it was written.
        end: which end of the interval was looked at.
        estimate: the figure; for epsilon its lower bound, which has no interval.
        low: of its interval.
        high: of its interval.
        failed: whether the gate is closed.
        because: why, a clause.
    """

    condition: str
    end: End
    estimate: float
    low: float | None
    high: float | None
    failed: bool
    because: str


def _parsed(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> tuple[Condition, ...]:
    return tuple(condition_of(text) for text in texts)


def condition_of(text: str) -> Condition:
    """What an expression says.

    Raises:
        click.BadParameter: it is none, or a number is outside its range.
    """
    found = EXPRESSION.fullmatch(text)
    if found is None:
        raise click.BadParameter(f"{text!r} is no condition on a figure; {EXAMPLES}")
    name, rate, rate_percent, operator, number, percent = found.groups()
    figure = name.lower() if rate is None else "tpr"
    limit = float(number) / (100 if percent else 1)
    if figure == "epsilon" and percent:
        raise click.BadParameter(f"{text!r}: epsilon is no share; {EXAMPLES}")
    if figure != "epsilon" and limit > 1:
        raise click.BadParameter(f"{text!r}: {number} is no share between 0 and 1; is {number}% meant?")
    key = ""
    if rate is not None:
        share = float(rate) / (100 if rate_percent else 1)
        if not 0 < share < 1:
            raise click.BadParameter(f"{text!r}: {rate} is no false positive rate between 0 and 1; {EXAMPLES}")
        key = f"{share:g}"
    return Condition(text.strip(), figure, key, limit, operator == ">=")


@dataclass(frozen=True)
class Gate:
    """All conditions of a command, of which none may hold.

    Attributes:
        conditions: in the order in which they were written.
        end: which end of a figure's interval is compared with the limit.
    """

    conditions: tuple[Condition, ...] = ()
    end: End = "upper"

    def require(self, rates: Sequence[float], *, has_epsilon: bool = True, how: str) -> None:
        """Refuse conditions that could not be judged, before any work.

        Args:
            rates: the false positive rates at which true positive rates are measured.
            has_epsilon: whether a bound on epsilon is measured.
            how: what measures at another rate.

        Raises:
            TmiError: there is no such figure.
        """
        known = [f"{rate:g}" for rate in rates]
        for condition in self.conditions:
            if condition.rate and condition.rate not in known:
                there = ", ".join(f"{100 * float(rate):g}%" for rate in known)
                raise TmiError(f"--fail-if {condition.text!r}: true positive rates are measured at {there}; {how}")
            if condition.figure == "epsilon" and not has_epsilon:
                raise TmiError(f"--fail-if {condition.text!r}: no bound on epsilon is measured here")

    def judged(self, auc: Estimate, tpr_at_fpr: Mapping[str, Estimate], epsilon: float | None = None) -> list[Judged]:
        """All conditions on what was measured.

        A gate that looks at upper ends lets nothing pass that was not measured.
        """
        judged = []
        for condition in self.conditions:
            if condition.figure == "epsilon":
                value = math.nan if epsilon is None else epsilon
                failed = condition.holds(value)
                because = f"epsilon is at least {value:.3g}, a lower bound, which has no upper end"
                judged.append(Judged(condition.text, self.end, value, None, None, failed, because))
                continue
            found = tpr_at_fpr[condition.rate] if condition.rate else auc
            at_end = found.high if self.end == "upper" else found.low
            if found.resolvable:
                failed = condition.holds(at_end)
                because = f"it is {found.estimate:.3f} [{found.low:.3f}, {found.high:.3f}], by the {self.end} end"
            else:
                failed = self.end == "upper"
                because = "there are too few non-members to tell it at this rate"
            judged.append(Judged(condition.text, self.end, found.estimate, found.low, found.high, failed, because))
        return judged

    def end_with(self, judged: Sequence[Judged], document: dict[str, Any] | None) -> None:
        """Say how it went, a sentence each on the error stream, and if asked for in one line of JSON.

        Args:
            judged: see `judged`.
            document: what the line says besides the gate; None for no line.

        Raises:
            click.exceptions.Exit: a condition holds.
        """
        for each in judged:
            verdict = click.style("FAILED", fg="red") if each.failed else click.style("passed", fg="green")
            click.echo(f"Gate: {verdict}: {each.condition}: {each.because}", err=True)
        failed = any(each.failed for each in judged)
        if document is not None:
            line = document | {"gate": [asdict(each) for each in judged], "passed": not failed}
            click.echo(json.dumps(line, allow_nan=False, ensure_ascii=False))
        if failed:
            raise click.exceptions.Exit(FAILED)


def gate_options(command: Command) -> Command:
    """The options of a gate, which a command gets as the argument ``gate``."""

    @click.option(
        "--fail-if",
        "conditions",
        multiple=True,
        metavar="CONDITION",
        callback=_parsed,
        help="End with exit code 3 if this holds of the headline attack: 'tpr@1% > 5%', 'auc > 0.55', 'epsilon > 2'. "
        "Repeatable: one is enough.",
    )
    @click.option(
        "--fail-end",
        "end",
        type=click.Choice(["upper", "lower"]),
        default="upper",
        show_default=True,
        help="End of the interval that --fail-if compares: upper passes only what is shown to be below the limit, "
        "lower fails only what is shown to be above.",
    )
    @wraps(command)
    def wrapped(*args: Any, conditions: tuple[Condition, ...], end: End, **kwargs: Any) -> Any:
        return command(*args, gate=Gate(conditions, end), **kwargs)

    return wrapped  # type: ignore[return-value]


JSON_LINE = click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print the figures of the headline attack as one line of JSON; all else goes to the error stream.",
)
RATES_OF_RUN = "evaluation.false_positive_rates in its config.toml, or of `tmi attack`, says where"
MORE_RATES = "--set evaluation.false_positive_rates=[...] measures at others"
