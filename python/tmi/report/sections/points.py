"""The points whose membership was told best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

from tmi.report.blocks import Cell, Column, Material, Media, Paragraph, Section, Table
from tmi.report.claims import LEAST_TARGETS_FOR_POINTS
from tmi.report.exhibits import Exhibit
from tmi.report.results import Results
from tmi.report.tables import ExposedPoint, Suspect
from tmi.report.wording import NOT_RESOLVABLE, p_text, signed

# What the colours behind the tokens of a text mean.
SHADES = (
    "Shades: how membership moved each token. Blue: models that were pretrained with the text give it higher log-odds "
    "than the others, on average over the models; orange: lower; the darker, the more. Where only a few words are "
    "dark, it is they that give the text away."
)


def section(material: Material) -> Section:
    """A long table of them, with what they look like where that is to be shown.

    Raises:
        ValueError: there are exhibits, but not one for each point.
    """
    results, points = material.results, material.results.points.most_exposed
    title, media = "Most exposed points", Media.PAGE
    if not points:
        return Section(title, [Paragraph("No point was ranked.")], media)
    extreme = expected_extreme(results)
    introduction = (
        f"The {len(points)} points whose membership {results.points.attack} told best; points.csv has all. AUC: at "
        f"this point alone. These are the extremes of {results.data.challenge_points:,} noisy estimates: only "
        f"{points[0].targets_in + points[0].targets_out} targets answer each, the highest would be about {extreme:.2f} "
        "by chance alone if nothing leaked, and the order would change with other models."
    )
    columns = [
        *point_columns(points, material.exhibits),
        Column("AUC", [f"{point.auc:.2f}" for point in points]),
        Column(f"{results.confidence} interval", [_interval(point) for point in points], spared=1),
        Column("q-value", [NOT_RESOLVABLE if p.q_value is None else p_text(p.q_value) for p in points], spared=4),
        Column("Mean score in", [f"{signed(point.mean_in)} ({point.targets_in})" for point in points], spared=2),
        Column("Mean score out", [f"{signed(point.mean_out)} ({point.targets_out})" for point in points], spared=2),
    ]
    note = Paragraph(
        "q-value: the smallest false discovery rate at which the point counts as exposed. In, out: from targets "
        "pretrained with the point and without it, in parentheses their number."
    )
    shades = Paragraph(SHADES, media=Media.PAGE)
    shaded = [shades] if any(exhibit.tokens for exhibit in material.exhibits) else []
    return Section(title, [Paragraph(introduction), *shaded, Table(columns, notes=[note], is_long=True)], media)


def point_columns(points: Sequence[ExposedPoint | Suspect], exhibits: Sequence[Exhibit]) -> list[Column]:
    """What points are called, what they look like where that is to be shown, and their labels.

    Raises:
        ValueError: there are exhibits, but not one for each point.
    """
    if exhibits and len(exhibits) != len(points):
        raise ValueError(f"got {len(exhibits)} exhibits, expected one for each of the {len(points)} points")
    columns = [Column("Point", [point.id or str(point.point) for point in points])]
    if exhibits:
        columns.append(Column("Looks like", [Cell("", exhibit=exhibit) for exhibit in exhibits], media=Media.PAGE))
    if any(point.label for point in points):
        columns.append(Column("Label", [point.label for point in points]))
    return columns


def exposed_sentence(results: Results) -> str:
    """How many points are exposed one by one; empty where no point was tested."""
    exposed = results.points.exposed
    tested, count = exposed.tested, exposed.count
    if not tested:
        return ""
    if not count and results.models.targets < LEAST_TARGETS_FOR_POINTS:
        return f"Whether single points are exposed cannot be told from {results.models.targets:,} targets."
    if not count:
        return f"Of {tested:,} points, none is exposed beyond chance when it is looked at by itself."
    verb = "is" if count == 1 else "are"
    return (
        f"Of {tested:,} points, {count:,} {verb} exposed beyond chance when looked at one by one (up to about "
        f"{100 * exposed.fdr:g} of 100 named in this way would be so by luck); points.csv names them."
    )


def expected_extreme(results: Results) -> float:
    """The highest per-point AUC to expect if nothing leaked at all, from noise alone, at most 1.

    The AUC of one point is a Mann-Whitney statistic of its IN and OUT targets: without a leak it has mean 1/2
    and variance (in + out + 1) / (12 in out), or up to 1 + s times that where a share s of a target's shadows are
    targets as well (see `tmi.metrics.points`). The expected maximum over the challenge points is that of
    independent normal variables (Blom, Statistical Estimates and Transformed Beta-Variables, 1958).

    Args:
        results: with at least one ranked point.
    """
    first = results.points.most_exposed[0]
    models, inside, outside = results.models, first.targets_in, first.targets_out
    shared = (models.targets - 1) / (models.count - 1) if models.count > 1 else 0.0
    deviation = math.sqrt((1 + shared) * (inside + outside + 1) / (12 * inside * outside))
    number = results.data.challenge_points
    quantile = NormalDist().inv_cdf((number - 0.375) / (number + 0.25))
    return min(1.0, 0.5 + deviation * quantile)


def _interval(point: ExposedPoint) -> str:
    return NOT_RESOLVABLE if point.low is None else f"[{point.low:.2f}, {point.high:.2f}]"
