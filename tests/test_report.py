"""The report's table and verdict, made from a results.json with Gaussian scores; other tests make it here as well."""

from __future__ import annotations

import io
import math
from html.parser import HTMLParser
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from tmi.report import Exhibit
from tmi.report.figures import roc_figure, svg_text
from tmi.report.histogram import histogram_figure
from tmi.report.page import Figures, render_page
from tmi.report.table import results_table, verdict
from tmi.report.wording import duration, headline, percent, tpr, tpr_interval, tpr_label

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
        "roc": {
            "fpr": grid,
            "tpr": curve,
            "low": 0.8 * curve,
            "high": np.minimum(1, 1.2 * curve),
            "band_low": 0.6 * curve,
            "band_high": np.minimum(1, 1.4 * curve),
        },
        "epsilon": {
            "stage": "pretraining",
            "lower_bound": max(0.0, 1.5 * shift),
            "delta": 0.0,
            "confidence": 0.95,
            "direction": "members",
            "threshold": 2.0,
            "tpr_low": 0.031,
            "fpr_high": 0.0021,
            "decisions": 2 * non_members,
            "method": "Clopper-Pearson intervals at a threshold that was fixed on other targets.",
        },
        "histogram": histogram(shift, non_members),
    }


def histogram(shift: float, number: int) -> dict[str, Any]:
    edges = np.linspace(-3, 3 + shift, 41)

    def counts(mean: float) -> list[int]:
        shares = np.diff([0, *(NORMAL.cdf(edge - mean) for edge in edges[1:-1]), 1])
        return [round(number * share) for share in shares]

    return {"edges": list(edges), "members": counts(shift), "non_members": counts(0.0)}


def compared(attacks: dict[str, Any]) -> dict[str, Any]:
    """The table ``comparisons``: the first attack against every other."""
    base, *others = attacks
    return {"against": base} | {
        name: {
            "auc": figure(attacks[base]["auc"]["estimate"] - attacks[name]["auc"]["estimate"]),
            "balanced_accuracy": figure(0.0),
            "tpr_at_fpr": {
                rate: figure(own["estimate"] - attacks[name]["tpr_at_fpr"][rate]["estimate"], 0.01, own["resolvable"])
                for rate, own in attacks[base]["tpr_at_fpr"].items()
            },
        }
        for name in others
    }


def make_results(shifts: dict[str, float], non_members: int = 9600, points: int = 3) -> dict[str, Any]:
    accuracy = {"mean": 0.9, "sd": 0.01, "min": 0.88, "max": 0.92}
    attacks = {name: attack(shift, non_members) for name, shift in shifts.items()}
    if "direct" in attacks:
        attacks["direct"]["upper_bound"] = True
    return {
        "schema": 1,
        "kind": "run",
        "name": "digits",
        "description": "Small networks pretrained on digits.",
        "seed": 7,
        "version": "0.1.0",
        "attacks": attacks,
        "models": {
            "count": 64,
            "given": None,
            "targets": 64,
            "pretraining_train_accuracy": accuracy,
            "pretraining_test_accuracy": accuracy,
            "downstream_train_accuracy": accuracy,
            "downstream_test_accuracy": accuracy,
            "not_pretrained": [],
            "not_finetuned": [],
        },
        "stages": {"pretrain": 12.3, "attack": 125.0},
        "data": {
            "pool": {
                "source": "sklearn:digits",
                "points": 300,
                "classes": 10,
                "objective": "classification",
                "duplicates": 2,
            },
            "downstream": {
                "source": "sklearn:digits",
                "points": 1000,
                "classes": 5,
                "points_per_model": 500,
                "transfer": "head",
                "private": None,
            },
            "challenge_points": 300,
            "queries_per_point": 5,
            "members": non_members,
            "non_members": non_members,
        },
        "comparisons": compared(attacks),
        "evaluation": {"confidence": 0.95, "resamples": 1000},
        "points": {
            "attack": "tmi",
            "most_exposed": [
                {
                    "point": 17 + index,
                    "label": "7",
                    "auc": 0.93,
                    "low": 0.86,
                    "high": 0.97,
                    "p_value": 2e-5,
                    "q_value": 0.0032,
                    "mean_in": 1.2,
                    "mean_out": -0.3,
                    "targets_in": 31,
                    "targets_out": 33,
                }
                for index in range(points)
            ],
            "exposed": {"fdr": 0.05, "count": 41 if points else 0, "tested": 298 if points else 0},
        },
        "resolution": {
            rate: {"resolvable": float(rate) * non_members >= 1, "points_needed": math.ceil(300 / float(rate) / 9600)}
            for rate in RATES
        },
        "provenance": {
            "packages": {"numpy": "2.1.0", "torch": "2.8.0"},
            "python": "3.12.1",
            "machine": {"system": "Linux", "processor": "x86_64", "cores": 2},
            "hashes": {"pool": "ab" * 32, "downstream": "cd" * 32},
            "keys": {"query": "ef" * 32},
        },
    }


def with_target(results: dict[str, Any], p_value: float = 0.004, called: int = 21, suspects: int = 3) -> dict[str, Any]:
    """The same with a target of unknown membership."""
    names = [name for name in results["attacks"] if not results["attacks"][name]["upper_bound"]]
    found = {
        "set_test": {
            "p_value": p_value,
            "statistic": 2.9,
            "shadows": 64,
            "mean_excess": 0.31,
            "low": 0.08,
            "high": 0.52,
        },
        "calls": {
            rate: {
                "called": round(called * float(rate) / 0.01),
                "expected_false": 300 * float(rate),
                "threshold": 2.0,
                "tpr": figure(0.04),
                "resolvable": float(rate) > 0.001,
            }
            for rate in RATES
        },
    }
    return results | {
        "target": {
            "name": "their-model",
            "points": 300,
            "shadows": 64,
            "fpr": 0.01,
            "attack": headline(results),
            "attacks": dict.fromkeys(names, found),
            "most_suspected": [
                {"index": index, "point": 100 + index, "score": 3.5, "p_value": 0.0006, "called": True, "label": "7"}
                for index in range(suspects)
            ],
        }
    }


def as_saved(results: dict[str, Any]) -> dict[str, Any]:
    """The same as an audit of saved predictions, of whose models nothing else is known."""
    data = {key: value for key, value in results["data"].items() if key not in ("pool", "downstream")}
    data |= {
        "files": [
            {
                "role": "predictions",
                "path": "/data/answers.npy",
                "sha256": "12" * 32,
                "shape": [64, 300, 5, 10],
                "dtype": "float32",
            }
        ],
        "read_as": ["logits of 64 models at 300 points"],
        "classes": 10,
    }
    models = {"count": 64, "targets": 64, "given": None, "not_pretrained": [], "not_finetuned": []}
    points = results["points"] | {
        "most_exposed": [point | {"label": ""} for point in results["points"]["most_exposed"]]
    }
    stages = {"score": 12.0}
    return results | {"kind": "saved predictions", "data": data, "models": models, "points": points, "stages": stages}


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
    histogram = {"histogram": svg_text(histogram_figure(results))}
    return render_page(results, exhibits or [], Figures(svg_text(roc_figure(results)), histogram), config)


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
    note = " ".join(lines[-2:])
    assert note.endswith("– not resolvable with 400 non-members: 0.1%FPR would take 32 challenge points")
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
