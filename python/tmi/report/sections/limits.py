"""What the figures do not say, adapted to what was attacked."""

from __future__ import annotations

from tmi.report.blocks import Items, Material, Section


def section(material: Material) -> Section:
    """A sentence for each limit."""
    results = material.results
    sentences = [
        "Measured was whether points were in the pretraining data. Nothing here says how much the models leak about "
        "their finetuning data.",
        "Finetuning with differential privacy bounds the leak of the finetuning data. It promises nothing for the "
        "pretraining data.",
        "An attack shows that a leak exists, not how large it can get: a better attack may find more. The adversary "
        "is assumed to know the architecture, the training recipe and data like the pool; one who knows less may "
        "find less.",
        "The intervals cover other points and other targets of the same kind. They do not cover training all models "
        "again with another seed, another pool or another recipe, nor models that leak far more than others but are so "
        "rare that hardly any target is one.",
    ]
    if results.is_saved:
        sentences.append(
            "The models were not trained here. It is taken on trust that the membership says truly which model was "
            "pretrained on which point, that it was drawn at random for each model, and that the models differ in "
            "nothing else; where members and non-members differ by themselves, that difference counts as a leak."
        )
    if results.data.pool is not None:
        sentences.append(
            f"The pool has {results.data.pool.points:,} points. Models pretrained on few points memorise "
            "more of each: the figures do not carry over to models pretrained on much more data."
        )
    if (design := results.design) and not design.is_independent:
        sentences.append(f"{design.said[0].upper()}{design.said[1:]}.")
    if results.models.given:
        sentences.append(
            "One given model was attacked, with members and non-members that others chose. Where the two differ by "
            "themselves, they can be told apart without the model, and any model's answers may show the difference "
            "better than a simple look at the points: only against a model that has not seen them is it memory."
        )
    if results.target is not None:
        sentences.append(
            "The membership of the target is unknown, so nothing here measures how well it was attacked. What is "
            "said about it holds as far as the shadow models are like it: pretrained and finetuned in the same way, "
            "on data of the same kind. If they are not, more of its points are called members by mistake than "
            "stated, or fewer are found."
        )
    sentences.append("The figures are averages over points. Single points may be exposed far more or not at all.")
    return Section("Limits", [Items([("", [sentence]) for sentence in sentences])])
