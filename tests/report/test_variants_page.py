"""The finetunings' figure and their section of the page, from made-up results and from a run."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from made.results import changed, lasting_svg, make_results, outline, page
from made.variants import ATTACKS, difference, make_seven, make_variants, private, row
from tmi.config import Config
from tmi.report.blocks import Material
from tmi.report.document import write_report
from tmi.report.figures.aucs import variants_figure
from tmi.report.figures.style import png_bytes
from tmi.report.finetunings import finetunings
from tmi.report.results import Results
from tmi.runs import pipeline


@pytest.fixture
def results() -> Results:
    return make_seven()


# Figure


def test_the_figure_is_the_same_bytes_every_time_and_names_all(results: Results) -> None:
    results = changed(results, {"variants/rows/_a$x$": row("full")})
    svg = lasting_svg(lambda: variants_figure(results))
    for text in (
        "_a$x$",
        "epsilon-8",
        "head only, ε = 8",
        "head only, 60 points",
        "LoRA adapters",
        "83.1%",
        "accuracy",
    ):
        assert f">{text}</text>" in svg
    for name in (" tmi", " adapted-lira"):
        assert f">{name}</text>" in svg
    assert "direct" not in svg


def test_the_figure_has_every_auc_once_from_top_to_bottom(results: Results) -> None:
    axes = variants_figure(results).axes[0]
    main, baseline = (container[0] for container in axes.containers)
    expected = [each.auc.estimate for each in finetunings(results)]
    assert list(main.get_xdata()) == pytest.approx(expected)
    places = list(main.get_ydata())
    assert places == sorted(places)
    assert all(own < other for own, other in zip(places, baseline.get_ydata(), strict=True))
    bottom, top = axes.get_ylim()
    assert bottom > max(baseline.get_ydata())
    assert top < min(places)


def test_long_names_leave_the_figure_its_room() -> None:
    name = "a-very-long-name-" * 8
    rows = {name: row("last-12", private=private(0.123), points_per_model=12_345)}
    results = make_variants(rows, {name: difference("digits")})
    drawn = variants_figure(results)
    png_bytes(drawn)
    assert drawn.axes[0].get_position().width > 0.3


# Page


def test_the_page_has_a_row_for_every_finetuning(results: Results) -> None:
    html = page(results)
    outline(html)
    section = html[html.index("What other finetunings of the same models leak") :]
    section = section[: section.index("</section>")]
    rows = re.findall(r'<tr(?: class="default")?>\s*<th scope="row">([^<]*)<br><small>([^<]*)</small>', section)
    assert rows == [
        ("digits", "head only"),
        ("lora", "LoRA adapters"),
        ("full", "everything"),
        ("last-2", "last 2 blocks"),
        ("few", "head only, 60 points"),
        *[(name, "head only") for name in ("epsilon-inf", "epsilon-8", "epsilon-1")],
    ]
    assert section.count("to epsilon-inf</small>") == 2
    assert "<td>8<br><small>δ = 0.0002</small></td>" in section
    assert "<td>∞</td>" in section
    assert "<title>drawn: variants</title>" in section
    assert "What other finetunings" not in page(make_results(ATTACKS))


def test_the_page_names_another_downstream_task_and_escapes_names() -> None:
    hostile = "<script>x</script>"
    rows = {hostile: row("full", source="npz:<b>.npz", classes=7)}
    html = page(make_variants(rows, {hostile: difference("digits")}))
    assert outline(html).tags.count("script") == 1
    assert "everything, 7 classes of npz:&lt;b&gt;.npz" in html


def test_the_page_names_the_texts_that_models_write() -> None:
    perplexity = {"mean": 8.1, "sd": 0.1, "min": 8.0, "max": 8.3}
    rows = {"news": row("full", source="jsonl:news.jsonl", downstream_test_perplexity=perplexity)}
    html = page(make_variants(rows, {"news": difference("digits")}))
    assert "everything, texts of jsonl:news.jsonl" in html
    assert "Finetune everything, on texts of jsonl:news.jsonl (news)" in html


# From a run


def test_a_run_with_variants_writes_them_and_removes_what_is_no_longer_there(
    tiny: Callable[..., Config], tmp_path: Path
) -> None:
    names = ["gaussian", "adapted-lira"]
    config = tiny(attack__names=names, variants={"everything": {"finetune": {"transfer": "full"}}})
    pipeline.run_attack(config, tmp_path)
    assert json.loads((tmp_path / "results.json").read_text())["variants"]["attack"] == "gaussian"
    html = (tmp_path / "report.html").read_text()
    outline(html)
    assert '<th scope="row">everything<br><small>everything</small>' in html
    assert {path.name for path in tmp_path.glob("variants.*")} == {"variants.png", "variants.svg"}
    assert not list((tmp_path / "variants" / "everything").glob("variants.*"))
    assert "<img" not in html
    assert "Confidential" not in html
    pipeline.run_attack(config, tmp_path, show_points=True)
    for folder in (tmp_path, tmp_path / "variants" / "everything"):
        html = (folder / "report.html").read_text()
        assert html.count("<img") == len(json.loads((folder / "results.json").read_text())["points"]["most_exposed"])
        assert html.index("Confidential.") < html.index("<h1>")
    results = Results.load(tmp_path / "results.json")
    write_report(tmp_path, Material(results.model_copy(update={"variants": None})))
    assert not list(tmp_path.glob("variants.*"))
    assert "What other finetunings" not in (tmp_path / "report.html").read_text()
