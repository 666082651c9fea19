"""How several finetunings that are seen together are shown."""

from __future__ import annotations

import pytest

from made.results import by_others, changed, figure, lasting_svg, make_results, outline, page, with_adversaries
from tmi.report.figures.aucs import together_figure
from tmi.report.results import Results
from tmi.report.sections.summary import verdict


def seen_together(attacks: dict[str, float], names: tuple[str, ...] = ("deep", "a|<b>$x$")) -> Results:
    """Results where all attacks but `gaussian` and `direct` look at several finetunings."""
    results = make_results(attacks)
    numbers = [str(number) for number in range(1, 2 + len(names))]
    rows = {
        number: {name: figures.model_dump() for name, figures in row.items() if name not in ("gaussian", "direct")}
        for number, row in by_others(results, numbers).items()
    }
    last = f"together/figures/{numbers[-1]}/{next(iter(rows['1']))}/auc"
    results = changed(results, {"together": {"finetunings": ["digits", *names], "figures": rows}})
    return changed(results, {last: vars(figure(0.8765))})


def test_the_table_has_a_row_per_number_and_a_column_per_attack_that_looks_at_several() -> None:
    lines = with_adversaries(seen_together({"tmi": 0.9, "label-probe": 0.5, "gaussian": 0.4, "direct": 1.0}), 80)
    (start,) = [index for index, line in enumerate(lines) if "What several finetunings leak together" in line]
    rows = [line for line in lines[start:] if line.strip()[:2] in ("1:", "2:", "3:")]
    assert [row.split()[0] for row in rows] == ["1:", "2:", "3:"]
    assert "1: digits" in rows[0]
    assert "3: + a|<b>$x$" in rows[2]
    assert all(row.count("0.") == 2 for row in rows)
    assert "0.876" in rows[2]


@pytest.mark.parametrize("names", [("deep",), ("deep", "_a$x$", "c")])
def test_the_figure_is_the_same_bytes_every_time_and_names_all(names: tuple[str, ...]) -> None:
    results = seen_together({"tmi": 0.9, "_a$x$": 0.5, "gaussian": 0.4}, names)
    svg = lasting_svg(lambda: together_figure(results))
    for text in ("1", "2", "_a$x$", "AUC with 95% interval", "TPR@1%FPR with 95% interval"):
        assert f"{text}<" in svg
    assert "gaussian" not in svg


def test_the_page_has_a_section_only_where_several_are_seen_together() -> None:
    results = seen_together({"tmi": 0.9, "direct": 1.0})
    html = page(results)
    outline(html)
    for text in (
        "another projection of the same pretrained features",
        "+ a|&lt;b&gt;$x$",
    ):
        assert text in html
    assert "finetunings leak together" not in page(make_results({"tmi": 0.9}))


def test_the_verdict_says_what_all_of_them_give_away() -> None:
    sentence = "On all 3 finetunings of the same models together, tmi has AUC 0.876 [0.856, 0.896]."
    assert verdict(seen_together({"tmi": 0.9, "gaussian": 0.4})).endswith(sentence)
    other = verdict(seen_together({"gaussian": 0.4, "label-probe": 0.3}))
    assert "together, label-probe has AUC" in other
    assert "together" not in verdict(make_results({"tmi": 0.9}))
