"""What was attacked: points, models, the finetuning, what is seen of an answer."""

from __future__ import annotations

from tmi.report.blocks import Items, Material, Media, Muted, Section, Text
from tmi.report.finetunings import COMPARISON_NOTE, PRIVACY_NOTE, epsilon_of, epsilon_text, trained
from tmi.report.tables import Pool, Private
from tmi.report.wording import counted, percent, seen_in


def section(material: Material) -> Section:
    """Names of what was attacked and what is to be said about it."""
    results = material.results
    models, data, target = results.models, results.data, results.target
    items: list[tuple[str, list[Text]]] = []
    if results.is_saved:
        items.append(("Read as", [*(data.read_as or [])]))
        of_answers = (
            "what models say about every token of a text" if data.classes is None else f"{data.classes:,} classes"
        )
        items.append(("Answers", [f"{of_answers}, saved by others; tmi trained none of these models"]))
    if data.pool is not None:
        items.append(("Known points" if models.given else "Pretraining pool", [_pool(data.pool, models.given)]))
    if (task := data.downstream) is not None:
        finetuned = f"each model is finetuned on {task.points_per_model:,} of {task.points:,} points"
        learned = "texts to write" if results.writes else f"{task.classes} classes"
        said = f"{task.source}, {learned}; {finetuned}, none of them in the pool"
        items += [("Downstream task", [said]), ("Transfer", [trained(task.transfer)])]
        if task.private is not None:
            notes = Muted(f"{PRIVACY_NOTE} {COMPARISON_NOTE}")
            items.append(("Privacy", [f"{_promise(task.private)}.", (notes,)]))
    each = "each" if models.targets == models.count else f"each of the first {models.targets}"
    made = f"{models.count}; {each} is the target in turn, with the {models.count - 1} others as its shadows"
    given = f"{models.count} finetunings of the given model {models.given}"
    queries = counted(data.queries_per_point, "query", "queries")
    items.append(("Models", [given if models.given else made]))
    items.append(("Queries", [f"{data.challenge_points:,} challenge points, {queries} for each"]))
    if (different := data.pretraining_labels) is not None:
        items.append(
            ("Pretraining labels", [f"the attacks know those of the challenge points, {different:,} different"])
        )
    elif not models.given:
        items.append(("Pretraining labels", ["the attacks know none"]))
    if target is not None:
        asked = f"asked about {target.points:,} points; its shadows are all {target.shadows:,} models"
        seen = f"; seen in {target.finetunings} finetunings by attacks that look at several"
        several = seen if target.finetunings > 1 else ""
        items.append(("Target", [f"{target.name}, of unknown membership, {asked}{several}"]))
    decisions = f"{data.members:,} on members and {data.non_members:,} on non-members, over all targets"
    items += [("Seen of an answer", [seen_in(results, results.view)]), ("Decisions", [decisions])]
    return Section("What was attacked", [Items(items)], Media.PAGE)


def _pool(pool: Pool, given: str | None) -> str:
    of_classes = f"{pool.classes} classes"
    kind = of_classes if pool.objective == "classification" else f"read as text ({pool.objective} language models)"
    text = (
        f"{pool.source} (members) and {pool.non_members} (non-members), {pool.points:,} points"
        if given
        else f"{pool.source}, {pool.points:,} points, {kind}; each model is pretrained on its own random half"
    )
    return f"{text}; {pool.duplicates:,} duplicates are not attacked" if pool.duplicates else text


def _promise(private: Private) -> str:
    """What the finetuning of the run itself promises its own points."""
    epsilon = f"ε = {epsilon_text(epsilon_of(private))}"
    promise = f"{epsilon}, without noise" if private.epsilon is None else f"{epsilon} at δ = {private.delta:g}"
    return (
        f"{promise}; {private.steps:,} steps with noise multiplier {private.noise_multiplier:.3g}, "
        f"each on a random {percent(private.sampling_rate)} of the points"
    )
