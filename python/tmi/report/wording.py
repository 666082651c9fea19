"""How figures are worded, wherever they are shown."""

from __future__ import annotations

import math
from itertools import chain

from tmi.metrics.estimate import Estimate
from tmi.predictions.views import LOGITS, View
from tmi.report.blocks import Cell
from tmi.report.results import Results

# What stands for an audit of one given model, and what it is compared with: the points alone.
GIVEN_MODEL_ATTACK, WITHOUT_MODEL = "inputs-and-answers", "inputs-alone"
# The baseline of the paper, by which finetunings are compared besides the headline attack.
BASELINE_ATTACK = "adapted-lira"
# What would make a verdict on one given model possible.
CONTRAST = (
    "To tell memory from such a difference, run the same audit on a model of the same kind that has not seen the "
    "points, and compare the two (tmi compare)."
)
CHANCE_AUC = 0.5
NOT_RESOLVABLE = "–"


def percent(fraction: float, decimals: int = 1) -> str:
    """A fraction as a percentage: 0.1163 is ``11.6%``."""
    return f"{100 * fraction:.{decimals}f}%"


def percent_interval(estimate: Estimate, decimals: int = 1) -> str:
    """The interval of a fraction as percentages: ``[10.2%, 13.1%]``."""
    return f"[{percent(estimate.low, decimals)}, {percent(estimate.high, decimals)}]"


def rate_percent(rate: float | str) -> str:
    """A false positive rate as a percentage without trailing zeros: 0.001 is ``0.1%``."""
    return f"{100 * float(rate):.6g}%"


def tpr_label(rate: str) -> str:
    """Name of the true positive rate at a false positive rate, with its unit: ``TPR@0.1%FPR``."""
    return f"TPR@{rate_percent(rate)}FPR"


def tpr_label_short(rate: str) -> str:
    """The same in two lines, for a narrow column."""
    return tpr_label(rate).replace("@", "@\n")


def tpr(estimate: Estimate, rate: str) -> str:
    """A true positive rate as a percentage, or a dash where the data cannot resolve it."""
    return percent(estimate.estimate, _decimals(rate)) if estimate.resolvable else NOT_RESOLVABLE


def tpr_interval(estimate: Estimate, rate: str) -> str:
    """The interval of a true positive rate, ``[10.2%, 13.1%]``; empty where the data cannot resolve it."""
    return percent_interval(estimate, _decimals(rate)) if estimate.resolvable else ""


def tpr_cell(estimate: Estimate, rate: str) -> Cell:
    """A true positive rate above its interval."""
    return Cell(tpr(estimate, rate), [tpr_interval(estimate, rate)] if estimate.resolvable else [])


def auc_cell(estimate: Estimate) -> Cell:
    """A figure to three decimals above its interval."""
    return Cell(f"{estimate.estimate:.3f}", [f"[{estimate.low:.3f}, {estimate.high:.3f}]"])


def with_interval(estimate: Estimate) -> str:
    """A figure and its interval to three decimals: ``0.652 [0.631, 0.673]``."""
    return auc_cell(estimate).line


def signed(value: float) -> str:
    """A number to two decimals with a true minus sign."""
    return _true_minus(f"{value:.2f}")


def difference(estimate: Estimate) -> str:
    """A difference of AUCs with its sign, ``+0.084*``; the star says that its interval excludes 0."""
    return _true_minus(f"{estimate.estimate:+.3f}{_star(estimate)}")


def difference_interval(estimate: Estimate) -> str:
    """The interval of a difference of AUCs with signs: ``[+0.067, +0.102]``."""
    return _true_minus(f"[{estimate.low:+.3f}, {estimate.high:+.3f}]")


def difference_cell(estimate: Estimate, against: str | None = None) -> Cell:
    """A difference of AUCs above its interval, and with what it was compared where that needs saying."""
    return Cell(difference(estimate), [difference_interval(estimate), *([f"to {against}"] if against else [])])


def tpr_difference(estimate: Estimate) -> str:
    """A difference of true positive rates in percentage points, ``+5.2*``; a dash where it cannot be resolved."""
    if not estimate.resolvable:
        return NOT_RESOLVABLE
    return _true_minus(f"{100 * estimate.estimate:+.1f}{_star(estimate)}")


def tpr_difference_cell(estimate: Estimate) -> Cell:
    """The same above its interval."""
    interval = _true_minus(f"[{100 * estimate.low:+.1f}, {100 * estimate.high:+.1f}]")
    return Cell(tpr_difference(estimate), [interval] if estimate.resolvable else [])


def p_text(p_value: float) -> str:
    """A p-value to two digits: ``0.032``, ``0.0004``; tiny ones as ``< 0.0001``."""
    return "< 0.0001" if p_value < 1e-4 else f"{p_value:.2g}"


def counted(number: int, one: str, several: str) -> str:
    """``1 core``, ``2 cores``."""
    return f"{number:,} {one if number == 1 else several}"


def resolution_note(results: Results) -> str:
    """Footnote to the dashes; empty where every figure is resolvable."""
    rates = [attack.tpr_at_fpr.values() for attack in results.attacks.values()]
    if all(estimate.resolvable for estimate in chain.from_iterable(rates)):
        return ""
    note = f"{NOT_RESOLVABLE} not resolvable with {results.data.non_members:,} non-members"
    needed = [
        f"{rate_percent(rate)}FPR would take {results.resolution[rate].points_needed:,} challenge points"
        for rate in results.rates
        if not results.resolution[rate].resolvable
    ]
    return f"{note}: {', '.join(needed)}" if needed else note


def seen(results: Results) -> str:
    """Footnote on what the adversary sees; empty where it sees everything."""
    name = results.view
    return "" if name == LOGITS.name else f"{name}: all attacks see {seen_in(results, name)}"


def seen_in(results: Results, view: str) -> str:
    """What is seen of an answer in a view, as a clause."""
    return View.parse(view).described("token" if results.writes else "class name")


def duration(seconds: float) -> str:
    """A time span for people: ``3.2 s``, ``12 min 5 s``, ``2 h 4 min``."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def options_text(options: dict[str, bool | int | float | str]) -> str:
    """Options with their values: ``variance = global, location = mean``."""
    return ", ".join(
        f"{name} = {value:g}" if isinstance(value, float) else f"{name} = {value}" for name, value in options.items()
    )


def _star(difference: Estimate) -> str:
    return "*" if difference.low > 0 or difference.high < 0 else ""


def _true_minus(number: str) -> str:
    return number.replace("-", "\N{MINUS SIGN}")


def _decimals(rate: str) -> int:
    """Decimals of a percentage with which a TPR no better than chance, equal to its FPR, shows two digits."""
    magnitude = math.floor(round(math.log10(100 * float(rate)), 6))
    return max(1, 1 - magnitude)
