"""The lower bound on the epsilon of the pretraining."""

from __future__ import annotations

import math

from tmi.metrics.epsilon import EpsilonBound
from tmi.report.blocks import Cell, Column, Material, Media, Paragraph, Section, Strong, Table
from tmi.report.results import Results
from tmi.report.wording import percent

MEANING = (
    "What it says: if the pretraining had been differentially private with an ε below the bound, no attack on its "
    "outcome could have done this well, so with that confidence it was not. The bound speaks of the pretraining, "
    "and of the recipe that the attacked models share. A model that lacks a point had another one in its place, so ε "
    "is that of replacing a point by another. An accountant's ε is usually that of adding or removing one; two such "
    "steps replace a point, so that such an ε is refuted if it is below half of the bound."
)
NO_MEANING = (
    "What it does not say: it is no promise. The true ε may be far higher or infinite, and a bound of 0 means only "
    "that this attack proved nothing. It says nothing about the finetuning data, and an ε of differentially private "
    "finetuning is another quantity about other data: the two cannot be compared. Each bound is for one attack by "
    "itself; nothing is corrected for picking the highest."
)


def section(material: Material) -> Section:
    """What the headline attack shows, the bounds of all attacks, and what they mean."""
    results = material.results
    sentence = bound_sentence(results)
    first = (Strong(sentence),) if sentence else f"No lower bound could be computed for {results.headline}."
    bounds = {name: results.attacks[name].epsilon for name in [*results.ranked, *results.direct]}
    known = {name: bound for name, bound in bounds.items() if bound is not None}
    found = known.values()
    names = [Cell(name, ["direct access"] if results.attacks[name].direct_access else []) for name in known]
    columns = [
        Column("Attack", names),
        Column("Stage", [bound.stage for bound in found]),
        Column("ε at least", [bound_text(bound.lower_bound) for bound in found]),
        Column("δ", [f"{bound.delta:g}" for bound in found]),
        Column("Confidence", [percent(bound.confidence, 0) for bound in found]),
        Column("Looks for", [bound.direction for bound in found]),
        Column("Finds at least", [percent(bound.tpr_low, 2) for bound in found]),
        Column("Wrongly at most", [percent(bound.fpr_high, 2) for bound in found]),
        Column("Decisions", [f"{bound.decisions:,}" for bound in found]),
    ]
    notes = [Paragraph(f"Method: {bound.method}") for bound in found][:1]
    table = Table(columns, main=results.headline, notes=notes, media=Media.PAGE)
    title = "Lower bound on the ε of the pretraining"
    return Section(title, [Paragraph(first), table, Paragraph(MEANING), Paragraph(NO_MEANING)])


def bound_sentence(results: Results) -> str:
    """What the attack of the verdict shows about the stage; empty where no bound could be computed for it."""
    if (bound := results.main.epsilon) is None:
        return ""
    confident, delta = f"{100 * bound.confidence:g}% confidence", f" at δ = {bound.delta:g}"
    if bound.lower_bound <= 0:
        return f"ε of the {bound.stage}: {results.headline} shows no lower bound above 0{delta} ({confident})."
    return (
        f"ε of the {bound.stage} is at least {bound_text(bound.lower_bound)}{delta}, with {confident}: "
        f"{results.headline} finds {_evidence(bound)}, of {bound.decisions:,} decisions."
    )


def bound_text(bound: float) -> str:
    """A lower bound to two decimals, rounded down: it is never shown higher than it is."""
    return f"{math.floor(100 * bound + 1e-9) / 100:.2f}"


def _evidence(bound: EpsilonBound) -> str:
    """The two rates that a bound rests on: ``at least 3.1% of the members and at most 0.2% of the non-members``."""
    sought = bound.direction
    if sought == "both":
        return (
            f"at least {percent(bound.tpr_low, 2)} of the points that it seeks (members by half of the points, "
            f"non-members by the other) and takes at most {percent(bound.fpr_high, 2)} of the others for them"
        )
    others = "members" if sought == "non-members" else "non-members"
    return (
        f"at least {percent(bound.tpr_low, 2)} of the {sought} and takes at most {percent(bound.fpr_high, 2)} of "
        f"the {others} for them"
    )
