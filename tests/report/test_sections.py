"""A section from outside the package, and blocks as every renderer shows them."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from matplotlib import figure
from rich.console import Console

from made.results import changed, make_results, outline
from tmi.report import sections
from tmi.report.blocks import (
    Block,
    Cell,
    Code,
    Column,
    Figure,
    Folded,
    Items,
    Material,
    Media,
    Muted,
    Note,
    Paragraph,
    Section,
    Strong,
    Table,
)
from tmi.report.document import write_report
from tmi.report.notebook import notebook_html
from tmi.report.results import Results
from tmi.report.terminal import show

HOSTILE = "<script>x</script>[b]"


def made_up(material: Material) -> Section:
    """All that another package's section may hold."""
    blocks: list[Block] = [
        Paragraph(("The headline attack is ", Strong(material.results.headline), Code("a.py"), Muted(HOSTILE))),
        Paragraph("A heading", "heading"),
        Note("finding", ["Found."]),
        Note("warning", ["Read with care."]),
        Note("refused", ["Not at all."]),
        Items([("", ["first"]), ("", [HOSTILE])]),
        Items([("name", ["said"]), ("several", ["one", ("two",)])]),
        Paragraph("line 1\nline 2", "verbatim"),
        Folded("Folded", [Paragraph("seldom read", "verbatim")]),
        Table([Column("Row", ["row", "last"]), Column("Figure", [Cell("0.5", ["[0.4, 0.6]", "by chance"]), "1"])]),
        Table(
            [
                Column("Point", list(map(str, range(20)))),
                Column("Label", [HOSTILE] * 20),
                Column("AUC", ["0.987"] * 20),
            ],
            is_long=True,
        ),
    ]
    return Section("Made up", blocks, Media.EVERYWHERE)


def shown_everywhere(results: Results, folder: Path) -> dict[str, str]:
    write_report(folder, Material(results))
    console = Console(file=io.StringIO(), width=80, color_system=None)
    show(sections.sections_of(Material(results)), console)
    assert isinstance(console.file, io.StringIO)
    return {
        "page": (folder / "report.html").read_text(),
        "markdown": (folder / "report.md").read_text(),
        "terminal": console.file.getvalue(),
        "notebook": notebook_html(results),
    }


def test_a_section_from_outside_is_shown_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sections, "ORDER", [*sections.ORDER[:4], made_up, *sections.ORDER[4:]])
    shown = shown_everywhere(make_results({"tmi": 0.6}), tmp_path)
    for medium, text in shown.items():
        for said in (
            "The headline attack is",
            "A heading",
            "Found.",
            "Read with care.",
            "first",
            "line 2",
            "seldom read",
        ):
            assert said in text, (medium, said)
        assert "Caution." in text
        assert "Refused." in text
        assert text.count("0.987") == (20 if "<table" in text else 12)
    for html in (shown["page"], shown["notebook"]):
        assert outline(html).tags.count("script") == (html is shown["page"])
        assert "<td>0.5<br><small>[0.4, 0.6]</small><br><small>by chance</small></td>" in html
    assert shown["page"].index("What was attacked") < shown["page"].index("<h2>Made up</h2>")
    assert "## Made up" in shown["markdown"]
    assert r"0.5 \[0.4, 0.6\] (by chance)" in shown["markdown"]
    assert "<script>" not in shown["markdown"]
    assert HOSTILE in shown["terminal"]


@pytest.mark.drawn
def test_a_figure_from_outside_has_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn(material: Material) -> Section:
        return Section("Drawn", [Figure("mine", figure.Figure, "an empty figure", "There is nothing in it.")])

    monkeypatch.setattr(sections, "ORDER", [*sections.ORDER, drawn])
    write_report(tmp_path, Material(make_results({"tmi": 0.6})))
    assert {path.name for path in tmp_path.glob("mine.*")} == {"mine.png", "mine.svg"}
    assert "There is nothing in it." in (tmp_path / "report.html").read_text()


def test_a_block_is_shown_only_where_it_is_meant_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def narrow(material: Material) -> Section:
        blocks = [Paragraph("For the page.", media=Media.PAGE), Paragraph("For the notebook.", media=Media.NOTEBOOK)]
        return Section("Narrow", blocks, Media.PAGE | Media.TERMINAL)

    monkeypatch.setattr(sections, "ORDER", [*sections.ORDER, narrow, lambda material: None])
    shown = shown_everywhere(make_results({"tmi": 0.6}), tmp_path)
    assert [medium for medium, text in shown.items() if "For the page." in text] == ["page"]
    assert not any("For the notebook." in text for text in shown.values())
    assert "Narrow" not in shown["markdown"]


def test_what_checks_of_the_input_found_comes_first(tmp_path: Path) -> None:
    notes = [{"level": "refused", "text": "No figure holds."}, {"level": "warning", "text": "<b>Few</b> points."}]
    results = changed(make_results({"tmi": 0.6}), {"notes": notes})
    shown = shown_everywhere(results, tmp_path)
    page, markdown, terminal = shown["page"], shown["markdown"], shown["terminal"]
    refused = '<p class="refused"><strong>Refused.</strong> No figure holds.</p>'
    assert page.index("</h1>") < page.index(refused) < page.index('class="warning"') < page.index('class="verdict"')
    assert "&lt;b&gt;Few" in page
    assert markdown.index("**Refused.** No figure") < markdown.index("**Caution.**") < markdown.index("Something leaks")
    assert (
        terminal.index("Refused. No figure") < terminal.index("Caution. <b>Few</b>") < terminal.index("The finetuned")
    )
    assert "Refused" in shown["notebook"]
    assert not any("Refused" in text for text in shown_everywhere(make_results({"tmi": 0.6}), tmp_path).values())
