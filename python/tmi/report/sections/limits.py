"""What was not measured, adapted to what was attacked."""

from __future__ import annotations

from tmi.report.blocks import Items, Material, Section
from tmi.report.finetunings import PRIVACY_NOTE, any_private


def section(material: Material) -> Section:
    """A sentence for each limit."""
    results = material.results
    sentences = [
        "What the models leak about their finetuning data.",
        "Better attacks: they may find more. This adversary knows the architecture, the recipe and data like the "
        "pool; one who knows less may find less.",
        "Other models: the ranges cover other points and targets of the same kind, not another pool, recipe or seed, "
        "nor models that leak far more than others but are rare.",
    ]
    if results.data.pool is not None:
        sentences.append(
            f"Larger pools: models pretrained on more than these {results.data.pool.points:,} points mostly memorise "
            "less of each."
        )
    if any_private(results):
        sentences.append(PRIVACY_NOTE)
    if results.is_saved:
        sentences.append(
            "How the models were made. It is taken on trust that the membership is true and was drawn at random for "
            "each model, and that the models differ in nothing else: where members and non-members differ by "
            "themselves, that counts as a leak."
        )
    if (design := results.design) and not design.is_independent:
        sentences.append(f"{design.said[0].upper()}{design.said[1:]}.")
    if results.models.given:
        sentences.append(
            "Whether it is memory: one given model was attacked, with members and non-members that others chose. Where "
            "the two differ by themselves, any model's answers may show it better than a look at the points."
        )
    if results.target is not None:
        sentences.append(
            "How well the target was attacked: its membership is unknown. What is said about it holds as far as the "
            "shadow models are like it; if not, more of its points are called members by mistake, or fewer are found."
        )
    return Section("What was not measured", [Items([("", [sentence]) for sentence in sentences])], first_page=True)
