"""The page: what it states, what it escapes, what points look like on it."""

from __future__ import annotations

import base64
import io
import math
import re
from typing import Any

import numpy as np
import pytest
from PIL import Image

from made.results import as_saved, changed, make_results, outline, page, with_target
from tmi.errors import visible
from tmi.metrics.estimate import Estimate
from tmi.report.exhibits import LONGEST_SIDE, LONGEST_TEXT, Exhibit, png_of_image
from tmi.report.results import Results
from tmi.report.sections.models import MOST_NAMED, training_warnings
from tmi.report.sections.points import expected_extreme
from tmi.report.sections.summary import verdict
from tmi.report.wording import tpr, tpr_interval


@pytest.fixture
def results() -> Results:
    return make_results({"tmi": 0.6, "confidence": 0.1, "adapted-lira": 0.7, "direct": 1.0})


def test_page_is_balanced_and_refers_to_nothing_outside(results: Results) -> None:
    image = Exhibit("image", np.eye(8))
    exhibits = [image, Exhibit("text", "words"), Exhibit("vector", np.arange(3.0))]
    parsed = outline(page(results, exhibits, drawn=["roc"]))
    references = [value for _, name, value in parsed.attributes if name in ("src", "href", "xlink:href")]
    assert len(references) > 1
    assert all(value.startswith(("data:image/png;base64,", "#")) for value in references)
    assert not {"link", "iframe", "object"} & set(parsed.tags)
    assert parsed.tags.count("script") == 1
    assert "url(" not in re.sub(r"url\(#\w+\)", "", page(results, drawn=["roc"]))


def test_page_states_every_rate_with_its_interval(results: Results) -> None:
    html = page(results)
    assert verdict(results) in html
    for label in ("TPR@0.1%FPR", "TPR@1%FPR", "TPR@5%FPR", "TPR@10%FPR"):
        assert re.search(f'<th scope="col"[^>]*>{label}</th>', html)
    for rate, estimate in results.main.tpr_at_fpr.items():
        assert f">{tpr(estimate, rate)}<br><small>{tpr_interval(estimate, rate)}</small></td>" in html


def test_page_escapes_what_users_wrote() -> None:
    hostile = "<script>alert(1)</script>"
    results = make_results({"tmi": 0.6, hostile: 0.1, "adapted-lira": 0.7, "direct": 1.0})
    places = ["name", "description", "points/most_exposed/0/label"]
    results = changed(results, dict.fromkeys(places, hostile) | {"stages": {hostile: 1.0}})
    html = page(results, [Exhibit("text", hostile)] * 3, config=f"# {hostile}", drawn=["roc"])
    parsed = outline(html)
    assert parsed.tags.count("script") == 1
    # Title, heading, description, label, table, legend, title of the figure, comparison, attack, stage, configuration
    # and 3 exhibits.
    assert sum(hostile in text for text in parsed.text) == 14


def test_tokens_are_shaded_by_what_membership_moved() -> None:
    results, text = make_results({"tmi": 0.6}), "<b>é\x00 " + "x" * 3000
    tokens = [(0, math.nan), (3, 1.5), (4, -9.0), (4, 2.0), (5, math.nan), (6, 0.0), (2500, 1.0)]
    html = page(results, [Exhibit("text", text, tokens)] * 3)
    parsed = outline(html)
    marks = [value for tag, name, value in parsed.attributes if tag == "mark" and name in ("class", "style", "title")]
    assert marks[:6] == ["more", "--share: 50%", "+1.50", "less", "--share: 100%", "-9.00"]
    assert parsed.tags.count("mark") == 9
    assert "b" not in parsed.tags
    assert "&lt;b&gt;</mark>" in html
    assert "\x00" not in html
    assert "x" * 2001 not in html
    assert "(3,006 characters)" in html
    assert "Shades: how membership moved each token" in html


def test_page_shows_an_unresolvable_rate_as_a_dash() -> None:
    html = page(make_results({"tmi": 0.6}, non_members=400))
    assert "<td>–</td>" in html
    assert "– not resolvable with 400 non-members" in html


def test_page_sets_direct_access_apart(results: Results) -> None:
    attacks, bound = page(results).split('<tbody class="bound">')
    assert '<th scope="row">direct</th>' in bound
    assert '<th scope="row">direct</th>' not in attacks
    assert '<tbody class="bound">' not in page(make_results({"tmi": 0.6}))


def test_page_with_one_attack_and_no_point() -> None:
    html = page(make_results({"gaussian": 0.6}, points=0))
    outline(html)
    assert "No point was ranked." in html


def test_page_shows_points_without_exhibits(results: Results) -> None:
    html = page(results)
    assert [f'<th scope="row">{point}</th><td>7</td>' in html for point in (17, 18, 19)] == [True] * 3
    assert ">−0.30 (33)</td>" in html
    assert ">[0.86, 0.97]</td>" in html
    assert "<img" not in html
    assert "Confidential" not in html


