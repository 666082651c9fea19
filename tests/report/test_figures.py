"""The ROC figure: its bytes, its axes, its text."""

from __future__ import annotations

import io
import re
from importlib import resources

import matplotlib
import numpy as np
import pytest
from PIL import Image

from made.results import by_others, changed, figure, lasting_svg, make_results, page, printed
from tmi.report.figures.aucs import views_figure
from tmi.report.figures.histogram import histogram_figure
from tmi.report.figures.members import members_figure
from tmi.report.figures.roc import live_curve, lowest_rate, roc_figure
from tmi.report.figures.style import DIRECT, HEADLINE, MEMBER, NON_MEMBER, line_styles, png_bytes, svg_text
from tmi.report.results import Results


@pytest.fixture
def results() -> Results:
    return make_results({"tmi": 0.6, "confidence": 0.1, "adapted-lira": 0.7, "direct": 1.0})


def test_figure_is_the_same_bytes_every_time(results: Results) -> None:
    lasting_svg(lambda: roc_figure(results))
    drawn = roc_figure(results)
    lasting_svg(lambda: drawn)


def test_figure_neither_reads_nor_changes_global_settings(results: Results) -> None:
    expected = png_bytes(roc_figure(results))
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red"}):
        before = dict(matplotlib.rcParams)
        assert png_bytes(roc_figure(results)) == expected
        assert dict(matplotlib.rcParams) == before


def test_png_has_twice_the_usual_resolution(results: Results) -> None:
    with Image.open(io.BytesIO(png_bytes(roc_figure(results)))) as image:
        assert image.size[0] == 1040


def test_svg_keeps_its_text_and_carries_no_date(results: Results) -> None:
    svg = svg_text(roc_figure(results))
    assert ">False positive rate</text>" in svg
    assert ">True positive rate</text>" in svg
    assert "10 of 9,600 non-members" in svg
    assert "Members found at each false positive rate (digits, 64 models)" in svg
    assert "<dc:date>" not in svg
    labels = re.findall(r">(0\.\d{3} \[.*?)</text>", svg)
    assert [label.split()[3] for label in labels] == [*results.ranked, "direct"]


def test_curves_begin_where_the_data_resolve_them() -> None:
    starts = [
        roc_figure(make_results({"tmi": 0.6}, non_members)).axes[0].get_xlim()[0]
        for non_members in (10, 400, 9_500, 5_000_000)
    ]
    assert starts == pytest.approx([0.5, 9.5 / 400, 1e-3, 1e-5])
    assert "non-members" not in svg_text(roc_figure(make_results({"tmi": 0.6}, non_members=5_000_000)))


def test_a_reader_moves_along_what_is_shown_of_the_curve_and_meets_the_rates_of_the_table(results: Results) -> None:
    rates = live_curve(results)["rates"]
    assert all(lowest_rate(results) <= rate[0] < 1 for rate in rates)
    assert rates == sorted(rates)
    found = results.main.tpr_at_fpr["0.01"]
    assert [0.01, *(float(f"{value:.4g}") for value in (found.estimate, found.low, found.high))] in rates


def test_100_members_are_filled_or_ringed_as_they_are_found(results: Results) -> None:
    results = changed(results, {"attacks/tmi/tpr_at_fpr/0.01": figure(0.126, 0.022)})
    drawn = members_figure(results, "0.01")
    counts = [[len(each.get_offsets()) for each in axes.collections] for axes in drawn.axes if axes.collections]
    assert counts == [[100, 13, 5], [100, 1, 0]]
    svg = lasting_svg(lambda: members_figure(results, "0.01"))
    for text in ("13 of 100", "10 to 15, the rings)", "1 of 100", "non-members is", "1 of the members"):
        assert text in svg


def test_every_colour_of_a_figure_has_one_for_dark_pages(results: Results) -> None:
    css = (resources.files("tmi.report") / "templates" / "style.css.j2").read_text()
    results = changed(results, {"views": by_others(results, ["logits", "label"])})
    for drawn in (
        roc_figure(results),
        histogram_figure(results),
        members_figure(results, "0.01"),
        views_figure(results),
    ):
        styles = " ".join(re.findall('style="([^"]*)"', svg_text(drawn)))
        assert {colour for colour in re.findall("#([0-9a-f]{6})", styles) if f"--c-{colour}:" not in css} == set()


def test_no_attack_has_a_colour_that_means_something_else() -> None:
    names = [f"attack-{number}" for number in range(20)]
    styles = line_styles(make_results({"tmi": 0.6, "direct": 1.0} | dict.fromkeys(names, 0.1)))
    assert styles["tmi"]["color"] == HEADLINE
    assert not {HEADLINE, MEMBER, NON_MEMBER, DIRECT} & {styles[name]["color"] for name in names}


def test_names_are_not_mathematics() -> None:
    assert "a$x$_{&lt;b&gt;" in svg_text(roc_figure(make_results({"a$x$_{<b>": 0.6, "_hidden": 0.1})))


def test_twenty_attacks_have_twenty_lines_in_legend_and_table() -> None:
    others = {f"attack-{index}": 0.03 * index for index in range(18)}
    results = make_results({"tmi": 0.6, **others, "direct": 1.0})
    legend = svg_text(roc_figure(results)).split('id="legend_1"')[1]
    assert len(set(re.findall(r'style="(fill: none; [^"]*)"', legend))) == 20
    assert sum(line.startswith(("tmi ", "attack-", "direct ")) for line in printed(results)) == 20
    table, compared = page(results).split("Differential privacy")[0].split("Is tmi better than the others?")
    assert table.count('<th scope="row">attack-') == compared.count('<th scope="row">attack-') == 18


def test_only_the_attack_of_the_verdict_has_a_band_and_it_is_the_simultaneous_one(results: Results) -> None:
    bands = [band for band in roc_figure(results).axes[0].collections if len(band.get_paths())]
    (band,) = bands
    top = band.get_paths()[0].vertices[:, 1].max()
    assert top == pytest.approx(max(results.main.roc.band_high))
    heights = set(np.round(band.get_paths()[0].vertices[:, 1], 12))
    assert set(np.round(results.main.roc.band_low, 12)) <= heights


def test_the_histogram_shows_shares_of_each_group(results: Results) -> None:
    counts = {"edges": [0, 1, 2], "members": [1, 3], "non_members": [30, 10]}
    results = changed(results, {"attacks/tmi/histogram": counts})
    drawn = histogram_figure(results)
    lasting_svg(lambda: histogram_figure(results))
    values = [list(patch.get_data().values) for patch in drawn.axes[0].patches]
    assert values == [[0.75, 0.25]] * 2 + [[0.25, 0.75]] * 2
    assert "Score of a$x$" in svg_text(histogram_figure(make_results({"a$x$": 0.6})))
