"""``tmi compare``: does one run leak more than another?"""

from __future__ import annotations

from pathlib import Path

import click

from tmi.cli.gate import Gate, gate_options
from tmi.cli.options import bars, debuggable


def _parse_rates(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> list[float]:
    rates = []
    for entry in (entry.strip() for text in texts for entry in text.split(",")):
        try:
            rate = float(entry)
        except ValueError:
            rate = 0.0
        if not 0 < rate < 1:
            raise click.BadParameter(f"{entry!r} is no rate between 0 and 1; expected for instance 0.001,0.01")
        rates.append(rate)
    return rates


@click.command()
@click.argument("run_a", metavar="RUN_A", type=click.Path(path_type=Path))
@click.argument("run_b", metavar="RUN_B", type=click.Path(path_type=Path))
@click.option(
    "--attack",
    "attacks",
    multiple=True,
    metavar="NAME",
    help="Compare by this attack only. Repeatable; all that both runs have if left out.",
)
@click.option(
    "--fpr",
    "rates",
    multiple=True,
    metavar="RATE",
    callback=_parse_rates,
    help="Compare true positive rates at these false positive rates: 0.001,0.01. RUN_A's own if left out.",
)
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="Also write the figures there; - prints them as one line, and all else goes to the error stream.",
)
@gate_options
@debuggable
def compare(
    run_a: Path, run_b: Path, attacks: tuple[str, ...], rates: list[float], json_file: Path | None, gate: Gate
) -> None:
    """Does RUN_B leak more than RUN_A? Differences of their figures, with intervals.

    Two runs with the same targets and points (the same seed and another finetuning, say) are resampled alike; others
    independently, which gives wider intervals. RUN/variants/NAME is a run, too. --fail-if is about the differences:
    'auc > 0.02' is failed by a RUN_B whose AUC may be more than 0.02 above that of RUN_A.
    """
    from tmi.report.compared import compared_blocks, runs_verdict
    from tmi.report.terminal import show_blocks
    from tmi.runs.compare import compared_runs
    from tmi.runs.finished import read_run
    from tmi.system.files import write_json
    from tmi.system.machine import available_cores
    from tmi.system.screen import Screen

    if gate.conditions:
        rates = rates or [*map(float, read_run(run_a).results.rates)]
        gate.require(rates, has_epsilon=False, how="--fpr compares at others")
    compared = compared_runs(run_a, run_b, attacks, rates, threads=available_cores(), progress=bars())
    document = compared.to_dict() | {"verdict": runs_verdict(compared)}
    as_json = json_file == Path("-")
    if json_file is not None and not as_json:
        write_json(json_file, document)
    show_blocks(compared_blocks(compared), Screen(stderr=as_json))
    difference = compared.attacks[compared.headline].difference
    gate.end_with(gate.judged(difference.auc, difference.tpr_at_fpr), document if as_json else None)
