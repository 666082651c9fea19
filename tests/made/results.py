"""Results as runs of every kind leave them, and what is read off the pages that show them."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from statistics import NormalDist
from typing import Any

import numpy as np
from matplotlib.figure import Figure as MatplotlibFigure
from rich.console import Console

from tmi.metrics.estimate import Estimate
from tmi.report import tables
from tmi.report.blocks import Figure, Material, Media, Table
from tmi.report.exhibits import Exhibit
from tmi.report.figures.style import png_bytes, svg_text
from tmi.report.html import render_page
from tmi.report.results import Results
from tmi.report.sections import sections_of
from tmi.report.sections.attacks import attack_table
from tmi.report.terminal import fitted

NORMAL = NormalDist()


RATES = ("0.001", "0.01", "0.05", "0.1")


def figure(estimate: float, half_width: float = 0.02, resolvable: bool = True, chance: float | None = None) -> Estimate:
    """With a p-value if the figure is compared with chance: that of a normal estimate with such a 95% interval."""
    p_value = None if chance is None else NORMAL.cdf(1.96 * (chance - estimate) / half_width)
    return Estimate(estimate, estimate - half_width, estimate + half_width, resolvable, p_value)


def changed(results: Results, changes: dict[str, Any]) -> Results:
    """The same results with other values at paths of keys: ``attacks/tmi/epsilon/lower_bound``."""
    document = results.to_dict()
    for path, value in changes.items():
        *tables, last = path.split("/")
        table = document
        for key in tables:
            table = table[int(key) if isinstance(table, list) else key]
        table[last] = value
    return Results.of(document)


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
        "auc": figure(NORMAL.cdf(shift / 2**0.5), chance=0.5),
        "balanced_accuracy": figure(NORMAL.cdf(shift / 2)),
        "tpr_at_fpr": {
            rate: figure(true_positive_rate(float(rate)), 0.0005, resolvable=float(rate) * non_members >= 1)
            for rate in RATES
        },
        "seconds": 3.2,
        "direct_access": False,
        "neutral": 0,
        "roc": {
            "fpr": grid.tolist(),
            "tpr": curve.tolist(),
            "low": (0.8 * curve).tolist(),
            "high": np.minimum(1, 1.2 * curve).tolist(),
            "band_low": (0.6 * curve).tolist(),
            "band_high": np.minimum(1, 1.4 * curve).tolist(),
        },
        "epsilon": {
            "stage": "pretraining",
            "lower_bound": max(0.0, 1.5 * shift),
            "delta": 0.0,
            "confidence": 0.95,
            "direction": "members",
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


def compared(attacks: dict[str, Any], base: str) -> dict[str, Any]:
    """The table ``comparisons``: an attack against every other."""
    return {"against": base} | {
        name: {
            "auc": figure(attacks[base]["auc"].estimate - attacks[name]["auc"].estimate),
            "balanced_accuracy": figure(0.0),
            "tpr_at_fpr": {
                rate: figure(own.estimate - attacks[name]["tpr_at_fpr"][rate].estimate, 0.01, own.resolvable)
                for rate, own in attacks[base]["tpr_at_fpr"].items()
            },
        }
        for name in attacks
        if name != base
    }


def make_results(shifts: dict[str, float], non_members: int = 9600, points: int = 3) -> Results:
    accuracy = {"mean": 0.9, "sd": 0.01, "min": 0.88, "max": 0.92}
    attacks = {name: attack(shift, non_members) for name, shift in shifts.items()}
    if "direct" in attacks:
        attacks["direct"]["direct_access"] = True
    candidates = [name for name in attacks if name != "direct"] or list(attacks)
    headline = next((name for name in ("inputs-and-answers", "tmi") if name in candidates), candidates[0])
    document = {
        "schema": 1,
        "kind": "run",
        "name": "digits",
        "description": "Small networks pretrained on digits.",
        "seed": 7,
        "version": "0.1.0",
        "view": "logits",
        "headline": headline,
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
                "non_members": None,
                "points": 300,
                "classes": 10,
                "objective": "classification",
                "duplicates": 2,
                "fingerprint": "ab" * 32,
            },
            "downstream": {
                "source": "sklearn:digits",
                "points": 1000,
                "classes": 5,
                "points_per_model": 500,
                "left_out": 0,
                "transfer": "head",
                "private": None,
                "fingerprint": "cd" * 32,
            },
            "challenge_points": 300,
            "queries_per_point": 5,
            "members": non_members,
            "non_members": non_members,
        },
        "comparisons": compared(attacks, headline),
        "evaluation": {"confidence": 0.95, "resamples": 1000},
        "points": {
            "attack": headline,
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
    return Results.of(document)


def with_target(results: Results, p_value: float = 0.004, called: int = 21, suspects: int = 3) -> Results:
    """The same with a target of unknown membership."""
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
    return changed(
        results,
        {
            "target": {
                "name": "their-model",
                "points": 300,
                "shadows": 64,
                "fpr": 0.01,
                "attack": results.headline,
                "attacks": dict.fromkeys(results.ranked, found),
                "most_suspected": [
                    {
                        "index": index,
                        "point": 100 + index,
                        "score": 3.5,
                        "p_value": 0.0006,
                        "called": True,
                        "label": "7",
                    }
                    for index in range(suspects)
                ],
            }
        },
    )


def by_others(results: Results, names: Sequence[str]) -> dict[str, dict[str, tables.Figures]]:
    """What other adversaries find: the same."""
    figures = {
        name: tables.Figures(auc=attack.auc, balanced_accuracy=attack.balanced_accuracy, tpr_at_fpr=attack.tpr_at_fpr)
        for name, attack in results.attacks.items()
    }
    return dict.fromkeys(names, figures)


def as_saved(results: Results) -> Results:
    """The same as an audit of saved predictions, of whose models nothing else is known."""
    data = {key: value for key, value in results.to_dict()["data"].items() if key not in ("pool", "downstream")}
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
    unnamed = {f"points/most_exposed/{index}/label": "" for index in range(len(results.points.most_exposed))}
    return changed(
        results, {"kind": "saved predictions", "data": data, "models": models, "stages": {"score": 12.0}} | unnamed
    )


def lines_of(tables: Sequence[Table], width: int = 80) -> list[str]:
    """Tables as a terminal of so many columns shows them."""
    console = Console(width=width, file=io.StringIO(), color_system=None, legacy_windows=False)
    for table in tables:
        console.print(fitted(table, width))
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def lasting_svg(draw: Callable[[], MatplotlibFigure]) -> str:
    """A figure as SVG, after it was drawn twice in the same bytes."""
    first, second = draw(), draw()
    assert png_bytes(first) == png_bytes(second)
    svg = svg_text(first)
    assert svg == svg_text(second)
    return svg


def printed(results: Results, width: int = 80) -> list[str]:
    return lines_of([attack_table(results)], width)


def page(
    results: Results, exhibits: Sequence[Exhibit] = (), config: str = 'name = "x"', drawn: Sequence[str] = ()
) -> str:
    """The page; of the figures, only those that are named are drawn."""
    material = Material(results, exhibits, config_toml=config)
    sections = sections_of(material)
    shown = [block for section in sections for block in section.blocks if isinstance(block, Figure)]
    made_up = {block.name: f"<svg><title>drawn: {block.name}</title></svg>" for block in shown}
    return render_page(material, sections, made_up | {b.name: svg_text(b.draw()) for b in shown if b.name in drawn})


VOID_TAGS = {"br", "img", "meta"}


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


def with_adversaries(results: Results, width: int) -> list[str]:
    """All tables of the terminal."""
    blocks = [block for section in sections_of(Material(results)) for block in section.shown(Media.TERMINAL)]
    return lines_of([block for block in blocks if isinstance(block, Table)], width)
