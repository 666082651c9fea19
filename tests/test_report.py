"""The report: table, verdict, ROC figure and page, made from a results.json with Gaussian scores."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from statistics import NormalDist
from typing import Any

import matplotlib
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from tmi.report.figures import png_bytes, roc_figure, svg_text
from tmi.report.page import (
    LONGEST_SIDE,
    LONGEST_TEXT,
    Exhibit,
    expected_extreme,
    png_of_image,
    render_page,
    training_warnings,
)
from tmi.report.table import results_table, verdict
from tmi.report.wording import duration, headline, percent, ranked, tpr, tpr_interval, tpr_label

NORMAL = NormalDist()
RATES = ("0.001", "0.01", "0.05", "0.1")
VOID_TAGS = {"br", "img", "meta"}


def figure(estimate: float, half_width: float = 0.02, resolvable: bool = True) -> dict[str, Any]:
    low, high = estimate - half_width, estimate + half_width
    return {"estimate": estimate, "low": low, "high": high, "resolvable": resolvable}


def attack(shift: float, non_members: int) -> dict[str, Any]:
    """An attack whose scores are N(0, 1) for non-members and N(shift, 1) for members."""

    def true_positive_rate(rate: float) -> float:
        return 1 - NORMAL.cdf(NORMAL.inv_cdf(1 - rate) - shift)

    grid = np.logspace(-5, -1e-6, 60)
    curve = np.array([true_positive_rate(rate) for rate in grid])
    return {
        "summary": "a likelihood ratio",
        "source": "Someone, 2020",
        "needs": "shadow models",
        "auc": figure(NORMAL.cdf(shift / 2**0.5)),
        "balanced_accuracy": figure(NORMAL.cdf(shift / 2)),
        "tpr_at_fpr": {
            rate: figure(true_positive_rate(float(rate)), 0.0005, resolvable=float(rate) * non_members >= 1)
            for rate in RATES
        },
        "seconds": 3.2,
        "upper_bound": False,
        "neutral": 0,
        "roc": {"fpr": grid, "tpr": curve, "low": 0.8 * curve, "high": np.minimum(1, 1.2 * curve)},
    }


def make_results(shifts: dict[str, float], non_members: int = 9600, points: int = 3) -> dict[str, Any]:
    accuracy = {"mean": 0.9, "sd": 0.01, "min": 0.88, "max": 0.92}
    attacks = {name: attack(shift, non_members) for name, shift in shifts.items()}
    if "direct" in attacks:
        attacks["direct"]["upper_bound"] = True
    return {
        "schema": 1,
        "name": "digits",
        "description": "Small networks pretrained on digits.",
        "seed": 7,
        "version": "0.1.0",
        "attacks": attacks,
        "models": {
            "count": 64,
            "targets": 64,
            "pretraining_train_accuracy": accuracy,
            "pretraining_test_accuracy": accuracy,
            "downstream_train_accuracy": accuracy,
            "downstream_test_accuracy": accuracy,
        },
        "stages": {"pretrain": 12.3, "attack": 125.0},
        "data": {
            "pool": {"source": "sklearn:digits", "points": 300, "classes": 10, "duplicates": 2},
            "downstream": {
                "source": "sklearn:digits",
                "points": 1000,
                "classes": 5,
                "points_per_model": 500,
                "transfer": "head",
            },
            "challenge_points": 300,
            "queries_per_point": 5,
            "members": non_members,
            "non_members": non_members,
        },
        "evaluation": {"confidence": 0.95, "resamples": 1000},
        "points": {
            "attack": "tmi",
            "most_exposed": [
                {
                    "point": 17 + index,
                    "label": "7",
                    "auc": 0.93,
                    "mean_in": 1.2,
                    "mean_out": -0.3,
                    "targets_in": 31,
                    "targets_out": 33,
                }
                for index in range(points)
            ],
        },
    }


@pytest.fixture
def results() -> dict[str, Any]:
    return make_results({"tmi": 0.6, "confidence": 0.1, "adapted-lira": 0.7, "direct": 1.0})


def printed(results: dict[str, Any], width: int = 80) -> list[str]:
    console = Console(width=width, file=io.StringIO(), color_system=None, legacy_windows=False)
    console.print(results_table(results, width))
    output = console.file
    assert isinstance(output, io.StringIO)
    return [line.rstrip() for line in output.getvalue().splitlines()]


def page(results: dict[str, Any], exhibits: list[Exhibit] | None = None, config: str = 'name = "x"') -> str:
    return render_page(results, exhibits or [], svg_text(roc_figure(results)), config)


class Outline(HTMLParser):
    """Checks that every tag is closed in order; collects attributes and text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID_TAGS:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def outline(html: str) -> Outline:
    parser = Outline()
    parser.feed(html)
    parser.close()
    assert parser.open == []
    return parser


