"""How well the models learned their tasks, and which did not."""

from __future__ import annotations

from collections.abc import Sequence

from tmi.report.blocks import Column, Folded, Paragraph, Table
from tmi.report.results import Results
from tmi.report.tables import Accuracy
from tmi.report.wording import percent

# Models that a sentence names one by one.
MOST_NAMED = 12


def folded(results: Results) -> Folded | None:
    """Accuracies over all models; None where nobody knows them, as of saved predictions."""
    models = results.models
    accuracies = {
        f"{task.capitalize()}, {data}": getattr(models, f"{task}_{data}_accuracy")
        for task in ("pretraining", "downstream")
        for data in ("train", "test")
    }
    known = {name: accuracy for name, accuracy in accuracies.items() if accuracy is not None}
    if not known:
        return None
    shown = [(name, percent, accuracy) for name, accuracy in known.items()]
    perplexities = {"train": models.downstream_train_perplexity, "test": models.downstream_test_perplexity}
    shown += [(f"Downstream, {data}: perplexity", "{:.1f}".format, each) for data, each in perplexities.items() if each]
    measured = "Accuracy" if len(shown) == len(known) else "Accuracy, perplexity"
    columns = [
        Column(f"{measured} over {models.count} models", [name for name, _, _ in shown]),
        Column("Mean", [text(each.mean) for _, text, each in shown]),
        Column("Standard deviation", [text(each.sd) for _, text, each in shown]),
        Column("Range", [f"{text(each.min)} to {text(each.max)}" for _, text, each in shown]),
    ]
    note = (
        "The further a model's training accuracy lies above its test accuracy, the more it has memorised, and the more "
        "there is to leak."
    )
    return Folded("How well the models learned their tasks", [Table(columns, notes=[Paragraph(note)], has_words=True)])


def training_warnings(results: Results) -> list[str]:
    """Sentences on models that hardly learned their task, of the run and of its variants; empty where all did.

    An attack on models that did not train measures nothing, whatever figures come out.
    """
    models, data = results.models, results.data
    sentences = []
    if data.pool is not None and models.pretraining_test_accuracy is not None:
        classes = data.pool.classes if data.pool.objective == "classification" else None
        sentences += _of_task(
            "pretraining", "", models.pretraining_test_accuracy, models.not_pretrained, classes, models.count
        )
    if data.downstream is not None and models.downstream_test_accuracy is not None:
        classes = data.downstream.classes if data.downstream.objective == "classification" else None
        sentences += _of_task(
            "downstream", "", models.downstream_test_accuracy, models.not_finetuned, classes, models.count
        )
    rows = list(results.variants.rows.items()) if results.variants is not None else []
    for name, row in rows[1:]:  # the first is the run itself
        where = f" in the finetuning {name}"
        classes = None if row.downstream_test_perplexity else row.classes
        sentences += _of_task(
            "downstream", where, row.downstream_test_accuracy, row.not_finetuned, classes, models.count
        )
    return sentences


def _of_task(
    task: str, where: str, accuracy: Accuracy, unlearned: Sequence[int], classes: int | None, count: int
) -> list[str]:
    """Sentences on one task in one finetuning.

    Args:
        task: ``pretraining`` or ``downstream``.
        where: which finetuning, as a phrase that follows the task; empty for the run itself.
        accuracy: on the task's test data.
        unlearned: the models whose training accuracy is no better than that of a constant answer.
        classes: of the task; None for a language model, whose accuracy on new text may be low however well it learned.
        count: number of models.
    """
    sentences = []
    if unlearned:
        sentences.append(_unlearned(f"the {task} task{where}", unlearned, count))
    if classes is None:
        return sentences
    chance = 1 / classes
    context = f"({percent(chance)} is chance among {classes} classes)"
    if _near_chance(accuracy.mean, chance):
        sentences.append(
            f"The {task} test accuracy{where} is near chance: {percent(accuracy.mean)} on average "
            f"{context}. The models have hardly learned the task, so these results say little about "
            "models that have."
        )
    elif _near_chance(accuracy.min, chance) and not unlearned:
        sentences.append(
            f"At least one model has hardly learned the {task} task{where}: its test accuracy is "
            f"{percent(accuracy.min)} {context}."
        )
    return sentences


def _unlearned(task: str, models: Sequence[int], count: int) -> str:
    constant = "clearly better than always giving the commonest answer"
    if len(models) == count:
        return f"None of the {count} models learned {task}: on its training data, none is {constant}."
    if len(models) == 1:
        return (
            f"Model {models[0]} did not learn {task}: on its training data, it is not {constant}. "
            "It is part of the figures."
        )
    return (
        f"Models {_listed(models)} did not learn {task}: on their training data, they are not {constant}. "
        "They are part of the figures."
    )


def _listed(models: Sequence[int]) -> str:
    """``3, 5 and 17``, or the first of them and how many more there are."""
    first, rest = models[:MOST_NAMED], len(models) - MOST_NAMED
    *others, last = [*map(str, first), *([f"{rest} more"] if rest > 0 else [])]
    return f"{', '.join(others)} and {last}"


def _near_chance(accuracy: float, chance: float) -> bool:
    """Whether it is less than twice chance, or than a tenth of the way from chance to a perfect score."""
    return accuracy < min(2 * chance, chance + 0.1 * (1 - chance))