def test_a_page_that_shows_points_begins_with_why_it_is_confidential(results: Results) -> None:
    html = page(results, [Exhibit("text", "words")] * 3)
    assert "This page shows 3 points as they are" in html.split("<body>")[1].split("<h1>")[0]


def test_page_refuses_a_wrong_number_of_exhibits(results: Results) -> None:
    with pytest.raises(ValueError, match="got 1 exhibits, expected one for each of the 3 points"):
        page(results, [Exhibit("text", "alone")])


def test_page_reports_neutral_scores(results: Results) -> None:
    assert "neutral scores" not in page(results)
    results = changed(results, {"attacks/tmi/neutral": 1200})
    assert "1,200 neutral scores" in page(results)


def test_page_compares_the_attacks_in_pairs(results: Results) -> None:
    results = changed(
        results,
        {
            "comparisons/confidence/auc": Estimate(0.136, 0.1, 0.17),
            "comparisons/direct/auc": Estimate(-0.03, -0.07, 0.004),
        },
    )
    html = page(results)
    compared = html[html.index("Is tmi better than the others?") :]
    assert "<td>+0.136*<br><small>[+0.100, +0.170]</small>" in compared
    assert "<td>−0.030<br><small>[−0.070, +0.004]</small>" in compared
    assert "better than the others" not in page(make_results({"gaussian": 0.6}))


def test_page_does_not_compare_rates_that_cannot_be_resolved() -> None:
    html = page(make_results({"tmi": 0.6, "gaussian": 0.3}, non_members=40))
    compared = html.split("Is tmi better than the others?")[1]
    row = compared.split('<tr><th scope="row">gaussian</th>')[1].split("</tr>")[0]
    assert "<td>–</td>" in row


def test_page_is_the_same_every_time(results: Results) -> None:
    exhibits = [Exhibit("image", np.eye(8))] * 3
    assert page(results, exhibits, drawn=["roc"]) == page(results, exhibits, drawn=["roc"])


def test_a_point_says_how_sure_its_exposure_is(results: Results) -> None:
    html = page(results)
    for text in (">[0.86, 0.97]</td>", "<td>0.0032</td>", "Of 298 points, 41 are exposed beyond chance"):
        assert text in html
    results = changed(results, {"points/most_exposed/0/low": None, "points/most_exposed/0/high": None})
    assert ">–</td>" in page(results).split("Most exposed points")[1]
    results = changed(results, {"points/exposed/count": 0})
    assert "Of 298 points, none is exposed beyond chance" in page(results)


def test_the_bound_names_its_stage_and_is_never_rounded_up(results: Results) -> None:
    results = changed(results, {"attacks/tmi/epsilon/lower_bound": 0.9999})
    html = page(results)
    assert "If the pretraining had been differentially private with an ε below 0.99, tmi could not" in html
    assert "(95% confidence, δ = 0)" in html
    assert "It is no promise" in html
    results = changed(results, {"attacks/tmi/epsilon/lower_bound": 0.0})
    assert "tmi rules no promise out" in page(results)
    results = changed(results, {f"attacks/{name}/epsilon": None for name in results.attacks})
    assert "No lower bound on ε could be computed for tmi." in page(results)
    outline(page(results))


def test_a_target_is_reported_without_an_auc(results: Results) -> None:
    targeted = with_target(results, suspects=40)
    html = page(targeted)
    outline(html)
    assert "their-model: of 300 points, 21 are called members of its pretraining data" in html
    assert "about 3 would be called by chance alone" in html
    assert "Shadow models played as the target leak" in html
    section = html.split("<h2>The target")[1].split("</section>")[0]
    assert not re.search(r"AUC [0-9]|<th[^>]*>AUC", section)
    assert section.count('<th scope="row">1') == 40
    assert "their-model" not in page(results)


def test_an_audit_of_saved_predictions_has_files_and_no_models() -> None:
    html = page(as_saved(make_results({"tmi": 0.6})), config="")
    outline(html)
    for text in ("/data/answers.npy", "12" * 32, "64 × 300 × 5 × 10", "logits of 64 models at 300 points", "on trust"):
        assert text in html
    for text in ("How well the models learned", "Pretraining pool", "Larger pools", "config.toml"):
        assert text not in html


def test_the_page_says_where_it_comes_from(results: Results) -> None:
    html = page(results)
    for text in ("numpy 2.1.0, torch 2.8.0", "ab" * 32, "ef" * 32, "Linux, x86_64, 2 cores", "2 min 17 s"):
        assert text in html


# Warnings and noise


