"""The report as one HTML page that needs nothing but itself: no network, no scripts, no fonts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from statistics import NormalDist
from typing import Literal

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tmi.predictions.views import View
from tmi.report import bound, finetunings, limits, provenance, target, wording
from tmi.report.exhibits import Exhibit
from tmi.report.learning import training_warnings
from tmi.report.results import ExposedPoint, Results, Suspect
from tmi.report.settings import class_warnings, options_text
from tmi.report.summary import exposed_sentence, plain_words
from tmi.report.table import verdict

SHOWN_AT_ONCE = 12
BLOCK = 24
"""Points that are shown at once, and those that are shown on demand together."""


@dataclass(frozen=True)
class Quality:
    """One row of the table of model accuracies; all fractions."""

    task: str
    data: str
    mean: float
    sd: float
    min: float
    max: float


@dataclass(frozen=True)
class Figures:
    """The figures of a report as SVGs of this package.

    Attributes:
        roc: the ROC curves.
        further: the other figures by name; a section without its figure has the table alone.
    """

    roc: str
    further: Mapping[str, str] = field(default_factory=dict)


def render_page(
    results: Results,
    exhibits: Sequence[Exhibit],
    figures: Figures,
    config_toml: str,
    target_exhibits: Sequence[Exhibit] = (),
) -> str:
    """The report as HTML.

    Args:
        results: the content of results.json.
        exhibits: what the points of ``results.points.most_exposed`` look like, in that order; empty
            where that is not known.
        figures: trusted to be SVGs of this package.
        config_toml: the resolved configuration; empty where there is none.
        target_exhibits: what the points of ``results.target.most_suspected`` look like, likewise.

    Raises:
        ValueError: the number of exhibits is not that of the points, or one of them cannot be shown.
    """
    points = results.points.most_exposed
    suspects = results.target.most_suspected if results.target is not None else []
    template = _environment().get_template("report.html.j2")
    return template.render(
        results=results,
        is_saved=results.is_saved,
        plain_words=plain_words(results),
        verdict=verdict(results),
        target_sentences=target.target_sentences(results),
        target_rates=results.target.rates if results.target is not None else [],
        expected_note=target.expected_note(results),
        ranked=results.ranked,
        upper_bounds=results.upper_bounds,
        headline=results.headline,
        default_attack=wording.DEFAULT_ATTACK,
        rates=results.rates,
        confidence=results.confidence,
        resolution_note=wording.resolution_note(results),
        comparisons=results.comparisons.others,
        bounded_attacks=bound.bounded_attacks(results),
        bound_sentence=bound.bound_sentence(results),
        bound_meaning=(bound.MEANING, bound.NO_MEANING),
        qualities=list(_qualities(results)),
        warnings=[*training_warnings(results), *class_warnings(results)],
        points=_shown(points, exhibits),
        suspects=_shown(suspects, target_exhibits),
        exposed_figures=_exposed_figures,
        suspect_figures=_suspect_figures,
        exposed_sentence=exposed_sentence(results),
        extreme=expected_extreme(results),
        roc_svg=_embedded(figures.roc),
        further_svgs={name: _embedded(svg) for name, svg in figures.further.items()},
        finetunings=finetunings.finetunings(results) if results.variants is not None else [],
        details=finetunings.details,
        privacy=_privacy(results),
        privacy_notes=(finetunings.PRIVACY_NOTE, finetunings.COMPARISON_NOTE),
        any_private=finetunings.any_private(results),
        baseline_attack=wording.BASELINE_ATTACK,
        representative_rate=results.representative_rate,
        view_of=lambda name: View.parse(name).description,
        main_view=results.view,
        limits=limits.limits(results),
        provenance=provenance,
        config_toml=config_toml,
        options_text=options_text,
    )


@dataclass(frozen=True)
class Shown:
    """Points in the order in which they are shown.

    Attributes:
        first: those shown at once, each with its exhibit or None.
        rest: the others, in blocks that are shown on demand.
        layout: ``images``, ``wide`` (texts and vectors) or ``table`` (nothing but figures is known of the points).
    """

    first: Sequence[tuple[ExposedPoint | Suspect, Exhibit | None]]
    rest: Sequence[Sequence[tuple[ExposedPoint | Suspect, Exhibit | None]]]
    layout: Literal["images", "wide", "table"]


def _shown(points: Sequence[ExposedPoint | Suspect], exhibits: Sequence[Exhibit]) -> Shown:
    """The points with their exhibits, in blocks.

    Raises:
        ValueError: there are exhibits, but not one for each point.
    """
    if exhibits and len(exhibits) != len(points):
        raise ValueError(f"got {len(exhibits)} exhibits, expected one for each of the {len(points)} points")
    pairs = list(zip_longest(points, exhibits))
    blocks = [pairs[start : start + BLOCK] for start in range(SHOWN_AT_ONCE, len(pairs), BLOCK)]
    layout: Literal["images", "wide", "table"] = "table"
    if exhibits:
        layout = "images" if exhibits[0].kind == "image" else "wide"
    return Shown(pairs[:SHOWN_AT_ONCE], blocks, layout)


def _exposed_figures(point: ExposedPoint) -> list[tuple[str, str]]:
    """What is shown of a point of known membership: names and values."""
    return [
        ("AUC", f"{point.auc:.2f}"),
        ("Interval", wording.point_interval(point) or wording.NOT_RESOLVABLE),
        ("q-value", wording.NOT_RESOLVABLE if point.q_value is None else target.p_text(point.q_value)),
        ("Score in", f"{wording.signed(point.mean_in)} ({point.targets_in})"),
        ("Score out", f"{wording.signed(point.mean_out)} ({point.targets_out})"),
    ]


def _suspect_figures(point: Suspect) -> list[tuple[str, str]]:
    """What is shown of a point that a target of unknown membership may have been pretrained on."""
    return [
        ("Score", "∞" if point.score is None else wording.signed(point.score)),
        ("p-value", target.p_text(point.p_value)),
        ("Called", "member" if point.called else "–"),
    ]


def _privacy(results: Results) -> str:
    """What the finetuning of the run itself promises its own points; empty where it is not private."""
    private = results.data.downstream.private if results.data.downstream is not None else None
    if private is None:
        return ""
    epsilon = finetunings.epsilon_text(finetunings.epsilon_of(private))
    promise = (
        f"ε = {epsilon} at δ = {private.delta:g}" if private.epsilon is not None else f"ε = {epsilon}, without noise"
    )
    return (
        f"{promise}; {private.steps:,} steps with noise multiplier {private.noise_multiplier:.3g}, "
        f"each on a random {wording.percent(private.sampling_rate)} of the points"
    )


def _embedded(svg: str) -> Markup:
    """An SVG without its XML prolog, which HTML does not know."""
    return Markup(svg[svg.index("<svg") :])


def expected_extreme(results: Results) -> float | None:
    """The highest per-point AUC to expect if nothing leaked at all, from noise alone.

    The AUC of one point is a Mann-Whitney statistic of its IN and OUT targets: without a leak it has mean 1/2
    and variance (in + out + 1) / (12 in out). The expected maximum over the challenge points is that of
    independent normal variables (Blom, Statistical Estimates and Transformed Beta-Variables, 1958).

    Returns:
        The AUC, at most 1, or None where no point was ranked.
    """
    points = results.points.most_exposed
    if not points:
        return None
    inside, outside = points[0].targets_in, points[0].targets_out
    deviation = math.sqrt((inside + outside + 1) / (12 * inside * outside))
    number = results.data.challenge_points
    quantile = NormalDist().inv_cdf((number - 0.375) / (number + 0.25))
    return min(1.0, 0.5 + deviation * quantile)


def _qualities(results: Results) -> Iterator[Quality]:
    for task in ("pretraining", "downstream"):
        for data in ("train", "test"):
            # Nothing is pretrained where a given model is attacked; nothing is known where predictions were saved.
            if (accuracy := getattr(results.models, f"{task}_{data}_accuracy")) is not None:
                yield Quality(task, data, accuracy.mean, accuracy.sd, accuracy.min, accuracy.max)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("tmi.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (
        bound.bound_text,
        bound.evidence,
        finetunings.epsilon_text,
        finetunings.trained,
        target.p_text,
        wording.difference,
        wording.difference_interval,
        wording.duration,
        wording.interval,
        wording.percent,
        wording.percent_interval,
        wording.rate_percent,
        wording.signed,
        wording.tpr,
        wording.tpr_difference,
        wording.tpr_difference_interval,
        wording.tpr_interval,
        wording.tpr_label,
    ):
        environment.filters[function.__name__] = function
    return environment