# Table


def test_table_fits_80_columns_with_one_line_per_attack(results: dict[str, Any]) -> None:
    lines = printed(results)
    assert max(map(len, lines)) <= 80
    rows = [line.split() for line in lines if line.startswith(tuple(results["attacks"]))]
    assert " ".join(rows[0]) == "adapted-lira 0.690 [0.670, 0.710] 63.7% 0.84% 5.2% 17.2% 28.0%"
    assert [row[0] for row in rows] == ["adapted-lira", "tmi", "confidence", "direct", "direct:"]


def test_upper_bound_stands_below_a_gap_even_though_it_is_highest(results: dict[str, Any]) -> None:
    lines = printed(results)
    row = next(index for index, line in enumerate(lines) if line.startswith("direct "))
    assert lines[row - 1] == ""
    assert lines[row - 2].startswith("confidence")


def test_table_headers_carry_their_unit(results: dict[str, Any]) -> None:
    assert [tpr_label(rate) for rate in RATES] == ["TPR@0.1%FPR", "TPR@1%FPR", "TPR@5%FPR", "TPR@10%FPR"]
    assert printed(results)[1].split()[-4:] == ["0.1%FPR", "1%FPR", "5%FPR", "10%FPR"]


@pytest.mark.parametrize(("width", "columns"), [(80, 7), (70, 6), (60, 5), (45, 3), (36, 2)])
def test_narrow_terminals_get_fewer_columns(results: dict[str, Any], width: int, columns: int) -> None:
    assert len(results_table(results, width).columns) == columns
    assert max(map(len, printed(results, width))) <= width


def test_unresolvable_rate_is_a_dash_with_a_footnote() -> None:
    results = make_results({"tmi": 0.6}, non_members=400)
    lines = printed(results)
    assert next(line for line in lines if line.startswith("tmi")).split()[5] == "–"
    assert lines[-1] == "– not resolvable with 400 non-members"
    assert "–" not in "".join(printed(make_results({"tmi": 0.6})))


def test_names_are_not_console_markup() -> None:
    assert any("[red]x[/red]" in line for line in printed(make_results({"[red]x[/red]": 0.6})))


# Verdict


def test_verdict_on_a_leak_speaks_of_the_default_attack_not_of_the_best(results: dict[str, Any]) -> None:
    assert verdict(results) == (
        "The finetuned models leak their pretraining data: tmi tells members from non-members with "
        "AUC 0.664 [0.644, 0.684] (95% interval; 0.5 = coin flip) and finds 4.2% of the members at 1% false "
        "positives."
    )


def test_verdict_without_a_leak() -> None:
    assert verdict(make_results({"tmi": 0.0})) == (
        "No leak was shown: tmi has AUC 0.500 [0.480, 0.520] (95% interval; 0.5 = coin flip); this is not "
        "proof of its absence."
    )


def test_verdict_without_a_leak_does_not_hide_another_attack() -> None:
    results = make_results({"tmi": 0.0, "gaussian": 0.6, "direct": 2.0})
    assert verdict(results).startswith("No leak was shown: tmi")
    assert verdict(results).endswith(" gaussian, another attack, suggests a leak: AUC 0.664 [0.644, 0.684].")


def test_verdict_without_a_leak_does_not_hide_a_few_exposed_members() -> None:
    results = make_results({"tmi": 0.0})
    results["attacks"]["tmi"]["tpr_at_fpr"]["0.01"] = figure(0.04, 0.01)
    assert "But at 1% false positives tmi finds 4.0% [3.0%, 5.0%] of the members" in verdict(results)
    results["attacks"]["tmi"]["tpr_at_fpr"]["0.01"]["resolvable"] = False
    assert "But" not in verdict(results)


