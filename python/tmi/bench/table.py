"""The results of ``tmi bench`` for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from tmi.bench.run import COPY, KERNEL, MORE_THREADS, REFERENCE, Result, Spread, machine, versions
from tmi.bench.training import Load, Speed

# Points of CIFAR-100's training set, for a preset that takes all of them.
FULL_POOL = 50_000
# Below this many characters the table has medians only, and no GB/s.
ROOM_FOR_SPREAD = 120
EXPLANATION = (
    "ms: median of one call [shortest-longest, where the terminal is wide enough]. x NumPy: how many times as long "
    "NumPy (for the ROC metrics scikit-learn) takes. x copy: how many times as long as a copy of the input the call "
    "takes. The calls took turns; read the ratios, not the milliseconds."
)


def bench_table(results: Sequence[Result], threads: int, width: int) -> Table:
    """One row per case, for a terminal that is ``width`` characters wide."""
    wide = width >= ROOM_FOR_SPREAD
    table = Table(box=None, pad_edge=False)
    table.add_column(f"{threads} thread{'' if threads == 1 else 's'}")
    headings = ["ms", "million/s", "x NumPy", "x copy", f"{2 * threads} threads", *(["GB/s"] if wide else [])]
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for result in results:
        seconds, case = Spread.of(result.seconds[KERNEL]), result.case
        cells = [
            _spread(seconds, wide, scale=1e3),
            _short(case.items / seconds.median / 1e6),
            _spread(result.ratio(REFERENCE, KERNEL), wide),
            _spread(result.ratio(KERNEL, COPY), False),
            _spread(result.ratio(KERNEL, MORE_THREADS), wide),
            _short(case.source.nbytes / seconds.median / 1e9),
        ]
        table.add_row(case.name, *cells[: len(headings)])
    return table


def training_table(load: Load, rounds: Sequence[tuple[Speed, Speed]]) -> Table:
    """Both loops of ``tmi bench train``, and how long the preset's whole pretraining would take with each."""
    config = load.config
    points = (config.pool.size or FULL_POOL) // 2
    # A whole pretraining is counted in samples: of the preset's own texts, nothing is known here but their number.
    texts = f" texts of {rounds[0][1].tokens / rounds[0][1].samples:.0f} tokens" if load.of_tokens else ""
    table = Table(box=None, pad_edge=False)
    table.add_column("loop", no_wrap=True)
    for heading in ("tokens/s" if load.of_tokens else "samples/s", "ratio"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column(f"{config.models} models x {config.pretrain.epochs} epochs x {points:,}{texts}", justify="right")
    ratios = Spread.of([fast.rate / plain.rate for plain, fast in rounds])
    for speeds in ([plain for plain, _ in rounds], [fast for _, fast in rounds]):
        shown = Spread.of([speed.tokens / speed.seconds if load.of_tokens else speed.rate for speed in speeds])
        rate = Spread.of([speed.rate for speed in speeds]).median
        hours = config.models * points * config.pretrain.epochs / rate / 3600
        ratio = "1" if speeds[0].name != "tmi" else _spread(ratios, True)
        shown_rate = f"{shown.median:,.0f} [{shown.low:,.0f}-{shown.high:,.0f}]"
        table.add_row(speeds[0].name, shown_rate, ratio, f"{hours:,.2f} h")
    return table


def querying_line(rounds: Sequence[tuple[Speed, Speed]]) -> str:
    """How fast texts are asked about, and how many times as fast as by the plain loop."""
    tokens = Spread.of([fast.tokens / fast.seconds for _, fast in rounds]).median
    ratios = Spread.of([fast.rate / plain.rate for plain, fast in rounds])
    return f"queries: {tokens:,.0f} tokens/s, {_spread(ratios, True)} times as many as {rounds[0][0].name}"


def machine_line() -> str:
    """The machine and the versions in one line."""
    known, packages = machine(), versions()
    cores = f"{known['cores']} core{'' if known['cores'] == 1 else 's'}"
    return f"{known['processor']}, {cores}; tmi {packages['tmi']}, NumPy {packages['numpy']}"


def _spread(spread: Spread | None, wide: bool, scale: float = 1.0) -> str:
    """The median, and in a wide table how far the rounds reach."""
    if spread is None:
        return "-"
    median, low, high = (_short(scale * value) for value in (spread.median, spread.low, spread.high))
    return f"{median} [{low}-{high}]" if wide else median


def _short(value: float) -> str:
    """Three digits, and no exponent."""
    if 0 < value < 0.005:
        return "<0.01"
    decimals = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{decimals}f}"
