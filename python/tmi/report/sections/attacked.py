"""What was attacked: points, models, the finetuning, what is seen of an answer."""

from __future__ import annotations

from tmi.predictions.views import View
from tmi.report.blocks import Material, Media, Muted, Paragraph, Section, Terms, Text
from tmi.report.finetunings import COMPARISON_NOTE, PRIVACY_NOTE, epsilon_of, epsilon_text, trained
from tmi.report.results import Results
from tmi.report.wording import counted, percent


def section(material: Material) -> Section:
    """Names of what was attacked and what is to be said about it."""
    results = material.results
    models, data, target = results.models, results.data, results.target
    rows: list[tuple[str, Text | list[Text]]] = []
    if results.is_saved:
        rows.append(("Read as", list(data.read_as or [])))
        rows.append(("Answers", f"{data.classes or 0:,} classes, saved by others; tmi trained none of these models"))
    if data.pool is not None:
        rows.append(("Known points" if models.given else "Pretraining pool", _pool(results)))
    if data.downstream is not None:
        task = data.downstream
        rows.append(
            (
                "Downstream task",
                f"{task.source}, {task.classes} classes; each model is finetuned on {task.points_per_model:,} of "
                f"{task.points:,} points, none of them in the pool",
            )
        )
        rows.append(("Transfer", trained(task.transfer)))
        if task.private is not None:
            rows.append(("Privacy", [f"{_promise(results)}.", (Muted(f"{PRIVACY_NOTE} {COMPARISON_NOTE}"),)]))
    each = "each" if models.targets == models.count else f"each of the first {models.targets}"
    rows.append(
        (
            "Models",
            f"{models.count} finetunings of the given model {models.given}"
            if models.given
            else f"{models.count}; {each} is the target in turn, with the {models.count - 1} others as its shadows",
        )
    )
    queries = counted(data.queries_per_point, "query", "queries")
    rows.append(("Queries", f"{data.challenge_points:,} challenge points, {queries} for each"))
    if target is not None:
        rows.append(
            (
                "Target",
                f"{target.name}, of unknown membership, asked about {target.points:,} points; its shadows are all "
                f"{target.shadows:,} models",
            )
        )
    rows.append(("Seen of an answer", View.parse(results.view).description))
    rows.append(("Decisions", f"{data.members:,} on members and {data.non_members:,} on non-members, over all targets"))
    described = [Paragraph(results.description)] if results.description else []
    return Section("What was attacked", [*described, Terms(rows, media=Media.PAGE)])


def _pool(results: Results) -> str:
    pool, given = results.data.pool, results.models.given
    assert pool is not None
    if given:
        text = f"{pool.source} (members) and {pool.non_members} (non-members), {pool.points:,} points"
    else:
        kind = (
            f"{pool.classes} classes"
            if pool.objective == "classification"
            else f"read as text ({pool.objective} language models)"
        )
        text = f"{pool.source}, {pool.points:,} points, {kind}; each model is pretrained on its own random half"
    return f"{text}; {pool.duplicates:,} duplicates are not attacked" if pool.duplicates else text


def _promise(results: Results) -> str:
    """What the finetuning of the run itself promises its own points."""
    assert results.data.downstream is not None
    private = results.data.downstream.private
    assert private is not None
    epsilon = f"ε = {epsilon_text(epsilon_of(private))}"
    promise = f"{epsilon}, without noise" if private.epsilon is None else f"{epsilon} at δ = {private.delta:g}"
    return (
        f"{promise}; {private.steps:,} steps with noise multiplier {private.noise_multiplier:.3g}, "
        f"each on a random {percent(private.sampling_rate)} of the points"
    )