def test_verdict_does_not_take_the_upper_bound_for_a_leak() -> None:
    assert "But" not in verdict(make_results({"tmi": 0.0, "direct": 2.0}))
    assert verdict(make_results({"direct": 2.0})).startswith("Only an upper bound was measured")


def test_verdict_below_chance_points_to_reversed_input() -> None:
    assert "reversed" in verdict(make_results({"tmi": -0.6}))


def test_verdict_falls_back_to_the_next_resolvable_rate() -> None:
    assert verdict(make_results({"tmi": 0.6}, non_members=50)).endswith(
        "finds 14.8% of the members at 5% false positives."
    )
    assert verdict(make_results({"tmi": 0.6}, non_members=5)).endswith("coin flip).")


def test_headline_is_fixed_before_the_outcome() -> None:
    assert headline(make_results({"gaussian": 0.1, "tmi": 0.0})) == "tmi"
    assert headline(make_results({"direct": 2.0, "gaussian": 0.1, "confidence": 0.9})) == "gaussian"


# Wording


def test_percentages_show_two_digits_at_chance() -> None:
    assert percent(0.1163) == "11.6%"
    assert [tpr(figure(float(rate)), rate) for rate in ("0.0001", *RATES)] == [
        "0.010%",
        "0.10%",
        "1.0%",
        "5.0%",
        "10.0%",
    ]
    assert tpr_interval(figure(0.05, 0.01), "0.01") == "[4.0%, 6.0%]"
    assert tpr_interval(figure(0.05, 0.01, resolvable=False), "0.01") == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3.21, "3.2 s"), (59.96, "1 min 0 s"), (725, "12 min 5 s"), (3599.9, "1 h 0 min"), (7440, "2 h 4 min")],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


# Figure


def test_figure_is_the_same_bytes_every_time(results: dict[str, Any]) -> None:
    assert png_bytes(roc_figure(results)) == png_bytes(roc_figure(results))
    assert svg_text(roc_figure(results)) == svg_text(roc_figure(results))
    drawn = roc_figure(results)
    assert (svg_text(drawn), png_bytes(drawn)) == (svg_text(drawn), png_bytes(drawn))


def test_figure_neither_reads_nor_changes_global_settings(results: dict[str, Any]) -> None:
    expected = png_bytes(roc_figure(results))
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red"}):
        before = dict(matplotlib.rcParams)
        assert png_bytes(roc_figure(results)) == expected
        assert dict(matplotlib.rcParams) == before


def test_png_has_twice_the_usual_resolution(results: dict[str, Any]) -> None:
    with Image.open(io.BytesIO(png_bytes(roc_figure(results)))) as image:
        assert image.size == (1280, 1080)


def test_svg_keeps_its_text_and_carries_no_date(results: dict[str, Any]) -> None:
    svg = svg_text(roc_figure(results))
    assert ">False positive rate</text>" in svg
    assert ">True positive rate</text>" in svg
    assert "below 1 / 9,600 non-members" in svg
    assert "<dc:date>" not in svg
    labels = re.findall(r">(0\.\d{3} \[.*?)</text>", svg)
    assert [label.split()[3] for label in labels] == [*ranked(results), "direct"]


def test_axes_reach_below_the_lowest_resolvable_rate() -> None:
    starts = [
        roc_figure(make_results({"tmi": 0.6}, non_members)).axes[0].get_xlim()[0]
        for non_members in (10, 400, 10_000, 5_000_000)
    ]
    assert starts == pytest.approx([1e-2, 1e-3, 1e-5, 1e-5])


def test_nothing_is_hatched_where_every_visible_rate_is_resolvable() -> None:
    assert "non-members" not in svg_text(roc_figure(make_results({"tmi": 0.6}, non_members=5_000_000)))


def test_names_are_not_mathematics() -> None:
    assert "a$x$_{&lt;b&gt;" in svg_text(roc_figure(make_results({"a$x$_{<b>": 0.6, "_hidden": 0.1})))


def test_twenty_attacks_have_twenty_lines_in_legend_and_table() -> None:
    others = {f"attack-{index}": 0.03 * index for index in range(18)}
    results = make_results({"tmi": 0.6, **others, "direct": 1.0})
    legend = svg_text(roc_figure(results)).split('id="legend_1"')[1]
    assert len(set(re.findall(r'style="(fill: none; [^"]*)"', legend))) == 20
    assert sum(line.startswith(("tmi ", "attack-", "direct ")) for line in printed(results)) == 20
    assert page(results).count('<th scope="row">attack-') == 18


