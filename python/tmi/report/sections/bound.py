"""The lower bound on the epsilon of the pretraining."""

from __future__ import annotations

import math

from tmi.metrics.epsilon import EpsilonBound
from tmi.report.blocks import Cell, Column, Group, Material, Media, Paragraph, Section, Strong, Table
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
    heads = ["ε at least", "δ", "Confidence", "Looks for", "Finds at least", "Wrongly at most", "Decisions"]
    rows, methods = [], []
    for name in [*results.ranked, *results.upper_bounds]:
        if (bound := results.attacks[name].epsilon) is None:
            continue
        methods.append(bound.method)
        cells = [
            bound.stage,
            bound_text(bound.lower_bound),
            f"{bound.delta:g}",
            percent(bound.confidence, 0),
            bound.direction,
            percent(bound.tpr_low, 2),
            percent(bound.fpr_high, 2),
            f"{bound.decisions:,}",
        ]
        rows.append([Cell(name, ["upper bound"] if results.attacks[name].upper_bound else []), *map(Cell, cells)])
    table = Table(
        [Column(head) for head in ("Attack", "Stage", *heads)],
        [Group(rows)],
        main=results.headline,
        notes=[Paragraph(f"Method: {methods[0]}")] if methods else [],
        media=Media.PAGE,
    )
    return Section(
        "Lower bound on the ε of the pretraining", [Paragraph(first), table, Paragraph(MEANING), Paragraph(NO_MEANING)]
    )


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