@pytest.mark.parametrize(
    ("accuracy", "lowest", "expected"),
    [(0.9, 0.88, []), (0.9, 0.11, ["At least one model has"]), (0.12, 0.09, ["The pretraining test"])],
)
def test_models_that_did_not_learn_are_named(accuracy: float, lowest: float, expected: list[str]) -> None:
    summary = {"mean": accuracy, "sd": 0.1, "min": lowest, "max": 0.95}
    results = changed(make_results({"tmi": 0.6}), {"models/pretraining_test_accuracy": summary})
    sentences = training_warnings(results)
    assert len(sentences) == len(expected)
    assert all(sentence.startswith(start) for sentence, start in zip(sentences, expected, strict=True))
    assert all(sentence in page(results) for sentence in sentences)


@pytest.mark.parametrize(
    ("models", "beginning"),
    [
        ([5], "Model 5 did not learn the downstream task: on its"),
        ([3, 17], "Models 3 and 17 did not learn the downstream task: on their"),
        ([1, 2, 3], "Models 1, 2 and 3 did not learn"),
        (list(range(MOST_NAMED)), "Models 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 11 did not learn"),
        (list(range(MOST_NAMED + 4)), "Models 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 4 more did not learn"),
        (list(range(64)), "None of the 64 models learned the downstream task"),
    ],
)
def test_models_that_stayed_at_a_constant_answer_are_named(results: Results, models: list[int], beginning: str) -> None:
    results = changed(results, {"models/not_finetuned": models})
    (sentence,) = training_warnings(results)
    assert sentence.startswith(beginning)
    assert len(models) == 64 or "part of the figures" in sentence
    assert sentence in page(results)


def test_pretraining_and_finetuning_are_told_apart_and_no_model_is_warned_of_twice(results: Results) -> None:
    accuracies = {
        f"models/{task}_test_accuracy": {"mean": 0.9, "sd": 0.1, "min": 0.1, "max": 0.95}
        for task in ("pretraining", "downstream")
    }
    results = changed(results, {"models/not_pretrained": [2], "models/not_finetuned": [9]} | accuracies)
    first, second = training_warnings(results)
    assert first.startswith("Model 2 did not learn the pretraining task:")
    assert second.startswith("Model 9 did not learn the downstream task:")


@pytest.mark.parametrize(
    ("classes", "accuracy", "warned"),
    [(2, 0.54, True), (2, 0.6, False), (100, 0.015, True), (100, 0.05, False)],
)
def test_near_chance_depends_on_the_number_of_classes(classes: int, accuracy: float, warned: bool) -> None:
    summary = {"mean": accuracy, "sd": 0.0, "min": accuracy, "max": accuracy}
    changes = {"data/downstream/classes": classes, "models/downstream_test_accuracy": summary}
    results = changed(make_results({"tmi": 0.6}), changes)
    assert bool(training_warnings(results)) == warned


def test_expected_extreme_agrees_with_simulated_noise() -> None:
    generator = np.random.default_rng(0)
    highest = []
    for _ in range(40):
        ranks = generator.random((300, 64)).argsort(axis=1).argsort(axis=1) + 1
        wins = ranks[:, :31].sum(axis=1) - 31 * 32 / 2
        highest.append((wins / (31 * 33)).max())
    results = make_results({"tmi": 0.6})
    apart = changed(results, {"models/targets": 1})
    assert expected_extreme(apart) == pytest.approx(np.mean(highest), abs=0.015)
    # Targets that are one another's shadows stray further, up to the root of 2 where all of them are.
    assert 1 < (expected_extreme(results) - 0.5) / (expected_extreme(apart) - 0.5) <= 2**0.5


def test_expected_extreme_is_an_auc() -> None:
    counts = {"points/most_exposed/0/targets_in": 1, "points/most_exposed/0/targets_out": 2}
    results = changed(make_results({"tmi": 0.6}), counts)
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


def test_image_is_embedded_as_its_png(results: Results) -> None:
    image = np.random.default_rng(0).random((8, 8))
    encoded = base64.b64encode(png_of_image(image)).decode()
    assert page(results, [Exhibit("image", image)] * 3).count(f"data:image/png;base64,{encoded}") == 3


def test_long_texts_and_vectors_are_cut_and_say_so() -> None:
    html = Exhibit("text", "x" * (LONGEST_TEXT + 1000)).html
    assert html == f"<blockquote>{'x' * LONGEST_TEXT} … (1,300 characters)</blockquote>"
    assert Exhibit("text", "short").html == "<blockquote>short</blockquote>"
    assert Exhibit("vector", np.arange(3.0)).html == "<code>0, 1, 2</code>"
    assert Exhibit("vector", np.ones(2048)).html.endswith("1, … (2,048 values)</code>")


# Figures have no glyphs for them.
@pytest.mark.filterwarnings("ignore:Glyph")
def test_names_do_not_turn_the_text_around_or_steer(results: Results) -> None:
    shown = page(changed(results, {"name": "a\u202eb\x1b[31m\x00"}))
    assert "a\\u202eb\\x1b[31m\\x00" in shown
    assert visible(shown) == shown