# Page


def test_page_is_balanced_and_refers_to_nothing_outside(results: dict[str, Any]) -> None:
    image = Exhibit("image", np.eye(8))
    parsed = outline(page(results, [image, Exhibit("text", "words"), Exhibit("vector", np.arange(3.0))]))
    references = [value for _, name, value in parsed.attributes if name in ("src", "href", "xlink:href")]
    assert len(references) > 1
    assert all(value.startswith(("data:image/png;base64,", "#")) for value in references)
    assert not {"script", "link", "iframe", "object"} & set(parsed.tags)
    assert "url(" not in re.sub(r"url\(#\w+\)", "", page(results))


def test_page_states_every_rate_with_its_interval(results: dict[str, Any]) -> None:
    html = page(results)
    assert verdict(results) in html
    for label in ("TPR@0.1%FPR", "TPR@1%FPR", "TPR@5%FPR", "TPR@10%FPR"):
        assert f'<th scope="col">{label}</th>' in html
    for rate, estimate in results["attacks"]["tmi"]["tpr_at_fpr"].items():
        assert f"<td>{tpr(estimate, rate)}<br><small>{tpr_interval(estimate, rate)}</small></td>" in html


def test_page_escapes_what_users_wrote(results: dict[str, Any]) -> None:
    hostile = "<script>alert(1)</script>"
    results["name"] = results["description"] = hostile
    results["points"]["most_exposed"][0]["label"] = hostile
    results["attacks"][hostile] = results["attacks"].pop("confidence")
    results["stages"][hostile] = 1.0
    html = page(results, [Exhibit("text", hostile)] * 3, config=f"# {hostile}")
    parsed = outline(html)
    assert "script" not in parsed.tags
    # Title, heading, description, label, table, legend, attack, stage, configuration and three exhibits.
    assert sum(hostile in text for text in parsed.text) == 12


def test_page_shows_an_unresolvable_rate_as_a_dash() -> None:
    html = page(make_results({"tmi": 0.6}, non_members=400))
    assert "<td>–</td>" in html
    assert "– not resolvable with 400 non-members" in html


def test_page_sets_the_upper_bound_apart(results: dict[str, Any]) -> None:
    attacks, bound = page(results).split('<tbody class="bound">')
    assert '<th scope="row">direct</th>' in bound
    assert '<th scope="row">direct</th>' not in attacks
    assert '<tbody class="bound">' not in page(make_results({"tmi": 0.6}))


def test_page_with_one_attack_and_no_point() -> None:
    html = page(make_results({"gaussian": 0.6}, points=0))
    outline(html)
    assert "No point was ranked." in html


def test_page_shows_points_without_exhibits(results: dict[str, Any]) -> None:
    html = page(results)
    assert [f"<strong>Point {point}</strong>, label 7" in html for point in (17, 18, 19)] == [True] * 3
    assert "<dd>−0.30</dd>" in html
    assert "<img" not in html


def test_page_refuses_a_wrong_number_of_exhibits(results: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="got 1 exhibits, expected one for each of the 3 points"):
        page(results, [Exhibit("text", "alone")])


def test_page_reports_neutral_scores(results: dict[str, Any]) -> None:
    assert "neutral scores" not in page(results)
    results["attacks"]["tmi"]["neutral"] = 1200
    assert "1,200 neutral scores" in page(results)


def test_page_is_the_same_every_time(results: dict[str, Any]) -> None:
    exhibits = [Exhibit("image", np.eye(8))] * 3
    assert page(results, exhibits) == page(results, exhibits)


# Warnings and noise


@pytest.mark.parametrize(
    ("accuracy", "lowest", "expected"),
    [(0.9, 0.88, []), (0.9, 0.11, ["At least one model has"]), (0.12, 0.09, ["The pretraining test"])],
)
def test_models_that_did_not_learn_are_named(accuracy: float, lowest: float, expected: list[str]) -> None:
    results = make_results({"tmi": 0.6})
    results["models"]["pretraining_test_accuracy"] = {"mean": accuracy, "sd": 0.1, "min": lowest, "max": 0.95}
    sentences = training_warnings(results)
    assert len(sentences) == len(expected)
    assert all(sentence.startswith(start) for sentence, start in zip(sentences, expected, strict=True))
    assert all(sentence in page(results) for sentence in sentences)


