"""The points whose membership was told best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import zip_longest
from statistics import NormalDist
from typing import TypeVar

from tmi.report.blocks import Gallery, Material, Media, Note, Paragraph, Point, Section, Strong
from tmi.report.claims import LEAST_TARGETS_FOR_POINTS
from tmi.report.exhibits import Exhibit
from tmi.report.results import Results
from tmi.report.tables import ExposedPoint
from tmi.report.wording import NOT_RESOLVABLE, p_text, signed

T = TypeVar("T")


def section(material: Material) -> Section:
    """What they look like, with figures of each.

    Raises:
        ValueError: there are exhibits, but not one for each point.
    """
    results, points = material.results, material.results.points.most_exposed
    title, media = "Most exposed points", Media.PAGE
    if not points:
        return Section(title, [Paragraph("No point was ranked.")], media)
    exposed, extreme = exposed_sentence(results), expected_extreme(results)
    introduction = (
        *([Strong(exposed), " "] if exposed else []),
        f"These are the {len(points)} points whose membership ",
        Strong(results.points.attack),
        " told best, best first. For each: the AUC at this point alone, over the targets, with "
        f"{results.confidence} interval; the mean score from targets pretrained with it (in) and without it (out), in "
        "parentheses the number of such targets; and its q-value, the smallest false discovery rate at which it counts "
        "as exposed.",
    )
    caution = (
        f"These are the extremes of {results.data.challenge_points:,} noisy estimates: only "
        f"{points[0].targets_in + points[0].targets_out} targets answer each. The highest would be about {extreme:.2f} "
        "by chance alone if nothing leaked, and the ranking of single points would change with other models; each "
        "interval is for its point alone, not for the highest of many."
    )
    shown = [
        Point(str(point.point), point.label, _facts(point), exhibit)
        for point, exhibit in with_exhibits(points, material.exhibits)
    ]
    return Section(title, [Paragraph(introduction), Note("warning", [caution]), Gallery(shown)], media)


def with_exhibits(points: Sequence[T], exhibits: Sequence[Exhibit]) -> list[tuple[T, Exhibit | None]]:
    """Points and what they look like.

    Raises:
        ValueError: there are exhibits, but not one for each point.
    """
    if exhibits and len(exhibits) != len(points):
        raise ValueError(f"got {len(exhibits)} exhibits, expected one for each of the {len(points)} points")
    return list(zip_longest(points, exhibits))


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
        f"Of {tested:,} points, {count:,} {verb} exposed beyond chance when looked at one by one (false discovery "
        f"rate {100 * exposed.fdr:g}%: up to about {100 * exposed.fdr:g} of 100 points named in this way would "
        "be so by luck)."
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


def _facts(point: ExposedPoint) -> list[tuple[str, str]]:
    interval = NOT_RESOLVABLE if point.low is None else f"[{point.low:.2f}, {point.high:.2f}]"
    return [
        ("AUC", f"{point.auc:.2f}"),
        ("Interval", interval),
        ("q-value", NOT_RESOLVABLE if point.q_value is None else p_text(point.q_value)),
        ("Score in", f"{signed(point.mean_in)} ({point.targets_in})"),
        ("Score out", f"{signed(point.mean_out)} ({point.targets_out})"),
    ]
