"""The results of ``tmi bench`` for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from tmi.bench.measure import Spread
from tmi.bench.run import COPY, KERNEL, MORE_THREADS, REFERENCE, Result, machine, versions

EXPLANATION = (
    "ms: median [shortest-longest] of one call. x NumPy: how many times as long NumPy (for the ROC metrics "
    "scikit-learn) takes. x copy: how many times as long as a copy of the input the call takes. The calls took turns; "
    "read the ratios, not the milliseconds."
)


def bench_table(results: Sequence[Result], threads: int) -> Table:
    """One row per case."""
    table = Table(box=None, pad_edge=False, title_justify="left")
    table.add_column(f"{threads} thread{'' if threads == 1 else 's'}", no_wrap=True)
    for heading in ("ms", "million/s", "GB/s", "x NumPy", "x copy", f"{2 * threads} threads"):
        table.add_column(heading, justify="right", no_wrap=True)
    for result in results:
        seconds, case = result.seconds, result.case
        table.add_row(
            case.name,
            _milliseconds(seconds),
            _short(case.items / seconds.median / 1e6),
            _short(case.source.nbytes / seconds.median / 1e9),
            _ratio(result.times.ratio(REFERENCE, KERNEL)),
            _ratio(result.times.ratio(KERNEL, COPY), spread=False),
            _ratio(result.times.ratio(KERNEL, MORE_THREADS)),
        )
    return table


def machine_line() -> str:
    """The machine and the versions in one line."""
    known, packages = machine(), versions()
    cores = f"{known['cores']} core{'' if known['cores'] == 1 else 's'}"
    return f"{known['processor']}, {cores}; tmi {packages['tmi']}, NumPy {packages['numpy']}"


def _milliseconds(seconds: Spread) -> str:
    median, low, high = (_short(1e3 * value) for value in (seconds.median, seconds.low, seconds.high))
    return f"{median} [{low}-{high}]"


def _ratio(ratio: Spread | None, spread: bool = True) -> str:
    if ratio is None:
        return "-"
    if not spread:
        return _short(ratio.median)
    return f"{_short(ratio.median)} [{_short(ratio.low)}-{_short(ratio.high)}]"


def _short(value: float) -> str:
    """Three digits, and no exponent."""
    if 0 < value < 0.005:
        return "<0.01"
    decimals = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{decimals}f}"