@pytest.mark.parametrize(
    ("classes", "accuracy", "warned"),
    [(2, 0.54, True), (2, 0.6, False), (100, 0.015, True), (100, 0.05, False)],
)
def test_near_chance_depends_on_the_number_of_classes(classes: int, accuracy: float, warned: bool) -> None:
    results = make_results({"tmi": 0.6})
    results["data"]["downstream"]["classes"] = classes
    summary = {"mean": accuracy, "sd": 0.0, "min": accuracy, "max": accuracy}
    results["models"]["downstream_test_accuracy"] = summary
    assert bool(training_warnings(results)) == warned


def test_expected_extreme_agrees_with_simulated_noise() -> None:
    generator = np.random.default_rng(0)
    highest = []
    for _ in range(40):
        ranks = generator.random((300, 64)).argsort(axis=1).argsort(axis=1) + 1
        wins = ranks[:, :31].sum(axis=1) - 31 * 32 / 2
        highest.append((wins / (31 * 33)).max())
    assert expected_extreme(make_results({"tmi": 0.6})) == pytest.approx(np.mean(highest), abs=0.015)


def test_expected_extreme_needs_points_and_is_an_auc() -> None:
    results = make_results({"tmi": 0.6}, points=0)
    assert expected_extreme(results) is None
    results = make_results({"tmi": 0.6})
    results["points"]["most_exposed"][0].update(targets_in=1, targets_out=2)
    assert expected_extreme(results) == 1.0


# Exhibits


def decoded(image: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:
    with Image.open(io.BytesIO(png_of_image(np.asarray(image)))) as picture:
        return np.asarray(picture)


def test_floats_and_bytes_make_the_same_image() -> None:
    pixels = np.array([[0, 51, 255]], dtype=np.uint8)
    np.testing.assert_array_equal(decoded(pixels), pixels)
    np.testing.assert_array_equal(decoded(pixels / 255), pixels)
    np.testing.assert_array_equal(decoded([[-0.5, 0.2, 3.0]]), pixels)
    np.testing.assert_array_equal(decoded([[np.nan, 0.2, np.inf]]), pixels)


def test_channels_may_come_first_or_last() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    np.testing.assert_array_equal(decoded(pixels), pixels)
    np.testing.assert_array_equal(decoded(np.moveaxis(pixels, 2, 0)), pixels)
    np.testing.assert_array_equal(decoded(pixels[None, :, :, 0]), pixels[:, :, 0])
    np.testing.assert_array_equal(decoded(pixels[:, :, :1]), pixels[:, :, 0])


def test_other_channels_are_averaged() -> None:
    image = np.stack([np.zeros((4, 6)), np.ones((4, 6))])
    np.testing.assert_array_equal(decoded(image), np.full((4, 6), 128))


def test_large_images_are_shrunk_and_keep_their_proportions() -> None:
    assert decoded(np.zeros((2 * LONGEST_SIDE, LONGEST_SIDE))).shape == (LONGEST_SIDE, LONGEST_SIDE // 2)


def test_image_of_a_wrong_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"has the shape \[4\]"):
        png_of_image(np.zeros(4))


def test_image_is_embedded_as_its_png(results: dict[str, Any]) -> None:
    image = np.random.default_rng(0).random((8, 8))
    encoded = base64.b64encode(png_of_image(image)).decode()
    assert page(results, [Exhibit("image", image)] * 3).count(f"data:image/png;base64,{encoded}") == 3


def test_long_texts_and_vectors_are_cut_and_say_so() -> None:
    html = Exhibit("text", "x" * (LONGEST_TEXT + 1000)).html
    assert html == f"<blockquote>{'x' * LONGEST_TEXT} … (1,600 characters)</blockquote>"
    assert Exhibit("text", "short").html == "<blockquote>short</blockquote>"
    assert Exhibit("vector", np.arange(3.0)).html == "<code>0, 1, 2</code>"
    assert Exhibit("vector", np.ones(2048)).html.endswith("1, … (2,048 values)</code>")
