"""The results in the terminal."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tmi.cli.gate import Gate

if TYPE_CHECKING:
    from tmi.report.results import Results


def show_results(results: Results, out: Path, gate: Gate, *, as_json: bool) -> None:
    """Print the tables, the verdict and where the report is, and judge them.

    Raises:
        click.exceptions.Exit: the gate is closed.
    """
    from tmi.report.blocks import Material
    from tmi.report.sections import sections_of
    from tmi.report.terminal import show
    from tmi.system.screen import Screen

    console = Screen(stderr=as_json)
    show(sections_of(Material(results)), console)
    console.print(f"\nReport: {out / 'report.html'}", highlight=False, soft_wrap=True)
    main = results.attacks.get(results.headline)
    bound = None if main is None or main.epsilon is None else main.epsilon.lower_bound
    judged = [] if main is None else gate.judged(main.auc, main.tpr_at_fpr, bound)
    gate.end_with(judged, _line(results, out, bound) if as_json else None)


def _line(results: Results, out: Path, bound: float | None) -> dict[str, Any]:
    """What `--json` says besides the gate."""
    from tmi.report.sections.summary import verdict

    line: dict[str, Any] = {"run": str(out), "name": results.name, "headline": results.headline}
    if (main := results.attacks.get(results.headline)) is not None:
        rates = {rate: asdict(found) for rate, found in main.tpr_at_fpr.items()}
        line |= {"verdict": verdict(results), "auc": asdict(main.auc), "tpr_at_fpr": rates, "epsilon": bound}
    return line | {"report": str(out / "report.html"), "results": str(out / "results.json")}
