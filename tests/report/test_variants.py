"""The report of finetunings: their order and words, the terminal's table, what is promised, who did not learn."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from made.results import changed, lines_of, make_results, outline, page
from made.variants import ATTACKS, CONTROL, difference, make_seven, make_variants, private, row
from tmi.cli.gate import Gate
from tmi.cli.showing import show_results
from tmi.report.figures.aucs import variants_figure
from tmi.report.figures.style import svg_text
from tmi.report.finetunings import COMPARISON_NOTE, PRIVACY_NOTE, epsilon_text, finetunings, trained
from tmi.report.results import Results
from tmi.report.sections.models import training_warnings
from tmi.report.sections.variants import variants_table


@pytest.fixture
def results() -> Results:
    return make_seven()


def printed(results: Results, width: int = 80) -> list[str]:
    return lines_of([variants_table(results)], width)


def flat(lines: list[str]) -> str:
    return " ".join(lines)


# Order and words


def test_the_run_comes_first_then_what_is_not_private_then_what_is_by_epsilon(results: Results) -> None:
    names = [each.name for each in finetunings(results)]
    assert names == ["digits", "lora", "full", "last-2", "few", "epsilon-inf", "epsilon-8", "epsilon-1"]


def test_every_control_stands_before_those_that_it_is_the_control_of() -> None:
    rows = {
        "full-2": row("full", private=private(2.0)),
        "head-9": row(private=private(9.0)),
        "head-inf": row(private=CONTROL),
        "full-inf": row("full", private=CONTROL),
        "head-1": row(private=private(1.0)),
    }
    differences = {name: difference(f"{name.partition('-')[0]}-inf") for name in rows if not name.endswith("inf")}
    differences |= {name: difference("digits") for name in rows if name.endswith("inf")}
    names = [each.name for each in finetunings(make_variants(rows, differences))]
    assert names == ["digits", "full-inf", "full-2", "head-inf", "head-9", "head-1"]


def test_a_private_run_stays_first() -> None:
    rows = {"epsilon-inf": row(private=CONTROL), "full": row("full")}
    against = {"digits": "epsilon-inf", "epsilon-inf": "digits", "full": "digits"}
    results = make_variants(rows, {name: difference(other) for name, other in against.items()})
    results = changed(results, {"variants/rows/digits/private": private(4.0)})
    assert [each.name for each in finetunings(results)] == ["digits", "full", "epsilon-inf"]
    assert next(line for line in printed(results) if line.startswith("digits")).endswith("0.584")
    assert "−0.100*" in next(line for line in printed(results) if line.startswith("digits"))


@pytest.mark.parametrize(
    ("epsilon", "text"),
    [
        (None, "–"),
        (math.inf, "∞"),
        (0.9938, "1"),
        (7.9912, "8"),
        (7.15, "7.2"),
        (0.35, "0.35"),
        (0.0721, "0.073"),
        (10.0, "10"),
        (12.3, "13"),
        (123.4, "124"),
    ],
)
def test_epsilon_in_two_digits(epsilon: float | None, text: str) -> None:
    assert epsilon_text(epsilon) == text


@given(st.floats(1e-3, 1e5))
def test_a_shown_epsilon_never_promises_more_than_the_real_one(epsilon: float) -> None:
    shown = float(epsilon_text(epsilon))
    assert epsilon * (1 - 1e-6) <= shown <= epsilon * 1.1 + 1e-9


def test_transfer_settings_in_words() -> None:
    words = [trained(transfer) for transfer in ("head", "last-1", "last-12", "full", "lora")]
    assert words == ["head only", "last block", "last 12 blocks", "everything", "LoRA adapters"]


# Table


def test_the_table_fits_80_columns_with_everything(results: Results) -> None:
    lines = printed(results)
    assert max(map(len, lines)) <= 80
    rows = {line.split()[0]: line.split()[1:] for line in lines[4:13] if line}
    assert rows["digits"] == ["head", "–", "500", "83.1%", "0.664", "[0.644,", "0.684]", "4.2%", "0.584"]
    assert rows["epsilon-1"][:3] == ["head", "1", "500"]
    assert rows["epsilon-1"][7] == "−0.100*"
    assert rows["lora"][0] == "LoRA"
    assert rows["last-2"][:2] == ["last", "2"]
    assert rows["few"][2] == "60"
    assert rows["epsilon-inf"][7] == "−0.001"


def test_private_finetunings_stand_below_a_gap(results: Results) -> None:
    lines = printed(results)
    assert lines.index("") == next(i for i, line in enumerate(lines) if line.startswith("epsilon-inf")) - 1


@pytest.mark.parametrize(
    ("width", "left_out"),
    [
        (100, ()),
        (76, ("points",)),
        (69, ("points", "adapted")),
        (52, ("points", "adapted", "trained", "TPR@")),
        (40, ("points", "adapted", "trained", "TPR@", "task", "differ-")),
    ],
)
def test_narrow_terminals_get_fewer_columns(results: Results, width: int, left_out: tuple[str, ...]) -> None:
    lines = printed(results, width)
    assert max(map(len, lines)) <= width
    header = flat(lines[: next(i for i, line in enumerate(lines) if line.startswith("─"))])
    for column in ("points", "adapted", "trained", "TPR@", "task", "differ-", "ε", "AUC ["):
        assert (column in header) == (column not in left_out)


@given(
    names=st.lists(
        st.text("abc[]/ -_é∞", min_size=1, max_size=40).map(str.strip).filter(bool), unique=True, max_size=5
    ),
    width=st.integers(40, 120),
)
@settings(max_examples=25, deadline=None)
def test_the_table_fits_whatever_the_names_are(names: list[str], width: int) -> None:
    rows = {f"x{name}": row("full", private=CONTROL) for name in names}
    results = make_variants(rows, {name: difference("digits") for name in rows})
    assert max(map(len, printed(results, width))) <= width


def test_names_are_not_console_markup() -> None:
    results = make_variants({"[red]x[/red]": row("full")}, {"[red]x[/red]": difference("digits")})
    assert any(line.startswith("[red]x[/red]") for line in printed(results))


def test_columns_that_tell_nothing_are_left_out() -> None:
    lines = flat(printed(make_variants({"full": row("full")}, {"full": difference("digits")}), 120))
    assert "ε" not in lines
    assert "points" not in lines
    assert "differential" not in lines.lower()
    assert "to digits;" in lines


def test_the_baseline_has_no_column_where_it_was_not_run_or_is_the_main_attack() -> None:
    rows = {"full": row("full")}
    results = make_variants(rows, {"full": difference("digits")}, main="adapted-lira")
    assert "leak to adapted-lira" in printed(results)[0]
    assert next(line for line in printed(results) if line.startswith("digits ")).count("0.584") == 1
    alone = {f"variants/rows/{name}/attacks": {"tmi": row()["attacks"]["tmi"]} for name in ("digits", "full")}
    results = changed(results, {"variants/attack": "tmi", "headline": "tmi"} | alone)
    assert "adapted" not in flat(printed(results))
    assert "adapted-lira" not in svg_text(variants_figure(results))
    assert "AUC of adapted-lira" not in page(results)


@pytest.mark.parametrize(
    ("half_width", "estimate", "text"),
    [(0.02, -0.1, "−0.100*"), (0.2, -0.1, "−0.100"), (0.02, 0.1, "+0.100*"), (0.1, 0.1, "+0.100")],
)
def test_a_difference_is_marked_where_its_interval_excludes_0(half_width: float, estimate: float, text: str) -> None:
    results = make_variants({"full": row("full")}, {"full": difference("digits", estimate, half_width)})
    assert text in next(line.split() for line in printed(results) if line.startswith("full"))
    assert f"<td>{text}<br>" in page(results)


def test_the_terminal_says_with_what_each_is_compared(results: Results) -> None:
    assert "to digits, of those with noise to epsilon-inf;" in flat(printed(results))
    changes = {
        "variants/differences/epsilon-8/against": "another-inf",
        "variants/rows/another-inf": row(private=CONTROL),
    }
    results = changed(results, changes)
    assert "of those with noise to the same recipe without noise;" in flat(printed(results))


def test_an_unresolvable_rate_is_a_dash_with_a_footnote() -> None:
    results = make_variants({"full": row("full")}, {"full": difference("digits")})
    tables = ["attacks", *(f"variants/rows/{name}/attacks" for name in ("digits", "full"))]
    changes = {f"{table}/{name}/tpr_at_fpr/0.01/resolvable": False for table in tables for name in ATTACKS}
    results = changed(results, changes | {"data/non_members": 60})
    lines = printed(results)
    assert "–" in next(line.split() for line in lines if line.startswith("full"))
    assert "– not resolvable with 60 non-members" in flat(lines)


# The promise


def test_wherever_an_epsilon_is_shown_it_is_said_what_it_promises(results: Results) -> None:
    for text in (flat(printed(results)), page(results)):
        assert "ε" in text
        assert PRIVACY_NOTE in text
        assert COMPARISON_NOTE in text
    drawn = re.sub(r"<[^>]*>|\s+", " ", svg_text(variants_figure(results)))
    assert "ε = 8" in drawn
    assert PRIVACY_NOTE in re.sub(r"\s+", " ", drawn)


def test_a_private_finetuning_alone_says_so_too() -> None:
    results = make_results(ATTACKS)
    assert "Privacy</dt>" not in page(results)
    results = changed(results, {"data/downstream/private": private(7.9912)})
    html = page(results)
    outline(html)
    assert "ε = 8 at δ = 0.0002; 640 steps with noise multiplier 5.04, each on a random 6.4% of the points" in html
    assert PRIVACY_NOTE in html
    results = changed(results, {"data/downstream/private": CONTROL})
    assert "ε = ∞, without noise; 640 steps" in page(results)


# Models that did not learn


def test_models_that_did_not_learn_are_named_for_every_finetuning(results: Results) -> None:
    assert training_warnings(results) == []
    accuracy = {"mean": 0.21, "sd": 0.0, "min": 0.2, "max": 0.22}
    rows = {"epsilon-1/not_finetuned": [3, 17], "few/downstream_test_accuracy": accuracy}
    results = changed(results, {f"variants/rows/{key}": value for key, value in rows.items()})
    first, second = training_warnings(results)
    assert first.startswith("Models 3 and 17 did not learn the downstream task in the finetuning epsilon-1: on their")
    assert second.startswith("The downstream test accuracy in the finetuning few is near chance: 21.0%")
    assert first in page(results)


def test_the_run_is_not_warned_of_twice(results: Results) -> None:
    results = changed(results, {"models/not_finetuned": [5], "variants/rows/digits/not_finetuned": [5]})
    assert len(training_warnings(results)) == 1


def test_the_terminal_shows_table_verdict_and_warnings(
    results: Results, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    results = changed(results, {"models/not_pretrained": [4, 6]})
    show_results(results, Path("runs/digits"), Gate(), as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    places = [
        next(i for i, line in enumerate(lines) if line.startswith(beginning))
        for beginning in (
            "attack ",
            "What the finetunings",
            "epsilon-8",
            "The finetuned models leak",
            "Caution. Models 4",
        )
    ]
    assert places == sorted(places)
