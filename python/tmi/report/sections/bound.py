"""What the outcome of the attack says about differential privacy of the pretraining."""

from __future__ import annotations

import math

from tmi.report.blocks import Folded, Items, Material, Media, Paragraph, Section
from tmi.report.results import Results

MEANING = (
    "With an ε below the bound, no attack on the outcome of the pretraining could do this well. The bound speaks of "
    "the pretraining, and of the recipe that the attacked models share. A model that lacks a point had another one in "
    "its place, so ε is that of replacing a point. An accountant's ε is usually that of adding or removing one; it is "
    "refuted if it is below half of the bound."
)
NO_MEANING = (
    "It is no promise: the true ε may be far higher or infinite, and a bound of 0 means only that this attack proved "
    "nothing. An ε of differentially private finetuning is another quantity about other data: the two cannot be "
    "compared."
)


def section(material: Material) -> Section:
    """What the attack of the verdict shows, in a line, and what that means."""
    bound = material.results.main.epsilon
    said = [Paragraph(bound_sentence(material.results))]
    if bound is None:
        return Section("Differential privacy of the pretraining", said)
    meaning = Items([("", [text]) for text in (MEANING, NO_MEANING, f"Method: {bound.method}")])
    folded = Folded("What this says and what it does not", [meaning], media=Media.PAGE)
    return Section("Differential privacy of the pretraining", [*said, folded])


def bound_sentence(results: Results) -> str:
    """What the attack of the verdict shows about the stage."""
    if (bound := results.main.epsilon) is None:
        return f"No lower bound on ε could be computed for {results.headline}."
    certain = f"{100 * bound.confidence:g}% confidence, δ = {bound.delta:g}"
    if bound_text(bound.lower_bound) == "0.00":
        return f"{results.headline} rules no promise out: it shows no lower bound above 0 on ε ({certain})."
    return (
        f"If the {bound.stage} had been differentially private with an ε below {bound_text(bound.lower_bound)}, "
        f"{results.headline} could not have found this much ({certain})."
    )


def bound_text(bound: float) -> str:
    """A lower bound to two decimals, rounded down: it is never shown higher than it is."""
    return f"{math.floor(100 * bound + 1e-9) / 100:.2f}"
