"""The report's table and verdict, made from a results.json with Gaussian scores; other tests make it here as well."""

from __future__ import annotations

import pytest

from made.results import RATES, changed, figure, make_results, printed
from tmi.report.results import Results
from tmi.report.sections.attacks import attack_table
from tmi.report.sections.summary import plain_words, verdict
from tmi.report.terminal import fitted
from tmi.report.wording import duration, percent, tpr, tpr_interval, tpr_label


@pytest.fixture
def results() -> Results:
    return make_results({"tmi": 0.6, "confidence": 0.1, "adapted-lira": 0.7, "direct": 1.0})


# Table


def test_table_fits_80_columns_with_one_line_per_attack(results: Results) -> None:
    lines = printed(results)
    assert max(map(len, lines)) <= 80
    rows = [line.split() for line in lines if line.startswith(tuple(results.attacks))]
    assert " ".join(rows[0]) == "adapted-lira 0.690 [0.670, 0.710] 63.7% 0.84% 5.2% 17.2% 28.0%"
    assert [row[0] for row in rows] == ["adapted-lira", "tmi", "confidence", "direct", "direct:"]


def test_direct_access_stands_below_a_gap_even_though_it_is_highest(results: Results) -> None:
    lines = printed(results)
    row = next(index for index, line in enumerate(lines) if line.startswith("direct "))
    assert lines[row - 1] == ""
    assert lines[row - 2].startswith("confidence")


def test_table_headers_carry_their_unit(results: Results) -> None:
    assert [tpr_label(rate) for rate in RATES] == ["TPR@0.1%FPR", "TPR@1%FPR", "TPR@5%FPR", "TPR@10%FPR"]
    assert printed(results)[1].split()[-4:] == ["0.1%FPR", "1%FPR", "5%FPR", "10%FPR"]


@pytest.mark.parametrize(("width", "columns"), [(80, 7), (70, 7), (60, 6), (45, 3), (36, 2)])
def test_narrow_terminals_get_fewer_columns(results: Results, width: int, columns: int) -> None:
    assert len(fitted(attack_table(results), width).columns) == columns
    assert max(map(len, printed(results, width))) <= width


def test_unresolvable_rate_is_a_dash_with_a_footnote() -> None:
    results = make_results({"tmi": 0.6}, non_members=400)
    lines = printed(results)
    assert next(line for line in lines if line.startswith("tmi")).split()[5] == "–"
    note = " ".join(lines[-2:])
    assert note.endswith("– not resolvable with 400 non-members: 0.1%FPR would take 32 challenge points")
    assert "–" not in "".join(printed(make_results({"tmi": 0.6})))


def test_names_are_not_console_markup() -> None:
    assert any("[red]x[/red]" in line for line in printed(make_results({"[red]x[/red]": 0.6})))


# Verdict


def test_verdict_on_a_leak_speaks_of_the_default_attack_not_of_the_best(results: Results) -> None:
    assert verdict(results) == (
        "The finetuned models leak their pretraining data: tmi tells members from non-members with "
        "AUC 0.664 [0.644, 0.684] (95% interval; 0.5 = coin flip) and finds 4.2% of the members at 1% false "
        "positives."
    )


def test_verdict_without_a_leak() -> None:
    assert verdict(make_results({"tmi": 0.0})) == (
        "No leak was shown: tmi has AUC 0.500 [0.480, 0.520] (95% interval; 0.5 = coin flip); this is not "
        "proof of its absence: a true AUC of 0.529 would have been seen in four of five such audits, a smaller "
        "effect more rarely."
    )


def test_verdict_without_a_leak_does_not_hide_another_attack() -> None:
    results = make_results({"tmi": 0.0, "gaussian": 0.6, "direct": 2.0})
    assert verdict(results).startswith("No leak was shown: tmi")
    assert "But gaussian, another attack, suggests a leak: AUC 0.664 [0.644, 0.684], clear" in verdict(results)


def test_a_hint_must_be_clear_for_the_number_of_figures_looked_at() -> None:
    others = {f"attack-{number}": 0.0 for number in range(12)}
    results = make_results({"tmi": 0.0} | others)
    lucky = {"attacks/attack-3/auc": figure(0.523, 0.02, chance=0.5)}
    assert 0.02 > changed(results, lucky).attacks["attack-3"].auc.p_value > 0.005
    assert "But" not in verdict(changed(results, lucky))
    clear = {"attacks/attack-3/auc": figure(0.54, 0.02, chance=0.5)}
    assert "But attack-3" in verdict(changed(results, clear))
    assert "one of 12 figures" in verdict(changed(results, clear))
    unknown = {"attacks/attack-3/auc": figure(0.54, 0.02)}
    assert "But" not in verdict(changed(results, unknown))


@pytest.mark.parametrize(("targets", "words"), [(1, "one model only"), (4, "4 targets are too few for a verdict")])
def test_few_targets_are_no_ground_for_a_confident_verdict(targets: int, words: str) -> None:
    results = changed(make_results({"tmi": 0.6}), {"models/targets": targets, "points/exposed/count": 0})
    for text in (verdict(results), " ".join(plain_words(results))):
        assert words in text
        assert "in about 95 of 100" not in text
    assert not verdict(results).startswith("The finetuned models leak")
    assert "none is exposed" not in " ".join(plain_words(results))
    assert "Something seems to leak" in plain_words(changed(results, {"models/targets": 4}))[0]


def test_a_leak_that_may_be_next_to_nothing_is_said_to_be() -> None:
    results = changed(make_results({"tmi": 0.6}), {"attacks/tmi/auc": figure(0.527, 0.022, chance=0.5)})
    assert "The leak may be next to nothing: as low as AUC 0.505." in verdict(results)
    assert "The leak may be next to nothing: as low as 50.5 of 100 tries." in plain_words(results)[0]


def test_known_members_alone_are_no_verdict() -> None:
    results = make_results({"inputs-and-answers": 0.6, "inputs-alone": 0.3})
    results = changed(results, {"comparisons/inputs-alone/auc": figure(0.1, 0.02)})
    assert verdict(results).startswith("No verdict: AUC 0.664")
    assert "tmi compare" in verdict(results)
    assert "leak" not in verdict(results)


def test_verdict_without_a_leak_does_not_hide_a_few_exposed_members() -> None:
    results = changed(make_results({"tmi": 0.0}), {"attacks/tmi/tpr_at_fpr/0.01": figure(0.04, 0.01, chance=0.01)})
    assert "But at 1% false positives tmi finds 4.0% [3.0%, 5.0%] of the members" in verdict(results)
    results = changed(results, {"attacks/tmi/tpr_at_fpr/0.01/resolvable": False})
    assert "But" not in verdict(results)


def test_verdict_does_not_take_direct_access_for_a_leak() -> None:
    assert "But" not in verdict(make_results({"tmi": 0.0, "direct": 2.0}))
    assert verdict(make_results({"direct": 2.0})).startswith("Only a reference was measured")


def test_verdict_below_chance_points_to_reversed_input() -> None:
    assert "reversed" in verdict(make_results({"tmi": -0.6}))


def test_verdict_falls_back_to_the_next_resolvable_rate() -> None:
    assert verdict(make_results({"tmi": 0.6}, non_members=50)).endswith(
        "finds 14.8% of the members at 5% false positives."
    )
    assert verdict(make_results({"tmi": 0.6}, non_members=5)).endswith("coin flip).")


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
