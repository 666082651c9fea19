"""What the first page says is to be done, and what every measure bought."""

from __future__ import annotations

import pytest

from made.results import by_others, changed, figure, make_results, page
from made.variants import make_seven
from tmi.report.blocks import Material, Paragraph, Table, plain
from tmi.report.markdown import render_markdown
from tmi.report.results import Results
from tmi.report.sections import sections_of
from tmi.report.sections.advice import MOST_ROWS, adversaries, measures, section


@pytest.fixture
def results() -> Results:
    return make_results({"tmi": 0.6, "gaussian": 0.3})


def others(results: Results, names: list[str], change: float | None, half_width: float = 0.01) -> dict[str, object]:
    """What adversaries find whose AUC differs from that of the first by so much; not paired if that is not known."""
    rows = {
        name: {attack: figures.model_dump() for attack, figures in row.items()}
        for name, row in by_others(results, names).items()
    }
    for name in names[1:] if change is not None else []:
        auc = figure(change, half_width)
        rows[name][results.headline]["difference"] = {"auc": auc, "balanced_accuracy": auc, "tpr_at_fpr": {}}
    return rows


def said(results: Results) -> tuple[str, Table | None]:
    """The sentences of the section and its table."""
    found = section(Material(results))
    assert found is not None
    texts = [plain(block.text) for block in found.blocks if isinstance(block, Paragraph)]
    return " ".join(texts), next((block for block in found.blocks if isinstance(block, Table)), None)


def test_finetunings_are_named_as_something_to_do_and_compared_in_pairs() -> None:
    table = said(make_seven())[1]
    assert table is not None
    bought = dict(zip(*(column.cells for column in (table.columns[0], table.columns[2])), strict=True))
    assert bought["Finetune everything (full)"] == "−0.100"
    assert bought["Finetune with differential privacy, ε = 8 (epsilon-8)"] == "−0.100"
    assert bought["Finetune with its clipping alone (epsilon-inf)"] == "no difference shown"
    assert {"Finetune LoRA adapters (lora)", "Finetune on 60 points (few)"} <= set(bought)
    assert "not paired" not in plain(table.notes[0].text)
    assert "compared with the same recipe without noise" in plain(table.notes[0].text)


def test_what_helps_most_comes_first_and_views_are_paired_where_that_is_known(results: Results) -> None:
    views = others(results, ["logits", "top-3", "label"], -0.16)
    views["top-3"]["tmi"]["difference"]["auc"] = figure(-0.01, 0.03)  # type: ignore[index]
    found = changed(results, {"views": views})
    first, second = measures(found)
    assert (first.name, first.change.low) == ("Show the name of the most likely class, nothing else (label)", -0.17)
    table = said(found)[1]
    assert table is not None
    assert list(table.columns[2].cells) == ["−0.160", "no difference shown"]
    assert list(table.columns[3].cells) == ["[−0.170, −0.150]", "[−0.040, +0.020]"]
    assert second.paired
    assert "not paired" not in page(found)


def test_without_pairs_the_interval_is_that_of_two_independent_figures(results: Results) -> None:
    found = changed(results, {"views": others(results, ["logits", "label"], None)})
    (label,) = measures(found)
    assert label.change.estimate == 0
    assert label.change.high == pytest.approx(0.02 * 2**0.5)
    assert "(not paired: intervals are too wide)" in page(found)


def test_adversaries_who_can_afford_less_stand_apart(results: Results) -> None:
    everyone = str(results.models.count - 1)
    shadows = others(results, ["0", "8", everyone], -0.05)
    del shadows["0"]
    found = changed(results, {"shadows": shadows})
    assert measures(found) == []
    assert [measure.name for measure in adversaries(found)] == ["8 shadow models"]
    assert "Out of your hands" in page(found)
    assert "| 8 shadow models (out of your hands) |" in render_markdown(found, sections_of(Material(found)))


def test_a_first_page_has_room_for_some_measures_only() -> None:
    results = make_seven()
    found = changed(results, {"views": others(results, ["logits", "top-3", "top-2", "label"], -0.01)})
    table = said(found)[1]
    assert table is not None
    assert len(table.columns[0].cells) == MOST_ROWS
    assert "2 more" in plain(table.notes[0].text)


def test_what_was_not_tried_is_said_where_something_leaks(results: Results) -> None:
    assert "to show less of an answer (views), and to finetune otherwise (variants)" in said(results)[0]
    tried = changed(results, {"views": others(results, ["logits", "label"], -0.1)})
    assert "Not tried here: to finetune otherwise (variants)." in said(tried)[0]
    text = said(make_results({"tmi": 0.0}))[0]
    assert text == "This audit asks for no measure. It is no clearance either: see what was not measured."
    assert "Another figure suggests a leak" in said(make_results({"tmi": 0.0, "gaussian": 0.6}))[0]
    slight = changed(results, {"attacks/tmi/tpr_at_fpr/0.01": figure(0.012, 0.004)})
    assert "too little to name anybody: at 1% false positives" in said(slight)[0]
    assert "Not tried" not in said(slight)[0]
    assert section(Material(make_results({"direct": 2.0}))) is None
    assert "Check the membership" in said(make_results({"tmi": -0.6}))[0]
