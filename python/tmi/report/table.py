"""The results in the terminal: a table, and a verdict in a sentence or two."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tmi.report.claims import caution, hint, smallest_effect, speaks_for_others
from tmi.report.results import REPRESENTATIVE_RATE, Results
from tmi.report.wording import (
    CHANCE_AUC,
    CONTRAST,
    DEFAULT_ATTACK,
    GIVEN_MODEL_ATTACK,
    WITHOUT_MODEL,
    difference,
    difference_interval,
    percent,
    rate_percent,
    resolution_note,
    seen,
    tpr,
    tpr_interval,
    with_interval,
)


def results_table(results: Results, width: int = 80) -> Table:
    """One row per attack, highest AUC first; the upper bound stands apart below.

    Args:
        results: the content of results.json.
        width: columns of the terminal. Where the table does not fit, it is left without the balanced
            accuracy, then without the true positive rates at the highest false positive rates. The AUC stays.
    """
    rates = results.rates
    layouts = [(True, rates), *((False, rates[:count]) for count in range(len(rates), 0, -1))]
    for with_accuracy, shown in layouts:
        table = _table(results, with_accuracy, shown)
        if natural_width(table) <= width:
            return table
    return _table(results, False, [])


def verdict(results: Results) -> str:
    """What the results say, in one or two plain sentences.

    It speaks of the default attack whatever the others found, because the best of many attacks is partly
    luck. Where the default attack shows nothing but another figure does, a second sentence says so.
    """
    name = results.headline
    auc = results.attacks[name].auc
    figure = f"AUC {with_interval(auc)} ({results.confidence} interval; {CHANCE_AUC} = coin flip)"
    if name == GIVEN_MODEL_ATTACK and WITHOUT_MODEL in results.attacks:
        return _verdict_on_given_model(results)
    if name in results.upper_bounds:
        return f"Only an upper bound was measured, by querying the pretrained models themselves: {figure}."
    if auc.low > CHANCE_AUC:
        return (
            f"{_leaking(results)}: "
            f"{name} tells members from non-members with {figure}{_members_found(results, name)}.{caution(results)}"
        )
    if auc.high < CHANCE_AUC:
        return (
            f"No leak was shown: {name} scores members below non-members, with {figure}. Being wrong more "
            "often than a coin usually means that the membership or the scores are reversed."
        )
    return (
        f"No leak was shown: {name} has {figure}; this is not proof of its absence: {smallest_effect(results)}."
        f"{_hint(results)}"
    )


def _leaking(results: Results) -> str:
    """Who leaks: nothing is known of a target of unknown membership, only of the shadow models that stand for it."""
    who = "Shadow models played as the target" if results.target is not None else "The finetuned models"
    if speaks_for_others(results):
        return f"{who} leak their pretraining data"
    if results.models.targets == 1:
        return "The model that played the target leaks its pretraining data"
    return f"{who} seem to leak their pretraining data"


def _verdict_on_given_model(results: Results) -> str:
    """Only what the answers add to the points themselves is the model's doing."""
    attacks, added = results.attacks, results.comparisons.others[WITHOUT_MODEL].auc
    both, alone = (attacks[name].auc for name in (GIVEN_MODEL_ATTACK, WITHOUT_MODEL))
    figures = (
        f"AUC {with_interval(both)} with the model's answers and {with_interval(alone)} from the points alone, "
        f"a difference of {difference(added)} {difference_interval(added)}"
    )
    if added.low <= 0:
        return f"No leak was shown: {figures}; this is not proof of its absence."
    return (
        f"No verdict: {figures}. The answers tell more than a simple look at the points, but so may those of a model "
        f"that has not seen them, where members and non-members differ by themselves. {CONTRAST}"
    )


def _members_found(results: Results, name: str) -> str:
    """Clause on the members found at few false positives; empty where no such rate is resolvable."""
    rates = results.attacks[name].tpr_at_fpr
    for rate in results.rates:
        if float(rate) >= REPRESENTATIVE_RATE and rates[rate].resolvable:
            found = tpr(rates[rate], rate)
            return f" and finds {found} of the members at {rate_percent(rate)} false positives"
    return ""


def _hint(results: Results) -> str:
    """Sentence on a figure that suggests a leak although the AUC of the attack of the verdict does not."""
    found = hint(results)
    if found is None:
        return ""
    attack = results.attacks[found.attack]
    looked = f"also for one of {found.looked_at} figures looked at" if found.looked_at > 1 else "the only other figure"
    if found.rate is None:
        return f" But {found.attack}, another attack, suggests a leak: AUC {with_interval(attack.auc)}, clear {looked}."
    estimate = attack.tpr_at_fpr[found.rate]
    return (
        f" But at {rate_percent(found.rate)} false positives {found.attack} finds {tpr(estimate, found.rate)} "
        f"{tpr_interval(estimate, found.rate)} of the members, which suggests a leak of a few, clear {looked}."
    )


def _table(results: Results, with_accuracy: bool, rates: Sequence[str]) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        caption=Text(_footnotes(results)),
        caption_justify="left",
    )
    table.add_column("attack", vertical="bottom", overflow="fold")
    table.add_column(f"AUC [{results.confidence} interval]", vertical="bottom", no_wrap=True)
    if with_accuracy:
        table.add_column("bal.\nacc.", justify="right", no_wrap=True)
    for rate in rates:
        table.add_column(f"TPR@\n{rate_percent(rate)}FPR", justify="right", no_wrap=True)
    for name in results.ranked:
        style = "bold" if name == DEFAULT_ATTACK else ""
        table.add_row(*_row(results, name, with_accuracy, rates), style=style)
    table.add_section()
    for name in results.upper_bounds:
        table.add_row(*_row(results, name, with_accuracy, rates), style="dim")
    return table


def _row(results: Results, name: str, with_accuracy: bool, rates: Sequence[str]) -> list[Text]:
    attack = results.attacks[name]
    accuracy = [percent(attack.balanced_accuracy.estimate)] if with_accuracy else []
    found = [tpr(attack.tpr_at_fpr[rate], rate) for rate in rates]
    # Text, not str: a name must not be read as console markup.
    return [Text(cell) for cell in (name, with_interval(attack.auc), *accuracy, *found)]


def _footnotes(results: Results) -> str:
    notes = [f"{name}: queries the pretrained model itself, an upper bound" for name in results.upper_bounds]
    notes.append(resolution_note(results))
    notes.append(seen(results))
    return "\n".join(note for note in notes if note)


def natural_width(table: Table) -> int:
    """Columns that a table takes if nothing is folded."""
    return Console(width=10_000).measure(table).maximum
